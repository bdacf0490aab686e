"""Tampers with packages, puts vaults back, and measures an auditor's work and install.

python -m tests.audit
python -m tests.audit --only tamperings --tamperings 1000 --family forge --family flip
python -m tests.audit --family flip --number 42    # make this one again, and tell what is said
python -m tests.audit --write                      # tables of docs/tampering.md, benchmarks.md

Exit code 1 if a tampering or a rollback is not noticed, or a bar is missed.
"""

import argparse
import json
import os
import random
import sys
from dataclasses import asdict
from time import monotonic

from tests.audit import install, longledger, rollbacks
from tests.audit.campaign import FAMILIES, Campaign, one
from tests.audit.meaning import judge
from tests.audit.table import figures, rows, rule_rows, write
from tests.bench.figures import Figure, aligned, as_text
from tests.bench.page import write_table
from tests.fuzz.one import quiet

PARTS = ("tamperings", "rollbacks", "auditor", "install")


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated")
    parser.add_argument("--tamperings", type=int, default=10_000, help="in all (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3600, help="at most (%(default)s)")
    parser.add_argument("--rollbacks", type=int, default=100, help="of each case (%(default)s)")
    parser.add_argument("--entries", type=int, default=10_000, help="of the long ledger")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="may be repeated")
    parser.add_argument("--seed", type=int, default=None, help="of chance; printed")
    parser.add_argument("--number", type=int, help="one tampering of one family, by its number")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--write", action="store_true", help="write the tables of the documents")
    args = parser.parse_args()
    quiet()
    seed = random.randrange(1, 2**31) if args.seed is None else args.seed
    say(f"seed {seed}")
    families = args.family or list(FAMILIES)
    if args.number is not None:
        return _again(seed, families[0], args.number)
    parts, measured = args.only or PARTS, []
    campaign = Campaign(seed, args.workers)
    if "tamperings" in parts:
        began = monotonic()
        campaign.run(families, args.tamperings, args.seconds, say)
        measured += figures(campaign.counts, monotonic() - began)
    if "rollbacks" in parts:
        measured += rollbacks.measure(args.rollbacks, say)
    if "auditor" in parts:
        measured += longledger.measure(args.entries, say)
    if "install" in parts:
        measured += install.measure(say)
    if args.write:
        _write(campaign, measured)
    _tell(campaign, measured, seed, as_json=args.json)
    return 1 if any(figure.met is False for figure in measured) else 0


def say(words: str) -> None:
    """Tell progress."""
    print(words, file=sys.stderr, flush=True)


def _again(seed: int, family: str, number: int) -> int:
    """Make one tampering again, and tell what is said of it."""
    of, tampered = one(seed, family, number)
    judgement = judge(of, tampered)
    print(f"{of.owner}, {tampered.how}: {judgement.said.value} {', '.join(judgement.steps)}")
    return 0


def _write(campaign: Campaign, measured: list[Figure]) -> None:
    if campaign.counts:
        write(campaign.counts)
    write_table(measured)


def _tell(campaign: Campaign, measured: list[Figure], seed: int, *, as_json: bool) -> None:
    if as_json:
        told = [asdict(figure) | {"met": figure.met} for figure in measured]
        counts = {
            name: {"changed": count.changed, "by": count.by, "missed": count.missed}
            for name, count in campaign.counts.items()
        }
        print(json.dumps({"seed": seed, "figures": told, "families": counts}, indent=1))
        return
    if campaign.counts:
        print(aligned(rows(campaign.counts)), end="\n\n")
    if "forge" in campaign.counts:
        print(aligned(rule_rows(campaign.counts["forge"])), end="\n\n")
    for name, count in campaign.counts.items():
        for number, how in count.missed:
            print(f"not noticed: --seed {seed} --family {name} --number {number} ({how})")
    print(as_text(measured))


if __name__ == "__main__":
    sys.exit(main())
