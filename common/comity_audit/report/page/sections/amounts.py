"""Section 6: every ε computed again by two programs, and their difference."""

from collections.abc import Iterator

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
    caption = phrases.AMOUNTS_CAPTION if told.has_second else phrases.AMOUNTS_CAPTION_ONE
    return joined(
        *_words(told, say),
        table(
            say(caption),
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


def _words(told: Recomputation, say: Voice) -> Iterator[Markup]:
    """Say who computed, and what the numbers are."""
    if told.has_second:
        relative, absolute = _percent(told), text(told.absolute)
        yield paragraph(say(phrases.RECOMPUTATION_WORDS, relative=relative, absolute=absolute))
        yield paragraph(say(phrases.RECOMPUTATION_BOUND), "quiet")
    else:
        yield paragraph(say(phrases.RECOMPUTATION_ONE))
    if any(one.amount is Amount.GRANT for one in told.amounts):
        yield paragraph(say(phrases.RECOMPUTATION_KINDS), "quiet")


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
    if one.agree is False:
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
