"""What runs first in `comity-verify.pyz`: looks for what cannot be inside, then is `comity`.

From 3.7 on every Python can read this file, so that an old one says so in a sentence. What has to
be installed stands in the archive's own metadata, as `Requires-Dist`.
"""

from __future__ import annotations

import re
import shlex
import sys

OLDEST = (3, 11)


def main() -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    if sys.version_info < OLDEST:
        sys.stderr.write("expected Python 3.11 or newer. Fix: run this file with another python3\n")
        return 1
    needed = _needed()
    missing = [told for told in map(_missing, needed) if told]
    if missing:
        return _tell_missing(missing, needed)
    from comity_host.cli import run

    return run(sys.argv[1:])


def _needed() -> list[str]:
    """List what has to be installed, as in `numpy>=1.26`."""
    from importlib.metadata import requires

    return requires("comity") or []


def _missing(requirement: str) -> str:
    """Say what is wrong with a package; empty if it is there and its version fits."""
    from importlib.metadata import PackageNotFoundError, version

    name = re.split("[<>]", requirement)[0]
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name} is not there"
    fits = all(
        _ordered(found) >= _ordered(bound) if sign == ">=" else _ordered(found) < _ordered(bound)
        for sign, bound in re.findall("(>=|<)([0-9.]+)", requirement)
    )
    return "" if fits else f"{name} {found} is not {requirement[len(name) :]}"


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall("[0-9]+", version)[:3])


def _tell_missing(missing: list[str], needed: list[str]) -> int:
    from comity_common.errors import Problem
    from comity_host.telling import tell

    install = shlex.join([sys.executable, "-m", "pip", "install", *needed])
    problem = Problem("COM-AUDIT-018", missing=", ".join(missing), install=install)
    return tell(problem, as_json="--json" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
