"""Sums in a row, as something that needs many of them would ask for them: round after round.

One key epoch, three institutions, 30 k lanes, and every round whole: order, plan, upload, survivor
list, reveal, certificate, endorsement.
"""

import tempfile
from pathlib import Path

from tests.bench.figures import Figure, Say
from tests.bench.loopback import Loopback
from tests.bench.protocol_round import MEMORY

NAME = "many_sums"


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row."""
    institutions, lanes, sums = (3, 30_000, 100) if full else (3, 3_000, 4)
    say(f"{sums} sums")
    wall_s, cpu_s = a_sum(institutions, lanes, sums)
    what = f"n={institutions}, {lanes / 1e6:g} M lanes, {sums} in a row: a sum"
    figures = [
        Figure(row=NAME, measured=what, value=wall_s, unit="s", at_most=0.15 if full else None),
        Figure(row=NAME, measured="CPU of all its processes", value=cpu_s, unit="s"),
    ]
    if full:
        say("the same in memory")
        memory_s, _ = a_sum(institutions, lanes, sums, MEMORY)
        figures.append(Figure(row=NAME, measured="without a disk", value=memory_s, unit="s"))
    return figures


def a_sum(
    institutions: int, lanes: int, sums: int, where: Path | None = None
) -> tuple[float, float]:
    """Run so many rounds back to back.

    Returns:
        seconds of the clock, and CPU seconds of all processes, of one on the average.
    """
    with tempfile.TemporaryDirectory(dir=where) as directory:
        federation = Loopback.found(
            Path(directory), institutions=institutions, lanes=lanes, rounds=sums
        )
        with federation:
            federation.run()
    wall_s, cpu_s = federation.seconds(1, sums)
    return wall_s / sums, cpu_s / sums
