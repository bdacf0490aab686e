"""The table of docs/benchmarks.md, between its marks, and what kind of machine measured it."""

import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.bench.figures import Figure, as_markdown

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
MARKED = re.compile(r"(<!-- table:benchmarks -->\n).*?(<!-- end -->)", re.DOTALL)


def write_table(figures: Sequence[Figure]) -> None:
    """Replace the table."""
    text = PAGE.read_text("utf-8")
    table = f"{machine()}\n\n{as_markdown(figures)}"
    PAGE.write_text(MARKED.sub(lambda mark: mark[1] + table + mark[2], text), "utf-8")


def machine() -> str:
    """Say what kind of machine this is, and nothing that names it."""
    gigabytes = round(psutil.virtual_memory().total / 1e9)
    return (
        f"{psutil.cpu_count()} cores, {platform.machine()}, {gigabytes} GB, "
        f"{platform.system()}, Python {platform.python_version()}, "
        f"numpy {version('numpy')}, cryptography {version('cryptography')}."
    )
