"""Section 4: each budget over time, with its grants."""

from comity_audit.epsilontext import INFINITE
from comity_audit.report.facts import BudgetHistory, GrantFacts, Report, epsilon_value
from comity_audit.report.page import drawing, numbers, phrases
from comity_audit.report.page.drawing import Labels, Mark, Step
from comity_audit.report.page.elements import Column, heading, joined, paragraph, table
from comity_audit.report.page.voice import Voice, code
from comity_host.markup import Markup

SHOWN_BUDGETS, SHOWN_GRANTS = 6, 20
SHOWN_ID = 8


def budgets(report: Report, say: Voice) -> Markup:
    """Write the section."""
    if not report.budgets:
        return paragraph(say(phrases.BUDGET_NONE))
    shown = report.budgets[:SHOWN_BUDGETS]
    told = report.summary
    ends = Mark(0, told.first[:10]), Mark(told.entries - 1, told.last[:10])
    return joined(
        paragraph(say(phrases.BUDGET_WORDS)),
        *(_budget(one, ends, say) for one in shown),
        say.more(len(shown), len(report.budgets)),
    )


def _budget(one: BudgetHistory, ends: tuple[Mark, Mark], say: Voice) -> Markup:
    title = say(
        phrases.BUDGET_TITLE,
        namespace=code(one.namespace[:SHOWN_ID]),
        unit=say.of(phrases.UNIT_NAMES, one.unit),
    )
    total = say(
        phrases.BUDGET_TOTAL,
        reserved=numbers.epsilon(one.reserved),
        charged=numbers.epsilon(one.charged),
        ceiling=numbers.bound(one.epsilon),
        delta=numbers.delta(one.delta),
    )
    grants = one.grants[:SHOWN_GRANTS]
    return joined(
        heading(title),
        paragraph(total),
        paragraph(say(phrases.BUDGET_INFINITE)) if one.reserved == INFINITE else "",
        _chart(one, ends, say),
        table(
            say(phrases.GRANTS_CAPTION),
            [
                Column(say(phrases.GRANT)),
                Column(say(phrases.GATE)),
                Column(say(phrases.GRANTED), "n"),
                Column(say(phrases.AT_DELTA), "n"),
                Column(say(phrases.RESERVED), "n"),
                Column(say(phrases.CHARGED), "n"),
            ],
            [_grant(grant, say) for grant in grants],
        )
        if grants
        else "",
        say.more(len(grants), len(one.grants)),
    )


def _grant(grant: GrantFacts, say: Voice) -> tuple[Markup, ...]:
    return (
        code(grant.grant[:SHOWN_ID]),
        say.of(phrases.GATES, grant.gate, order=numbers.whole(grant.order)),
        numbers.bound(grant.epsilon),
        numbers.delta(grant.delta),
        numbers.epsilon(grant.reserved),
        numbers.epsilon(grant.charged),
    )


def _chart(one: BudgetHistory, ends: tuple[Mark, Mark], say: Voice) -> Markup:
    ceiling = epsilon_value(one.epsilon)
    if not one.points or not ceiling or ceiling < 0:
        return Markup("")
    reserved, charged = numbers.epsilon(one.reserved), numbers.epsilon(one.charged)
    steps = [
        Step(
            at=point.sequence,
            date=point.time[:10],
            charged=epsilon_value(point.charged),
            reserved=epsilon_value(point.reserved),
        )
        for point in one.points
    ]
    labels = Labels(
        ceiling=f"{say.plain(phrases.CEILING)} {numbers.bound(one.epsilon)}",
        reserved=f"{say.plain(phrases.RESERVED)} {reserved}",
        charged=f"{say.plain(phrases.CHARGED)} {charged}",
        axis=say.plain(phrases.ENTRY),
    )
    told = say.plain(
        phrases.BUDGET_CHART_TOLD,
        reserved=reserved,
        charged=charged,
        ceiling=numbers.bound(one.epsilon),
    )
    title = say.plain(phrases.BUDGET_CHART, namespace=one.namespace[:SHOWN_ID])
    picture = drawing.budget(title, told, steps, ceiling, ends, labels)
    return Markup(f"<figure>{picture}</figure>")
