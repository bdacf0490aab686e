"""Fuzzes one target in a process of its own: guided by coverage where atheris is, else blindly.

`python -m tests.fuzz.one NAME DIRECTORY SECONDS SEED` leaves crashes in the directory, and exits
with 77 where it has found one. What atheris does not count is told in a last line on stderr, in
libFuzzer's own words, so that both ways are read alike.
"""

import logging
import random
import sys
import time
import traceback
import warnings
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import structlog

FOUND = 77
MEASURE_EVERY = 256  # inputs; memory is measured several times as slowly
OURS = ["comity_audit", "comity_client", "comity_common", "comity_host", "comity_server"]


def quiet() -> None:
    """Say nothing about refusals: there are thousands a second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    warnings.simplefilter("ignore")


def guided(name: str, directory: Path, seconds: float, seed: int) -> None:
    """Let libFuzzer look for inputs that reach more of the code; ends the process."""
    import atheris

    with atheris.instrument_imports(include=OURS):
        from .registry import TARGETS
    from .target import MAX_BYTES, attempt, attempt_measured, own_directory

    target, tried = TARGETS[name], 0
    workplace = own_directory()
    harness = target.make(_made(workplace / "target"))
    corpus = _made(workplace / "corpus")
    for place, sample in enumerate(harness.seeds):
        (corpus / f"seed-{place}").write_bytes(sample)

    def one(raw: bytes) -> None:
        nonlocal tried
        tried += 1
        (attempt if tried % MEASURE_EVERY else attempt_measured)(target, harness, raw)

    def mutate(raw: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            changed: bytes = atheris.Mutate(raw, most)
            return changed
        try:
            return harness.mutate(raw, chance)[:most]
        except Exception:  # what has no structure any more
            return harness.mutate(chance.choice(harness.seeds), chance)[:most]

    flags = [
        f"-max_total_time={int(seconds)}", f"-max_len={MAX_BYTES}", f"-seed={seed}",
        f"-artifact_prefix={directory}/{name}-", "-print_final_stats=1", "-timeout=30",
        "-rss_limit_mb=4096", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutate)
    atheris.Fuzz()


def blind(name: str, directory: Path, seconds: float, seed: int) -> int:
    """Try variant after variant of the valid samples; return the exit code."""
    from .registry import TARGETS
    from .target import MAX_BYTES, attempt, attempt_measured, own_directory

    target, tried, chance = TARGETS[name], 0, random.Random(seed)
    harness = target.make(_made(own_directory() / "target"))
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            raw = harness.mutate(chance.choice(harness.seeds), chance)[:MAX_BYTES]
            tried += 1
            (attempt if tried % MEASURE_EVERY else attempt_measured)(target, harness, raw)
    except Exception:
        traceback.print_exc()
        (directory / f"{name}-crash-{sha256(raw).hexdigest()[:16]}").write_bytes(raw)
        return FOUND
    finally:
        print(f"stat::number_of_executed_units: {tried}", file=sys.stderr)
    return 0


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


def main() -> None:
    """Fuzz."""
    name, directory, seconds, seed, *plain = sys.argv[1:]
    quiet()
    if find_spec("atheris") is not None and not plain:
        guided(name, Path(directory), float(seconds), int(seed))
    sys.exit(blind(name, Path(directory), float(seconds), int(seed)))


if __name__ == "__main__":
    main()
