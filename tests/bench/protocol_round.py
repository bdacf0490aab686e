"""One round over loopback: from the plan to the endorsement of the last institution.

Five institutions with the delta of a LoRA, 0.3 M coordinates. All of it but Flower and training
(`loopback`). The same again with every directory in memory shows what waiting for the disk takes.
"""

import tempfile
from pathlib import Path
from statistics import median

from tests.bench.figures import Figure, Say
from tests.bench.loopback import Loopback

NAME = "protocol_round"
MEMORY = Path("/dev/shm")  # a file system that fsync(2) has nothing to do for


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row."""
    institutions, lanes, rounds = (5, 300_000, 7) if full else (3, 3_000, 2)
    say(f"{rounds} rounds of {institutions} institutions")
    wall_s, cpu_s = typical_round(institutions, lanes, rounds)
    what = f"n={institutions}, {lanes / 1e6:g} M lanes: plan to last endorsement"
    figures = [
        Figure(row=NAME, measured=what, value=wall_s, unit="s", at_most=1.5 if full else None),
        Figure(row=NAME, measured="CPU of all its processes", value=cpu_s, unit="s"),
    ]
    if full:
        say("the same in memory")
        memory_s, _ = typical_round(institutions, lanes, rounds, MEMORY)
        figures.append(Figure(row=NAME, measured="without a disk", value=memory_s, unit="s"))
    return figures


def typical_round(
    institutions: int, lanes: int, rounds: int, where: Path | None = None
) -> tuple[float, float]:
    """Run some rounds; the first, for which everything is new, does not count.

    Returns:
        the median of seconds of the clock, and of CPU seconds of all processes.
    """
    with tempfile.TemporaryDirectory(dir=where) as directory:
        federation = Loopback.found(
            Path(directory), institutions=institutions, lanes=lanes, rounds=rounds
        )
        with federation:
            federation.run()
    took = [federation.seconds(number, number) for number in range(2, rounds + 1)]
    return median(wall_s for wall_s, _ in took), median(cpu_s for _, cpu_s in took)
