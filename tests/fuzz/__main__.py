"""`make fuzz`: every target in turn, each for some seconds in a process of its own, and a table.

    python -m tests.fuzz --seconds 60 --only 'vault-*' --json

What makes a target fail lies in `.fuzz` (`--crashes`): the input, and what the process said. Keys
are made anew in each process, so another one may refuse an old input before it gets as far.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from .one import FOUND, quiet
from .registry import DOCUMENT, ROOT, TARGETS, rewritten
from .target import attempt

GRACE_S = 120.0  # to make the samples, and for one slow input
UNITS = re.compile(r"stat::number_of_executed_units: *(\d+)")
COVERED = re.compile(r"\bcov: (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one target.

    Attributes:
        edges: of the program's own code that were reached; None without atheris.
        crash: the file with the input, or what the process did; empty if nothing was found.
        fault: the last line of what went wrong.
    """

    target: str
    seconds: float
    executions: int
    edges: int | None
    crash: str
    fault: str


def fuzz(name: str, seconds: float, seed: int, crashes: Path, *, plain: bool) -> Result:
    """Fuzz one target."""
    before, began = set(crashes.iterdir()), time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(crashes), str(seconds), str(seed)]
    place = TemporaryDirectory(prefix="comity-fuzz-", ignore_cleanup_errors=True)
    try:
        ended = subprocess.run(
            [*command, *(["plain"] if plain else [])],
            env=os.environ | {"TMPDIR": place.name},  # libFuzzer ends without tidying up
            cwd=ROOT, capture_output=True, text=True, errors="replace", check=False,
            timeout=seconds + GRACE_S,
        )  # fmt: skip
        code, said = ended.returncode, ended.stdout + ended.stderr
    except subprocess.TimeoutExpired as error:
        code, said = -1, (error.stderr or b"").decode(errors="replace")
    place.cleanup()
    crash, fault = "", ""
    if code != 0:
        new = sorted(str(path) for path in set(crashes.iterdir()) - before)
        crash = new[0] if new else f"exit code {code}"
        fault = _fault(said) if code in (FOUND, 1) else f"exit code {code}"
        (crashes / f"{name}.txt").write_text(said)
    units, edges = UNITS.findall(said), COVERED.findall(said)
    return Result(
        target=name,
        seconds=round(time.monotonic() - began, 1),
        executions=int(units[-1]) if units else 0,
        edges=int(edges[-1]) if edges else None,
        crash=crash,
        fault=fault,
    )


def _fault(said: str) -> str:
    """Find the line of a traceback that names the exception."""
    named = re.findall(
        r"^(?:(?:\w+\.)+[A-Z]\w*|\w*(?:Error|Exception|Costly))(?::.*)?$", said, re.MULTILINE
    )
    return named[-1][:200] if named else "no traceback"


def _row(result: Result) -> str:
    edges = "-" if result.edges is None else str(result.edges)
    return f"{result.target:<28} {result.executions:>10} {edges:>6} {result.fault or '-'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code is 1 if any target failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--only", action="append", default=[], help="a target; * and ? as in names")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31), help="of chance")
    parser.add_argument("--crashes", type=Path, default=ROOT / ".fuzz", help="where crashes go")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--replay", type=Path, help="read one file as the target of --only does")
    parser.add_argument("--json", action="store_true", help="one JSON line on stdout")
    parser.add_argument("--write-table", action="store_true", help="rewrite docs/fuzzing.md")
    given = parser.parse_args(arguments)
    if given.write_table:
        DOCUMENT.write_text(rewritten(DOCUMENT.read_text("utf-8")), "utf-8")
        return 0
    wanted = given.only or ["*"]
    names = [name for name in TARGETS if any(fnmatch(name, one) for one in wanted)]
    if not names:
        parser.error(f"expected a target like {', '.join(wanted)}; docs/fuzzing.md has them all")
    if given.replay is not None:
        return _replay(names[0], given.replay)
    given.crashes.mkdir(parents=True, exist_ok=True)
    plain = given.plain or find_spec("atheris") is None
    told = sys.stderr if given.json else sys.stdout
    how = "blindly (atheris is not installed or not wanted)" if plain else "guided by coverage"
    print(f"{len(names)} targets, {given.seconds:g} s each, {how}, seed {given.seed}", file=told)
    print(f"{'target':<28} {'executions':>10} {'edges':>6} fault", file=told, flush=True)
    results = []
    for name in names:
        results.append(fuzz(name, given.seconds, given.seed, given.crashes, plain=plain))
        print(_row(results[-1]), file=told, flush=True)
    failed = [one for one in results if one.crash]
    print(f"{len(failed)} of {len(results)} targets failed", file=told)
    for one in failed:
        print(f"  {one.target}: {one.crash}", file=told)
    if given.json:
        told_as = {"guided": not plain, "seed": given.seed, "results": [asdict(r) for r in results]}
        print(json.dumps(told_as))
    return 1 if failed else 0


def _replay(name: str, file: Path) -> int:
    """Read one input; what goes wrong is raised."""
    import tempfile

    quiet()
    with tempfile.TemporaryDirectory() as directory:
        accepted = attempt(TARGETS[name], TARGETS[name].make(Path(directory)), file.read_bytes())
    print(f"{name}: {'accepted' if accepted else 'refused'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
