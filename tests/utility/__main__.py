"""Measures what models are worth on real data sets, and prints tables.

python -m tests.utility
python -m tests.utility --quick --data fin_phrasebank --json
python -m tests.utility --tune --write    # the search on dev rows; writes chosen.json
python -m tests.utility --write           # the tables of docs/utility.md
"""

import argparse
import sys
import time
from pathlib import Path

from comity_client.model.base import base_path
from tests.utility import page, rows
from tests.utility.arms import chosen, keep
from tests.utility.measuring import Table, measure
from tests.utility.tuning import tune
from tests.utility.world import World

RUNS = 3


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.utility",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", action="append", choices=rows.NAMES, help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="few rows and one run: a look")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--tune", action="store_true", help="search on dev rows, measure nothing")
    parser.add_argument("--write", action="store_true", help="write docs/utility.md or chosen.json")
    parser.add_argument("--features", type=Path, help="folder to keep encoded texts in")
    args = parser.parse_args()
    if args.write and args.quick:
        parser.error("expected --write of all rows, got --quick")
    tables = []
    for name in args.data or rows.NAMES:
        if why := rows.missing(name):
            say(f"{name} is left out: {why}")
            continue
        table = one(name, args)
        tables += [table] if table else []
    if args.tune:
        return
    if args.write:
        page.write(tables)
    print(page.as_json(tables) if args.json else page.as_markdown(tables))


def one(name: str, args: argparse.Namespace) -> Table | None:
    """Measure or tune on one data set; only measuring gives a table."""
    began = time.monotonic()
    data = rows.read(rows.folder() / name)
    world = World(
        data.small() if args.quick else data,
        base_path("minilm"),
        args.features,
        lambda words: say(f"{name}: {words}"),
    )
    found = None
    if args.tune:
        settings = tune(world, lambda words: say(f"{name}: {words}"))
        for kind, best in settings.items():
            say(f"{name}: {kind}: {best}")
        if args.write:
            keep(name, settings)
    else:
        runs = 1 if args.quick else RUNS
        found = measure(world, chosen(name), runs, lambda words: say(f"{name}: {words}"))
    say(f"{name}: done in {time.monotonic() - began:.0f} s")
    return found


def say(words: str) -> None:
    """Tell progress."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
