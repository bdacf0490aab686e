"""Section 11: which clauses of which law the facts are evidence for."""

from comity_audit.report.facts import ClauseEvidence, ClauseStatus, FactId, RegimeEvidence, Report
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import Column, joined, paragraph, table
from comity_audit.report.page.voice import Voice
from comity_host.markup import Markup, text

SECTIONS: dict[FactId, int] = {
    FactId.PURPOSE: 2,
    FactId.PARTIES: 2,
    FactId.SIGNED_TERMS: 2,
    FactId.EGRESS_LOG: 8,
    FactId.COVERED: 8,
    FactId.MATCHED: 8,
    FactId.PRIVACY_CLAIM: 3,
    FactId.BUDGET_KEPT: 4,
    FactId.RECOMPUTED: 6,
    FactId.SELF_TESTS: 7,
    FactId.INTEGRITY: 10,
    FactId.WITNESSES: 10,
    FactId.VOUCHED: 10,
    FactId.INCIDENT_LOG: 9,
    FactId.LIMITS: 12,
    FactId.LEGAL_BASIS: 2,
    FactId.DATA_DESCRIPTION: 2,
}
"""Where each fact stands."""

OF_INSTITUTIONS = frozenset(
    {
        FactId.EGRESS_LOG,
        FactId.COVERED,
        FactId.MATCHED,
        FactId.PRIVACY_CLAIM,
        FactId.BUDGET_KEPT,
        FactId.RECOMPUTED,
        FactId.SELF_TESTS,
    }
)
"""Facts that only the ledger of an institution can show."""

ARTICLE = "Art. "
SIGNS = {ClauseStatus.PRESENT: "✓", ClauseStatus.MISSING: "✗", ClauseStatus.NOT_APPLICABLE: "–"}


def clauses(report: Report, say: Voice) -> Markup:
    """Write the section."""
    return joined(
        paragraph(say(phrases.EVIDENCE_WORDS)),
        *(_regime(one, report, say) for one in report.evidence),
    )


def _regime(one: RegimeEvidence, report: Report, say: Voice) -> Markup:
    because = say(phrases.REGIME_NONE)
    if one.countries:
        named = say.listed(map(say.country, one.countries))
        because = say(phrases.REGIME_BECAUSE, countries=named)
    return joined(
        f'<div class="regime"><h3>{say.both(one.title)}</h3>',
        paragraph(Markup(f"{say.both(one.applies)} {because}"), "quiet"),
        table(
            Markup(f'<span class="unseen">{say.both(one.title)}</span>'),
            [
                Column(say(phrases.CLAUSE)),
                Column(say(phrases.ASKS)),
                Column(say(phrases.STATUS)),
                Column(say(phrases.ELSEWHERE)),
            ],
            [_clause(clause, report, say) for clause in one.clauses],
            style="clauses",
        )
        if one.countries
        else paragraph(_idle(one, say)),
        "</div>",
    )


def _idle(one: RegimeEvidence, say: Voice) -> Markup:
    """Name the clauses of a law that is not applicable."""
    ids = say.listed(_cited(clause.id, say) for clause in one.clauses)
    return Markup(f"{ids} {_mark(ClauseStatus.NOT_APPLICABLE, say)}")


def _cited(id: str, say: Voice) -> Markup:
    """Write an article as a language writes it; other ways of counting stand as they are."""
    if not id.startswith(ARTICLE):
        return text(id)
    return say(phrases.ARTICLE, number=text(id.removeprefix(ARTICLE)))


def _mark(status: ClauseStatus, say: Voice) -> Markup:
    words = say(phrases.STATUSES[status.value])
    return Markup(f'<span class="mark {status.value}">{SIGNS[status]} {words}</span>')


def _clause(one: ClauseEvidence, report: Report, say: Voice) -> tuple[Markup, ...]:
    return (
        Markup(f"<b>{_cited(one.id, say)}</b><br/>{say.both(one.title)}"),
        say.both(one.asks),
        _evidence(one, report, say),
        say.both(one.elsewhere),
    )


def _evidence(one: ClauseEvidence, report: Report, say: Voice) -> Markup:
    mark = _mark(one.status, say)
    told = [f"{SIGNS[ClauseStatus.MISSING]} {_missing(fact, report, say)}" for fact in one.missing]
    told += [f"{SIGNS[ClauseStatus.PRESENT]} {_fact(fact, say)}" for fact in one.present]
    items = "".join(f"<li>{item}</li>" for item in told)
    return Markup(f"{mark}<ul>{items}</ul>" if items else mark)


def _missing(fact: FactId, report: Report, say: Voice) -> Markup:
    if not (report.summary.is_operator and fact in OF_INSTITUTIONS):
        return _fact(fact, say)
    return Markup(f"{_fact(fact, say)}{say(phrases.FACT_OF_INSTITUTIONS)}")


def _fact(fact: FactId, say: Voice) -> Markup:
    where = numbers.whole(SECTIONS[fact])
    return Markup(f'{say(phrases.FACTS[fact.value])} <span class="quiet">({where})</span>')
