"""Disks that are put back, or run twice, many times: how often nothing more could leave them."""

import tempfile
from pathlib import Path

from tests.bench.figures import Figure, Say
from tests.simulation.test_witnessed import AT, put_back, run_twice

CLONE = "live-clone"


def measure(times: int, say: Say) -> list[Figure]:
    """Play each case so often, each time with five vaults of its own."""
    figures = []
    for case in (*AT, CLONE):
        say(f"{case}, {times} times")
        figures.append(
            Figure(
                row="rollbacks",
                measured=f"{case}: caught, of {times}",
                value=sum(_is_caught(case) for _ in range(times)),
                unit="rollbacks",
                at_least=times,
            )
        )
    return figures


def _is_caught(case: str) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        return run_twice(path) if case == CLONE else put_back(path, case)
