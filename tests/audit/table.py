"""What a campaign found: tables by family and by rule, and figures with their bars."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.audit.campaign import FAMILIES, Count
from tests.audit.forgeries import FORGERIES
from tests.audit.meaning import Said
from tests.bench.figures import Figure, markdown

HEAD = ("tampering", "changed", "unreadable", "a step fails", "unanchored", "says less", "missed")
RULE_HEAD = ("rule", "ways to break it", "ledgers", "missed")
SAID = (Said.UNREADABLE, Said.FAILS, Said.UNANCHORED, Said.LESS, Said.NOTHING)
PAGE = Path(__file__).parents[2] / "docs" / "tampering.md"
MARKED = re.compile(r"(<!-- table:(tamperings|forgeries) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = tuple[str, ...]


def rows(counts: Mapping[str, Count]) -> list[Row]:
    """Return a row for each family, and one for all."""
    found = [HEAD]
    for name, count in counts.items():
        found.append(_row(FAMILIES[name][0], [count]))
    return [*found, _row("in all", counts.values())]


def rule_rows(count: Count) -> list[Row]:
    """Return a row for each rule: what was forged against it."""
    missed = [how for _, how in count.missed]
    found = [RULE_HEAD]
    for rule in dict.fromkeys(one.rule for one in FORGERIES.values()):
        names = [name for name, one in FORGERIES.items() if one.rule == rule]
        tried = [name for name in names if count.ways[name]]
        ledgers = sum(count.ways[name] for name in names)
        unnoticed = sum(how in names for how in missed)
        found.append((rule, f"{len(tried)} of {len(names)}", str(ledgers), str(unnoticed)))
    return found


def write(counts: Mapping[str, Count]) -> None:
    """Replace the tables of docs/tampering.md."""
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), counts), "utf-8")


def rewritten(text: str, counts: Mapping[str, Count]) -> str:
    """Return the page with these counts in it."""

    def table(mark: re.Match[str]) -> str:
        drawn = rows(counts) if mark[2] == "tamperings" else rule_rows(counts["forge"])
        return mark[1] + markdown(drawn) + mark[3]

    return MARKED.sub(table, text)


def figures(counts: Mapping[str, Count], took_s: float) -> list[Figure]:
    """Return how many were missed, and how long it took."""
    changed = sum(count.changed for count in counts.values())
    missed = sum(len(count.missed) for count in counts.values())
    return [
        Figure(
            row="tamperings",
            measured=f"not noticed, of {changed:,} that change what is parsed",
            value=missed,
            unit="packages",
            at_most=0,
        ),
        Figure(row="tamperings", measured="all of them", value=took_s, unit="s"),
    ]


def _row(name: str, counts: Iterable[Count]) -> Row:
    counts = list(counts)
    changed = sum(count.changed for count in counts)
    cells = (str(sum(count.by[said] for count in counts)) for said in SAID)
    return (name, str(changed), *cells)
