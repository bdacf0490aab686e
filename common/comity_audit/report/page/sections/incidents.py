"""Section 9: refusals, void rounds, restores, remarks."""

from comity_audit.report.facts import IncidentFacts, Report
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import Column, joined, paragraph, table
from comity_audit.report.page.voice import Voice, outside
from comity_host.markup import Markup

SHOWN_INCIDENTS = 40


def incidents(report: Report, say: Voice) -> Markup:
    """Write the section."""
    told = report.incidents
    counts = {
        "refusals": sum(one.count for one in told.refusals),
        "voids": told.voids,
        "complaints": told.complaints,
        "restores": told.restores - told.declared,
        "declared": told.declared,
        "forfeited": told.forfeited,
        "refunded": told.refunded,
        "notes": told.notes,
        "policies": told.policies,
        "key-epochs": told.key_epochs,
        "key-rotations": told.key_rotations,
    }
    return joined(
        table(
            say(phrases.INCIDENTS_CAPTION),
            [Column(say(phrases.EVENT)), Column(say(phrases.COUNT), "n")],
            [(say(phrases.EVENTS[name]), numbers.whole(n)) for name, n in counts.items()],
            style="narrow",
        ),
        paragraph(say(phrases.ROTATIONS_WORDS), "quiet"),
        _refusals(report, say),
        _listed(report, say),
    )


def _refusals(report: Report, say: Voice) -> Markup:
    if not report.incidents.refusals:
        return Markup("")
    return table(
        say(phrases.REFUSALS_CAPTION),
        [
            Column(say(phrases.REASON)),
            Column(say(phrases.COUNT), "n"),
            Column(say(phrases.FIRST), "t"),
            Column(say(phrases.LAST), "t"),
        ],
        [
            (
                say.of(phrases.REFUSALS, one.code),
                numbers.whole(one.count),
                numbers.moment(one.first),
                numbers.moment(one.last),
            )
            for one in report.incidents.refusals
        ],
    )


def _listed(report: Report, say: Voice) -> Markup:
    told = report.incidents
    all_ = told.voids + told.complaints + told.restores + told.notes
    all_ += told.refunded + told.forfeited
    if not all_:
        return Markup("") if told.refusals else paragraph(say(phrases.INCIDENTS_NONE))
    shown = told.incidents[-SHOWN_INCIDENTS:]
    return joined(
        table(
            say(phrases.INCIDENTS_LIST),
            [
                Column(say(phrases.ENTRY), "n"),
                Column(say(phrases.TIME), "t"),
                Column(say(phrases.KIND)),
                Column(say(phrases.ROUND), "n"),
                Column(say(phrases.TOLD)),
            ],
            [_incident(one, say) for one in shown],
        ),
        say.more(len(shown), all_),
    )


def _incident(one: IncidentFacts, say: Voice) -> tuple[Markup, ...]:
    return (
        numbers.whole(one.sequence),
        numbers.moment(one.time),
        say.of(phrases.INCIDENT_KINDS, one.kind),
        Markup("–") if one.round is None else numbers.whole(one.round),
        outside(one.told, 200) if one.told else Markup("–"),
    )
