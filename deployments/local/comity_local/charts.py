"""Drawings of the run's page, as inline SVG.

Rules it keeps: colours come from the page's CSS classes, so that light, dark and paper all work;
nothing is told by colour alone; every text is escaped; a `<title>` says what is seen.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from comity_host.markup import Markup, label, line, rect, svg, text
from comity_local.wording import score

_LABEL_GAP = 17.0  # between the baselines of two labels beside a curve, in units of the drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A level to compare a curve with; `style` is a CSS class."""

    label: str
    value: float
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A bar against a whole.

    Attributes:
        code: of the country.
        fill: shown solid; `ghost`, at least as much, shown pale behind it.
        whole: what the full width stands for, above 0.
        value: the numbers in words.
    """

    label: str
    code: str
    fill: float
    ghost: float
    whole: float
    value: str


def curve(
    *,
    title: str,
    values: Sequence[float | None],
    references: Sequence[Reference],
    voids: Collection[int],
) -> str:
    """Draw a score between 0 and 1 over rounds.

    Args:
        values: before the first round, then after each; None is left out of the line.
        voids: rounds that are marked as void.
    """
    left, right, top, bottom = 34.0, 336.0, 24.0, 250.0
    last = max(len(values) - 1, 1)

    def x(n: float) -> float:
        return left + (right - left) * n / last

    def y(value: float) -> float:
        return bottom - (bottom - top) * value

    parts: list[str] = []
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(line(left, y(tick), right, y(tick), "rule"))
        parts.append(label(left - 8, y(tick) + 4, f"{tick:.1f}", "tick end"))
    every = -(-last // 10)
    for n in range(0, last + 1, every):
        parts.append(label(x(n), bottom + 18, "start" if n == 0 else str(n), "tick middle"))
    parts.append(label((left + right) / 2, bottom + 36, "round", "tick middle"))
    band = (right - left) / last * 0.7
    for n in sorted(voids):
        parts.append(rect(x(n) - band / 2, top, band, bottom - top, "voidband"))
        parts.append(label(x(n), top - 6, "void", "voidtext middle"))
    for reference in references:
        level = y(reference.value)
        parts.append(line(left, level, right, level, f"reference {reference.style}"))
    points = [(x(n), y(v)) for n, v in enumerate(values) if v is not None]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    parts += [f'<circle class="point" cx="{px:.1f}" cy="{py:.1f}" r="3"/>' for px, py in points]
    known = [value for value in values if value is not None]
    labels = [(r.label, r.value, r.style) for r in references]
    if known:
        labels.append(("federation", known[-1], "federation"))
    parts += _side_labels(labels, right, y, bottom)
    ends = f"from {score(known[0])} to {score(known[-1])}" if known else "not measured"
    return svg(520, 292, f"{title} over rounds, {ends}", parts)


def _side_labels(
    labels: Sequence[tuple[str, float, str]],
    right: float,
    y: Callable[[float], float],
    bottom: float,
) -> list[str]:
    """Put labels beside their levels, pushed apart where they would touch."""
    parts: list[str] = []
    floor = bottom + _LABEL_GAP * 0.8
    at = floor + _LABEL_GAP
    for name, value, style in sorted(labels, key=lambda label: label[1]):
        at = min(at - _LABEL_GAP, y(value) + 4)
        end = right + 22
        parts.append(line(right + 5, y(value), end - 4, at - 4, "leader"))
        parts.append(label(end, at, f"{name} {score(value)}", f"sidelabel {style}"))
    return parts


def participation(
    *,
    institutions: Sequence[tuple[str, str]],
    rounds: Sequence[tuple[int, bool, Collection[str]]],
) -> str:
    """Draw institutions, the rounds each survived, and the operator that they meet at.

    Args:
        institutions: pairs of id and country code.
        rounds: number, whether void, and ids of the survivors.
    """
    row, head, grid_left, grid_right, operator = 36.0, 30.0, 252.0, 690.0, 790.0
    step = min(40.0, (grid_right - grid_left) / max(len(rounds), 1))
    cell = min(step * 0.82, 24.0)
    height = head + row * len(institutions) + 12
    middle = head + row * len(institutions) / 2
    parts: list[str] = []
    every = -(-len(rounds) // 16) or 1
    for k, (n, _, _) in enumerate(rounds):
        if k % every == 0:
            parts.append(label(grid_left + step * (k + 0.5), head - 12, str(n), "tick middle"))
    end = grid_left + step * len(rounds)
    for i, (id, code) in enumerate(institutions):
        centre = head + row * (i + 0.5)
        bend = (end + operator) / 2
        parts.append(
            f'<path class="link" d="M{grid_left - 12:.1f} {centre:.1f} L{end:.1f} {centre:.1f} '
            f'C{bend:.1f} {centre:.1f} {bend:.1f} {middle:.1f} {operator:.1f} {middle:.1f}"/>'
        )
        parts += _badge(0, centre - 11, code)
        parts.append(label(46, centre + 5, _short(id, 24), "name"))
        for k, (n, void, survivors) in enumerate(rounds):
            there = id in survivors
            style = ("cell voidcell" if void else "cell there") if there else "cell absent"
            state = ("uploaded, round void" if void else "in the sum") if there else "absent"
            left = grid_left + step * (k + 0.5) - cell / 2
            box = rect(left, centre - cell / 2, cell, cell, style, radius=cell / 5)
            parts.append(
                box.replace("/>", f"><title>{text(id)}, round {n}: {state}</title></rect>")
            )
            if void and there:
                parts.append(line(left, centre + cell / 2, left + cell, centre - cell / 2, "slash"))
    parts.append(rect(operator, middle - 38, 168, 76, "operator", radius=8))
    parts.append(label(operator + 84, middle - 8, "operator", "name middle"))
    parts.append(label(operator + 84, middle + 14, "sees only the sum", "tick middle"))
    title = f"{len(institutions)} institutions, {len(rounds)} rounds, one operator"
    return svg(960, max(height, middle + 50), title, parts)


def meters(title: str, rows: Sequence[Meter]) -> str:
    """Draw bars, one under the other, each with its name and numbers above it."""
    width, row = 460.0, 52.0
    parts: list[str] = []
    for i, one in enumerate(rows):
        top = row * i
        parts += _badge(0, top, one.code)
        parts.append(label(46, top + 16, _short(one.label, 24), "name"))
        parts.append(label(width, top + 16, one.value, "value end"))
        parts.append(rect(0, top + 28, width, 10, "track", radius=2))
        for size, style in ((one.ghost, "ghost"), (one.fill, "fill")):
            length = width * min(max(size / one.whole, 0.0), 1.0)
            if length > 0:
                parts.append(rect(0, top + 28, max(length, 1.0), 10, style, radius=2))
    return svg(width, row * len(rows), title, parts)


def strip(value: float, style: str) -> str:
    """Draw a bar of a table's cell, between 0 and 1."""
    parts = [rect(0, 2, 200, 8, "track"), rect(0, 2, 200 * value, 8, style)]
    return svg(200, 12, score(value), parts)


def _badge(x: float, y: float, code: str) -> list[Markup]:
    return [
        rect(x, y, 34, 22, "badge", radius=4),
        label(x + 17, y + 15.5, code, "code middle"),
    ]


def _short(value: str, length: int) -> str:
    return value if len(value) <= length else value[: length - 1] + "…"
