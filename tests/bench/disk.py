"""What rounds of real daemons cost, on a disk and with every directory in memory."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.figures import Figure, Say
from tests.bench.loopback import Loopback

MEMORY = Path("/dev/shm")  # a file system that fsync(2) has nothing to do for


def played(institutions: int, lanes: int, rounds: int, where: Path | None = None) -> Loopback:
    """Run a federation through all its rounds, in a directory that is gone afterwards.

    Args:
        where: what the directory is made in; None: where temporary files go.
    """
    with tempfile.TemporaryDirectory(dir=where) as directory:
        federation = Loopback.found(
            Path(directory), institutions=institutions, lanes=lanes, rounds=rounds
        )
        with federation:
            federation.run()
    return federation


def with_and_without_a_disk(
    row: str,
    what: str,
    cost: Callable[[Path | None], tuple[float, float]],
    bar: float,
    *,
    full: bool,
    say: Say,
) -> list[Figure]:
    """Measure seconds of the clock and of CPU, and in full also with every directory in memory.

    Args:
        cost: runs in a directory that is made there, and returns both.
        bar: the most seconds of the clock, in full.
    """
    wall_s, cpu_s = cost(None)
    figures = [
        Figure(row=row, measured=what, value=wall_s, unit="s", at_most=bar if full else None),
        Figure(row=row, measured="CPU of all its processes", value=cpu_s, unit="s"),
    ]
    if full:
        say("the same in memory")
        memory_s, _ = cost(MEMORY)
        figures.append(Figure(row=row, measured="without a disk", value=memory_s, unit="s"))
    return figures
