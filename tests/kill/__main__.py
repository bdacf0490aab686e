"""Kills vaults that train, and compares their ledgers with the noise that they drew.

python -m tests.kill
python -m tests.kill --at DIR --kills 1000 --seconds 600    # again: goes on where it was
python -m tests.kill --kills 30 --fresh-every 0 --json
python -m tests.kill --write                                # the table of docs/crashes.md

Exit code 1 if any round counts less than was drawn in it.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from unittest.mock import patch

from tests.bench.figures import as_text as figures_as_text
from tests.kill.campaign import Campaign
from tests.kill.table import as_text, figures, write
from tests.kill.victim import quiet


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--at", type=Path, help="where to keep what was found, to go on later")
    parser.add_argument("--kills", type=int, default=1000, help="in all (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1800, help="at most (%(default)s)")
    parser.add_argument(
        "--fresh-every",
        type=int,
        default=47,
        metavar="N",
        help="one victim of N is a fresh interpreter, 0 for none (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=None, help="of where and when to kill")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--write", action="store_true", help="write docs/crashes.md's table")
    parser.add_argument(
        "--one-step-too-few",
        action="store_true",
        help="let forks reserve too little, to see it found",
    )
    args = parser.parse_args()
    quiet()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with ExitStack() as stack:
        at = args.at or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(_one_step_too_few() if args.one_step_too_few else nullcontext())
        campaign = Campaign(at, random.Random(args.seed), args.fresh_every)
        began = monotonic()
        added = campaign.go_on(args.kills, args.seconds, say)
        took_s = monotonic() - began
    if args.write:
        write(campaign.kills)
    found = figures(campaign.kills, added, took_s)
    if args.json:
        told = [asdict(figure) | {"met": figure.met} for figure in found]
        kills = [asdict(kill) for kill in campaign.kills]
        print(json.dumps({"figures": told, "kills": kills}, indent=1))
    else:
        print(as_text(campaign.kills), figures_as_text(found), sep="\n\n")
    return 1 if any(kill.under for kill in campaign.kills) else 0


def say(words: str) -> None:
    """Tell progress."""
    print(words, file=sys.stderr, flush=True)


def _one_step_too_few():
    """Put a mistake into the product's walk for a while: a reserve lacks one step of its round."""
    from comity_client import vault

    right = vault.schedule_event

    def wrong(agreement, rounds, *kind):
        event = right(agreement, rounds, *kind)
        return replace(event, steps=event.steps - 1)

    return patch.object(vault, "schedule_event", wrong)


if __name__ == "__main__":
    sys.exit(main())
