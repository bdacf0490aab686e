"""The drawings of a report: a budget over its entries, and bytes by country."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from comity_host.markup import Markup, label, line, rect, svg

NICE = (1, 2, 5, 10)
LEFT, RIGHT, TOP, BOTTOM = 52.0, 604.0, 16.0, 236.0
WIDTH, HEIGHT = 760.0, 292.0
LABEL_GAP = 17.0


class Mark(NamedTuple):
    """An entry and its date."""

    at: int
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A budget from one entry on.

    Attributes:
        at: the entry's number.
        date: of the entry.
        charged, reserved: ε; None if it is infinite.
    """

    at: int
    date: str
    charged: Decimal | None
    reserved: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What stands beside the lines of a budget."""

    ceiling: str
    reserved: str
    charged: str
    axis: str


def budget(
    title: str,
    told: str,
    steps: Sequence[Step],
    ceiling: Decimal,
    ends: tuple[Mark, Mark],
    labels: Labels,
) -> Markup:
    """Draw what is reserved and charged, as steps under a ceiling.

    Args:
        steps: at least one, ascending.
        ends: the first and the last entry of the ledger, between which the picture is.
    """
    last = max(ends[1].at, steps[-1].at)
    finite = [one for step in steps for one in (step.charged, step.reserved) if one is not None]
    most = max([*finite, ceiling]) * Decimal("1.08")

    def x(at: int) -> float:
        return LEFT + (RIGHT - LEFT) * at / max(last, 1)

    def y(value: Decimal | None) -> float:
        return TOP if value is None else BOTTOM - (BOTTOM - TOP) * float(value / most)

    parts: list[str] = []
    for tick in ticks(most):
        parts.append(line(LEFT, y(tick), RIGHT, y(tick), "rule"))
        parts.append(label(LEFT - 8, y(tick) + 4, f"{tick:f}", "tick end"))
    if any(step.reserved is None for step in steps):
        parts.append(label(LEFT - 8, TOP + 4, "∞", "tick end"))
    until = [*(step.at for step in steps[1:]), last]
    reserved = [
        f"M{x(a):.1f} {BOTTOM:.1f}V{y(s.reserved):.1f}H{x(b):.1f}V{BOTTOM:.1f}Z"
        for s, a, b in zip(steps, [s.at for s in steps], until, strict=True)
    ]
    parts.append(f'<path class="pale" d="{"".join(reserved)}"/>')
    parts.append(f'<path class="edge" d="{_stair([(x(s.at), y(s.reserved)) for s in steps])}"/>')
    parts.append(f'<path class="curve" d="{_stair([(x(s.at), y(s.charged)) for s in steps])}"/>')
    parts.append(line(LEFT, y(ceiling), RIGHT, y(ceiling), "limit"))
    parts += _under([ends[0], *(Mark(s.at, s.date) for s in steps), ends[1]], last, labels.axis)
    now = steps[-1]
    beside = [
        (y(ceiling), labels.ceiling, "limittext"),
        (y(now.reserved), labels.reserved, "edgetext"),
        (y(now.charged), labels.charged, "curvetext"),
    ]
    parts += _beside(beside)
    return svg(WIDTH, HEIGHT, title, parts, told)


def _stair(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = points
    moves = "".join(f"H{x:.1f}V{y:.1f}" for x, y in rest)
    return f"M{x:.1f} {BOTTOM:.1f}V{y:.1f}{moves}H{RIGHT:.1f}"


def _under(known: Sequence[Mark], last: int, axis: str) -> list[str]:
    """Write numbers of entries under the picture, with their dates, where there is room."""
    parts: list[str] = [label(LEFT, BOTTOM + 50, axis, "tick")]
    room = last * 0.2
    shown = [known[0]]
    for one in known[1:-1]:
        if one.at - shown[-1].at >= room and known[-1].at - one.at >= room:
            shown.append(one)
    for at, date in dict([*shown, known[-1]]).items():
        where = LEFT + (RIGHT - LEFT) * at / max(last, 1)
        parts.append(line(where, BOTTOM, where, BOTTOM + 5, "axis"))
        parts.append(label(where, BOTTOM + 18, f"{at:,}", "tick middle"))
        parts.append(label(where, BOTTOM + 33, date, "tick middle"))
    return parts


def _beside(labels: Sequence[tuple[float, str, str]]) -> list[str]:
    """Write labels at the right, pushed apart where they would touch; the lowest stays."""
    parts: list[str] = []
    at = BOTTOM + LABEL_GAP + 4
    for height, words, style in sorted(labels, key=lambda one: -one[0]):
        at = min(at - LABEL_GAP, height + 4)
        parts.append(line(RIGHT + 3, height, RIGHT + 12, at - 4, "leader"))
        parts.append(label(RIGHT + 16, at, words, style))
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A country.

    Attributes:
        covered, control: bytes that the budget covers, and of control messages.
        value: both in words.
    """

    name: str
    covered: int
    control: int
    value: str


def bars(title: str, told: str, rows: Sequence[Bar]) -> Markup:
    """Draw a bar for each country: what the budget covers solid, control messages pale."""
    row, name, full = 34.0, 210.0, 330.0
    most = max(max(one.covered + one.control for one in rows), 1)
    parts: list[str] = []
    for place, one in enumerate(rows):
        top = row * place
        parts.append(label(0, top + 20, one.name, "name"))
        covered, control = full * one.covered / most, full * one.control / most
        parts.append(rect(name, top + 8, full, 16, "track"))
        parts.append(rect(name, top + 8, covered, 16, "fill"))
        parts.append(rect(name + covered, top + 8, control, 16, "pale"))
        parts.append(label(WIDTH, top + 20, one.value, "value end"))
    return svg(WIDTH, row * len(rows) + 4, title, parts, told)


def ticks(most: Decimal) -> list[Decimal]:
    """Choose four to eight round numbers from 0 up to at most `most`, which is above 0."""
    power = Decimal(1).scaleb((most / 5).adjusted())
    step = next(power * nice for nice in NICE if power * nice * 7 >= most)
    return [(step * place).normalize() + 0 for place in range(int(most / step) + 1)]
