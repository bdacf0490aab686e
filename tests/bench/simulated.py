"""Thirty institutions in one process: real vaults with their real stores, an operator in memory.

What a test of many institutions costs: one key epoch, in which every pair makes its key, and one
round with all of them.
"""

import tempfile
import time
from pathlib import Path

from tests.bench.figures import Figure, Say
from tests.simulation.test_vaults import Federation

NAME = "simulated"


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row."""
    n = 30 if full else 5
    with tempfile.TemporaryDirectory() as directory:
        say(f"founding {n} institutions")
        federation = Federation(Path(directory), n=n)
        began = time.perf_counter()
        federation.set_up_keys()
        epoch_s = time.perf_counter() - began
        say("one round")
        one_round(federation)
        whole_s = time.perf_counter() - began
    bar = 20.0 if full else None
    return [
        Figure(
            row=NAME,
            measured=f"n={n}: a key epoch and a round",
            value=whole_s,
            unit="s",
            at_most=bar,
        ),
        Figure(row=NAME, measured="the key epoch of it", value=epoch_s, unit="s"),
    ]


def one_round(federation: Federation) -> None:
    """Take all institutions through a round."""
    roster = list(federation.agreement.roster)
    plan = federation.operator.begin_round(roster)
    refused = federation.order(plan, roster)
    if refused:
        raise RuntimeError(f"expected no refusal, got {refused}")
    for seat in federation.seats.values():
        seat.work()
    federation.finish(roster)
