"""Measures all rows, or those that are named, and prints the table.

python -m tests.bench
python -m tests.bench --quick --only simulated --json
python -m tests.bench --write     # the table of docs/benchmarks.md, or with --only its rows
"""

import argparse
import importlib
import logging
import os
import sys
import time
from collections.abc import Sequence

import structlog

from tests.bench.figures import Figure, as_json, as_text
from tests.bench.page import write_table

ROWS = (
    "masking",
    "aggregation",
    "secaggplus",
    "protocol_round",
    "many_sums",
    "simulated",
    "training",
    "selftest",
    "budget",
)


def measure(names: Sequence[str], full: bool) -> list[Figure]:
    """Measure some rows, in full or in small sizes."""
    figures = []
    for name in names:
        began = time.monotonic()
        row = importlib.import_module(f"tests.bench.{name}")
        figures += row.measure(full, lambda words, name=name: say(f"{name}: {words}"))
        say(f"{name}: done in {time.monotonic() - began:.0f} s")
    return figures


def say(words: str) -> None:
    """Tell progress."""
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, help="a row; may be repeated")
    parser.add_argument("--quick", action="store_true", help="small sizes, half a minute")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md's table")
    args = parser.parse_args()
    if args.write and args.quick:
        parser.error("expected --write of rows in their full sizes")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=quiet)
    figures = measure(args.only or ROWS, full=not args.quick)
    if args.write:
        write_table(figures)
    print(as_json(figures) if args.json else as_text(figures))


if __name__ == "__main__":
    main()
