"""The table of docs/benchmarks.md, between its marks, and what kind of machine measured it."""

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.bench.figures import Figure, as_markdown

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
MARKED = re.compile(r"(<!-- table:benchmarks -->\n)(.*?)(<!-- end -->)", re.DOTALL)
LINE = re.compile(r"^\| (?!row \||--)(\w+) \|.*\n", re.MULTILINE)


def write_table(figures: Sequence[Figure]) -> None:
    """Write the lines of the rows that were measured; others stay as they are."""
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), figures), "utf-8")


def rewritten(text: str, figures: Sequence[Figure]) -> str:
    """Return the page with these figures in it, rows in the order in which they came first."""

    def table(mark: re.Match[str]) -> str:
        rows: dict[str, str] = {}
        for line in LINE.finditer(mark[2]):
            rows[line[1]] = rows.get(line[1], "") + line[0]
        head, *measured = as_markdown(figures).splitlines(keepends=True)
        rule, *measured = measured
        for name in {figure.row: None for figure in figures}:
            rows[name] = "".join(line for line in measured if line.startswith(f"| {name} |"))
        return f"{mark[1]}{machine()}\n\n{head}{rule}{''.join(rows.values())}{mark[3]}"

    return MARKED.sub(table, text)


def machine() -> str:
    """Say what kind of machine this is, and nothing that names it."""
    gigabytes = round(psutil.virtual_memory().total / 1e9)
    return (
        f"{psutil.cpu_count()} cores, {platform.machine()}, {gigabytes} GB, "
        f"{platform.system()}, Python {platform.python_version()}, "
        f"numpy {version('numpy')}, cryptography {version('cryptography')}."
    )
