"""One round over loopback: from the plan to the endorsement of the last institution.

Five institutions with the delta of a LoRA, 0.3 M coordinates. All of it but Flower and training
(`loopback`). The same again with every directory in memory shows what waiting for the disk takes.
"""

from pathlib import Path
from statistics import median

from tests.bench.disk import played, with_and_without_a_disk
from tests.bench.figures import Figure, Say

NAME = "protocol_round"


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row; the first round, for which everything is new, does not count."""
    institutions, lanes, rounds = (5, 300_000, 7) if full else (3, 3_000, 2)
    say(f"{rounds} rounds of {institutions} institutions")

    def typical_round(where: Path | None) -> tuple[float, float]:
        federation = played(institutions, lanes, rounds, where)
        took = [federation.seconds(number, number) for number in range(2, rounds + 1)]
        return median(wall_s for wall_s, _ in took), median(cpu_s for _, cpu_s in took)

    what = f"n={institutions}, {lanes / 1e6:g} M lanes: plan to last endorsement"
    return with_and_without_a_disk(NAME, what, typical_round, 1.5, full=full, say=say)
