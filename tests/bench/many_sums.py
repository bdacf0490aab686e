"""Sums in a row, as something that needs many of them would ask for them: round after round.

One key epoch, three institutions, 30 k lanes, and every round whole: order, plan, upload, survivor
list, reveal, certificate, endorsement.
"""

from pathlib import Path

from tests.bench.disk import played, with_and_without_a_disk
from tests.bench.figures import Figure, Say

NAME = "many_sums"


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row."""
    institutions, lanes, sums = (3, 30_000, 100) if full else (3, 3_000, 4)
    say(f"{sums} sums")

    def a_sum(where: Path | None) -> tuple[float, float]:
        wall_s, cpu_s = played(institutions, lanes, sums, where).seconds(1, sums)
        return wall_s / sums, cpu_s / sums

    what = f"n={institutions}, {lanes / 1e6:g} M lanes, {sums} in a row: a sum"
    return with_and_without_a_disk(NAME, what, a_sum, 0.15, full=full, say=say)
