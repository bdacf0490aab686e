"""Section 5: the rounds under each agreement."""

from comity_audit.report.facts import Report, RoundFacts, RoundOutcome, Run
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import Column, joined, paragraph, table
from comity_audit.report.page.sections.parties import SHOWN_DIGEST
from comity_audit.report.page.voice import Voice, code, outside
from comity_common.ids import Digest
from comity_host.markup import Markup

SHOWN_RUNS, SHOWN_ROUNDS = 20, 40
ENDS = (
    RoundOutcome.RELEASED,
    RoundOutcome.FORFEITED,
    RoundOutcome.REFUNDED,
    RoundOutcome.OPEN,
)


def runs(report: Report, say: Voice) -> Markup:
    """Write the section."""
    if report.operation.runs:
        return _operated(report, say)
    if not report.runs:
        return paragraph(say(phrases.RUNS_NONE))
    names, shown = _federations(report), report.runs[:SHOWN_RUNS]
    return joined(
        paragraph(say(phrases.RUNS_WORDS)),
        table(
            say(phrases.RUNS_CAPTION),
            [
                Column(say(phrases.AGREEMENT)),
                Column(say(phrases.FEDERATION)),
                Column(say(phrases.JOINED), "n"),
                *(Column(say(phrases.OUTCOMES[one.value]), "n") for one in ENDS),
                Column(say(phrases.VOID), "n"),
            ],
            [_run(one, names.get(one.agreement, "")) for one in shown],
        ),
        say.more(len(shown), len(report.runs)),
        *(_rounds(one, say) for one in shown),
    )


def _operated(report: Report, say: Voice) -> Markup:
    told, names = report.operation, _federations(report)
    shown = told.runs[:SHOWN_RUNS]
    words = say(
        phrases.OPERATED_WORDS,
        approved=numbers.whole(told.approved),
        revoked=numbers.whole(told.revoked),
        heads=numbers.whole(told.heads),
    )
    return joined(
        table(
            say(phrases.OPERATED_CAPTION),
            [
                Column(say(phrases.AGREEMENT)),
                Column(say(phrases.FEDERATION)),
                Column(say(phrases.PLANNED), "n"),
                Column(say(phrases.CERTIFIED), "n"),
                Column(say(phrases.VOID), "n"),
                Column(say(phrases.RELEASES), "n"),
            ],
            [
                (
                    code(one.agreement, SHOWN_DIGEST),
                    outside(names.get(one.agreement, "")),
                    *map(numbers.whole, (one.planned, one.certified, one.void, one.released)),
                )
                for one in shown
            ],
        ),
        say.more(len(shown), len(told.runs)),
        paragraph(words),
    )


def _federations(report: Report) -> dict[Digest, str]:
    return {one.digest: one.federation for one in report.parties.agreements}


def _run(one: Run, federation: str) -> tuple[Markup, ...]:
    counts = (one.joined, one.released, one.forfeited, one.refunded, one.open, one.void)
    return (
        code(one.agreement, SHOWN_DIGEST),
        outside(federation),
        *map(numbers.whole, counts),
    )


def _rounds(run: Run, say: Voice) -> Markup:
    shown = run.rounds[-SHOWN_ROUNDS:]
    earlier = say(phrases.EARLIER, shown=numbers.whole(len(shown)), count=numbers.whole(run.joined))
    return joined(
        table(
            say(phrases.ROUNDS_CAPTION, digest=code(run.agreement, SHOWN_DIGEST)),
            [
                Column(say(phrases.ROUND), "n"),
                Column(say(phrases.KIND)),
                Column(say(phrases.JOINED_AT), "t"),
                Column(say(phrases.RESULT)),
                Column(say(phrases.UPLOADED), "n"),
                Column(say(phrases.UPLOAD_DIGEST)),
            ],
            [_round(one, say) for one in shown],
        ),
        paragraph(earlier, "quiet") if len(shown) < run.joined else "",
    )


def _round(one: RoundFacts, say: Voice) -> tuple[Markup, ...]:
    ended = say(phrases.OUTCOMES[one.outcome.value])
    return (
        numbers.whole(one.round),
        say(phrases.ROUND_KINDS["score" if one.is_score else "training"]),
        numbers.moment(one.time),
        say.listed([ended, say(phrases.VOID)]) if one.is_void else ended,
        numbers.whole(one.bytes) if one.digest else Markup("–"),
        code(one.digest, SHOWN_DIGEST) if one.digest else Markup("–"),
    )
