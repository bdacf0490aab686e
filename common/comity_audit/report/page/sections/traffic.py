"""Section 8: what crossed the border of the vault, and whether it arrived."""

from collections.abc import Sequence

from comity_audit.report.facts import CrossingFacts, Report, TrafficFacts
from comity_audit.report.page import drawing, numbers, phrases
from comity_audit.report.page.drawing import Bar
from comity_audit.report.page.elements import Column, heading, joined, paragraph, table
from comity_audit.report.page.voice import Voice, code, outside
from comity_common.ledger.controls import UPLOAD
from comity_host.markup import Markup

SHOWN_KINDS, SHOWN_BARS = 80, 12
SHOWN_PEER = 40


def traffic(report: Report, say: Voice) -> Markup:
    """Write the section; `is_silent` says that not every agreement promises noise."""
    left = [one for one in report.traffic.kinds if one.is_egress]
    arrived = [one for one in report.traffic.kinds if not one.is_egress]
    nothing = "" if left or arrived else paragraph(say(phrases.TRAFFIC_NONE))
    is_operator = report.summary.is_operator
    is_silent = not all(card.is_private for card in report.claims)
    words = phrases.TRAFFIC_WORDS_OPERATOR if is_operator else phrases.TRAFFIC_WORDS
    return joined(
        paragraph(say(words)),
        nothing,
        _chart(left, is_silent, say),
        _table(left, is_silent, say(phrases.EGRESS_CAPTION), say(phrases.RECEIVER), say),
        _table(arrived, is_silent, say(phrases.INGRESS_CAPTION), say(phrases.SENDER), say),
        "" if is_operator else heading(say(phrases.UNMATCHED_TITLE)),
        "" if is_operator else _crossings(report.traffic.crossings, say),
    )


def _chart(left: Sequence[TrafficFacts], is_silent: bool, say: Voice) -> Markup:
    if not left:
        return Markup("")
    rows = []
    for country in sorted({one.country for one in left}):
        there = [one for one in left if one.country == country]
        covered = sum(one.bytes for one in there if one.is_mechanism)
        control = sum(one.bytes for one in there if not one.is_mechanism)
        rows.append(
            Bar(
                name=say.plain_country(country),
                covered=covered,
                control=control,
                value=f"{covered:,} + {control:,}",
            )
        )
    rows.sort(key=lambda one: -(one.covered + one.control))
    told = "; ".join(
        say.plain(
            phrases.TRAFFIC_CHART_TOLD,
            country=one.name,
            bytes=numbers.whole(one.covered + one.control),
        )
        for one in rows[:SHOWN_BARS]
    )
    title = say.plain(phrases.TRAFFIC_CHART)
    picture = drawing.bars(title, told, rows[:SHOWN_BARS])
    budget = phrases.LEGEND_BUDGET_SILENT if is_silent else phrases.LEGEND_BUDGET
    legend = (
        f'<ul class="legend"><li><i class="solid"></i>{say(budget)}</li>'
        f'<li><i class="faint"></i>{say(phrases.LEGEND_LIST)}</li></ul>'
    )
    return Markup(f"<h3>{say(phrases.TRAFFIC_CHART)}</h3><figure>{picture}</figure>{legend}")


def _table(
    kinds: Sequence[TrafficFacts], is_silent: bool, caption: Markup, peer: Markup, say: Voice
) -> Markup:
    if not kinds:
        return Markup("")
    shown = sorted(kinds, key=lambda one: -one.bytes)[:SHOWN_KINDS]
    shown.sort(key=lambda one: (one.country, one.peer, one.purpose, not one.is_mechanism))
    messages = sum(one.messages for one in kinds)
    size = sum(one.bytes for one in kinds)
    blank = Markup("")
    total = (say(phrases.TOTAL), blank, blank, blank, blank)
    return joined(
        table(
            caption,
            [
                Column(say(phrases.COUNTRY)),
                Column(peer),
                Column(say(phrases.PURPOSE)),
                Column(say(phrases.MESSAGE)),
                Column(say(phrases.COVERED_BY)),
                Column(say(phrases.MESSAGES), "n"),
                Column(say(phrases.BYTES), "n"),
            ],
            [_kind(one, is_silent, say) for one in shown],
            (*total, numbers.whole(messages), numbers.whole(size)),
        ),
        say.more(len(shown), len(kinds)),
    )


def _kind(one: TrafficFacts, is_silent: bool, say: Voice) -> tuple[Markup, ...]:
    is_named = bool(one.message)
    return (
        say.country(one.country),
        outside(one.peer, SHOWN_PEER) if is_named else say(phrases.UNNAMED),
        _purpose(one.purpose, say),
        _message(one.message, is_silent, say),
        say(phrases.BY_BUDGET if one.is_mechanism else phrases.BY_LIST),
        numbers.whole(one.messages),
        numbers.whole(one.bytes),
    )


def _purpose(purpose: str, say: Voice) -> Markup:
    if purpose in phrases.PURPOSES:
        return say(phrases.PURPOSES[purpose])
    return outside(purpose)


def _message(name: str, is_silent: bool, say: Voice) -> Markup:
    if is_silent and name == UPLOAD:
        return say(phrases.UPLOAD_SILENT)
    if name in phrases.KINDS:
        return say(phrases.KINDS[name])
    return code(name, SHOWN_PEER) if name else Markup("")


def _crossings(told: CrossingFacts | None, say: Voice) -> Markup:
    if told is None:
        return paragraph(say(phrases.UNMATCHED_OPEN))
    both = say(
        phrases.UNMATCHED,
        matched=numbers.whole(told.matched),
        bytes=numbers.whole(told.matched_bytes),
    )
    rows = (
        (phrases.ONLY_ARRIVED, told.only_arrived),
        (phrases.ONLY_LEFT, told.only_left),
        (phrases.NEWER, told.newer),
    )
    return joined(
        paragraph(both),
        table(
            say(phrases.UNMATCHED_CAPTION),
            [Column(say(phrases.UNMATCHED_WHAT)), Column(say(phrases.COUNT), "n")],
            [(say(words), numbers.whole(count)) for words, count in rows],
            style="narrow",
        ),
        paragraph(say(phrases.UNMATCHED_WORDS), "quiet"),
    )
