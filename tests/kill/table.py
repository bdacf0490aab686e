"""What a campaign found: a table by where the kills hit, and figures with their bars."""

import re
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import Figure
from tests.kill.campaign import ANY_TIME, BOUNDARIES, Kill

HEAD = ("killed", "kills", "fresh", "noise drawn", "over-counted", "under-reported")
BAR_A_SECOND = 5.0
PAGE = Path(__file__).parents[2] / "docs" / "crashes.md"
MARKED = re.compile(r"(<!-- table:kills -->\n).*?(<!-- end -->)", re.DOTALL)


def rows(kills: Sequence[Kill]) -> list[tuple[str, ...]]:
    """Return the table's rows: where, kills, fresh interpreters, and rounds."""
    found = [HEAD]
    for where in (*BOUNDARIES, ANY_TIME):
        found.append(_row(where, [kill for kill in kills if kill.where == where]))
    return [*found, _row("in all", kills)]


def as_text(kills: Sequence[Kill]) -> str:
    """Draw an aligned table."""
    table = rows(kills)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def as_markdown(kills: Sequence[Kill]) -> str:
    """Draw a table for a document."""
    head, *table = rows(kills)
    lines = [head, ("---",) * len(HEAD), *table]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def write(kills: Sequence[Kill]) -> None:
    """Replace the table of docs/crashes.md."""
    text = PAGE.read_text("utf-8")
    PAGE.write_text(MARKED.sub(lambda mark: mark[1] + as_markdown(kills) + mark[2], text), "utf-8")


def figures(kills: Sequence[Kill], added: int, took_s: float) -> list[Figure]:
    """Return the figures.

    Args:
        added: how many of the kills were made in `took_s` seconds.
    """
    count = len(kills)
    sizes = f"{count} kills"
    found = [
        Figure(
            row="kills",
            measured=f"rounds that count less than was drawn, {sizes}",
            value=sum(kill.under for kill in kills),
            unit="rounds",
            at_most=0,
        ),
        Figure(
            row="kills",
            measured=f"rounds that count more than was drawn, {sizes}",
            value=sum(kill.over for kill in kills),
            unit="rounds",
            at_most=count,
        ),
    ]
    if added:
        speed = Figure(
            row="kills",
            measured="kills a second, with all that lies between",
            value=added / took_s,
            unit="a second",
            at_least=BAR_A_SECOND,
        )
        found.append(speed)
    return found


def _row(where: str, kills: Sequence[Kill]) -> tuple[str, ...]:
    return (
        where,
        str(len(kills)),
        str(sum(kill.fresh for kill in kills)),
        *(str(sum(getattr(kill, name) for kill in kills)) for name in ("drawn", "over", "under")),
    )
