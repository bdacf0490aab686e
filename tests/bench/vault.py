"""A vault whose training is a delta drawn before: `python -m tests.bench.vault HOME`.

The daemon itself, until its standard input ends, as it does when whoever started it is gone.
"""

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import structlog

from comity_client.compute import Compute
from comity_client.daemon import Daemon
from comity_client.institution import Institution
from comity_common.agreement import Agreement
from comity_common.optimizer import ModelState, first_state
from comity_common.vectors import Vector

BYTES_OF_MOMENTS = 8  # a coordinate: Adam keeps two float32


class Drawn:
    """What stands for a workbench: it hands out one delta, again and again."""

    def __init__(self, agreement: Agreement, _data: Path, _compute: Compute) -> None:
        lanes = agreement.model.parameters
        start = np.zeros(lanes, np.float32)
        self.first_state: ModelState = first_state(start, agreement.aggregation)
        self._delta = np.random.default_rng().uniform(-1, 1, lanes).astype(np.float32)
        self._moments = bytes(BYTES_OF_MOMENTS * lanes)

    def examine(self) -> "Drawn":
        """Pass, as there is no machinery here to try out."""
        return self

    tests, failed = ("drawn",), ()

    def train(
        self, start: Vector, moments: bytes | None, on_step: Callable[[int, int], None]
    ) -> tuple[Vector, bytes]:
        """Return the delta, and as many bytes of moments as Adam has."""
        on_step(1, 1)
        return self._delta, self._moments

    def look(self, parameters: Vector) -> tuple[float, float]:
        """See nothing."""
        return 0.0, 0.0


def serve(home: Path) -> None:
    """Run the vault."""
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=quiet)
    stop = threading.Event()

    def end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=end, daemon=True).start()
    daemon = Daemon(Institution(home), lambda _name, _round: None, Drawn)
    try:
        daemon.run(stop)
    finally:
        daemon.close()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
