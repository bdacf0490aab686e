"""Tampers with ledgers, and asks the verifier each time.

python -m tests.audit
python -m tests.audit --tamperings 1000 --seed 7
python -m tests.audit --only "owner breaks a rule"

Exit code 1 if anything that changes what a package says went unnoticed.
"""

import argparse
import json
import sys
from time import monotonic

from tests.audit.campaign import FAMILIES, Tally, campaign, subjects
from tests.audit.meaning import Said


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tamperings", type=int, default=10_000, help="in all (%(default)s)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="go on at this number")
    parser.add_argument("--seconds", type=float, default=3600, help="at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is tampered (%(default)s)")
    parser.add_argument("--json", action="store_true", help="for scripts")
    args = parser.parse_args()
    of, tallies, began = subjects(), {}, monotonic()
    tallies = dict[str, Tally]()
    last = args.first
    for last in campaign(of, args.seed, range(args.first, args.tamperings), tallies):
        if sys.stderr.isatty() and not last % 100:
            print(f"\r{last:,} of {args.tamperings:,}", end="", file=sys.stderr)
        if monotonic() - began > args.seconds:
            print(f"stopped; go on with --from {last + 1}", file=sys.stderr)
            break
    unnoticed = [each for tally in tallies.values() for each in tally.unnoticed]
    if args.json:
        print(json.dumps({name: dict(tally.said) for name, tally in tallies.items()}))
    else:
        print(as_text(tallies))
        print(f"seed {args.seed}, up to number {last}, {monotonic() - began:.0f} s")
        print("\n".join(unnoticed[:20]))
    return 1 if unnoticed else 0


def as_text(tallies: dict[str, Tally]) -> str:
    """Write a Markdown table."""
    columns = (Said.UNREADABLE, Said.FAILS, Said.UNANCHORED, Said.LESS, Said.NOTHING)
    lines = [
        "| tampering | changes the meaning | no package | a step fails | unanchored | says less "
        "| unnoticed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in FAMILIES:
        tally = tallies.get(name, Tally())
        counts = " | ".join(f"{tally.said[column]:,}" for column in columns)
        lines.append(f"| {name} | {tally.counted:,} | {counts} |")
    all_ = " | ".join(f"{sum(one.said[c] for one in tallies.values()):,}" for c in columns)
    lines.append(f"| all | {sum(one.counted for one in tallies.values()):,} | {all_} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
