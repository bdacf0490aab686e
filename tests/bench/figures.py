"""A figure with its bar, and the tables of them: aligned text, Markdown, JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

Say = Callable[[str], None]
"""Told what is being measured."""

HEAD = ("row", "measured", "value", "bar", "met")
DIGITS = 3  # that mean something on a machine that is shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number.

    Attributes:
        row: what it belongs to.
        measured: in words, with sizes.
        unit: `s`, `ms`, `MB` (10⁶ bytes), `×` or `alarms`.
        at_most, at_least: its bar, in the same unit; neither where it is for orientation only.
    """

    row: str
    measured: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def cells(self) -> tuple[str, ...]:
        """Spell the figure for a table."""
        bar, met = "", {True: "yes", False: "no", None: ""}[self.met]
        if self.at_most is not None:
            bar = f"≤ {self.at_most:g} {self.unit}"
        elif self.at_least is not None:
            bar = f"≥ {self.at_least:g} {self.unit}"
        return self.row, self.measured, f"{_short(self.value)} {self.unit}", bar, met


def as_text(figures: Sequence[Figure]) -> str:
    """Draw an aligned table."""
    return aligned([HEAD, *(figure.cells() for figure in figures)])


def as_markdown(figures: Sequence[Figure]) -> str:
    """Draw a table for a document."""
    return markdown([HEAD, *(figure.cells() for figure in figures)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Draw rows of equal length, the first of which is the head, as an aligned table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Draw them as a table for a document."""
    head, *rest = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *rest))


def as_json(figures: Sequence[Figure]) -> str:
    """Write the figures for a script, one object each, with `met`."""
    return json.dumps([asdict(figure) | {"met": figure.met} for figure in figures], indent=1)


def _short(value: float) -> str:
    return f"{value:.{DIGITS}g}" if abs(value) < 10**DIGITS else f"{value:.0f}"
