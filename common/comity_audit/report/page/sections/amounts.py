"""Section 6: every ε computed again by two programs, and their difference."""

from comity_audit.report.facts import Amount, EpsilonFacts, Recomputation, Report
from comity_audit.report.page import numbers, phrases
from comity_audit.report.page.elements import Column, joined, paragraph, table
from comity_audit.report.page.sections.budgets import SHOWN_ID
from comity_audit.report.page.sections.cards import mechanism
from comity_audit.report.page.voice import Voice, code
from comity_host.markup import Markup, text

SHOWN_AMOUNTS = 60
STYLES = {"agree": "holds", "bounded": "holds", "alone": "open"}


def amounts(report: Report, say: Voice) -> Markup:
    """Write the section."""
    told = report.recomputation
    if not told.is_possible:
        return paragraph(say(phrases.RECOMPUTATION_IMPOSSIBLE))
    if not told.amounts:
        return paragraph(say(phrases.RECOMPUTATION_NONE))
    shown = told.amounts[:SHOWN_AMOUNTS]
    words = say(phrases.RECOMPUTATION_WORDS, relative=_percent(told), absolute=text(told.absolute))
    return joined(
        paragraph(words),
        paragraph(say(phrases.RECOMPUTATION_BOUND), "quiet"),
        paragraph(say(phrases.RECOMPUTATION_KINDS), "quiet") if _has_grant(told) else "",
        "" if told.has_second else paragraph(say(phrases.RECOMPUTATION_ONE)),
        table(
            say(phrases.AMOUNTS_CAPTION),
            [
                Column(say(phrases.AMOUNT), "w"),
                Column(say(phrases.AT_DELTA), "n"),
                Column(say(phrases.OURS), "n"),
                Column(say(phrases.THEIRS), "n"),
                Column(say(phrases.DIFFERENCE), "n"),
                Column(say(phrases.CLAIMED), "n"),
                Column(say(phrases.RESULT)),
            ],
            [_amount(one, say) for one in shown],
        ),
        say.more(len(shown), len(told.amounts)),
    )


def _has_grant(told: Recomputation) -> bool:
    return any(one.amount is Amount.GRANT for one in told.amounts)


def _percent(told: Recomputation) -> Markup:
    return Markup(f"{float(told.relative):.0%}")


def _amount(one: EpsilonFacts, say: Voice) -> tuple[Markup, ...]:
    what = say(
        phrases.AMOUNTS[one.amount.value],
        subject=code(one.subject[:SHOWN_ID]),
        order=numbers.whole(one.order),
    )
    detail = "".join(
        f'<br/><span class="quiet small">{mechanism(each, say)}</span>' for each in one.mechanisms
    )
    verdict = ("bounded" if one.is_bound else "agree") if one.theirs else "alone"
    if not one.agree:
        verdict = "apart"
    elif not one.is_kept:
        verdict = "beyond"
    style = STYLES.get(verdict, "fails")
    said = say(phrases.AGREEMENT_OF_BOTH[verdict])
    return (
        Markup(what + detail),
        numbers.delta(one.delta),
        numbers.epsilon(one.ours),
        numbers.epsilon(one.theirs) or Markup("–"),
        numbers.difference(one.difference) or Markup("–"),
        numbers.bound(one.claim) if one.claim else Markup("–"),
        Markup(f'<span class="mark {style}">{said}</span>'),
    )
