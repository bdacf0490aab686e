"""Faults on purpose, at the real process: the daemon kills or stops itself at a boundary.

    python -m comity_local.faults vault HOME MARKERS FAULT…
    python -m comity_local.faults server HOME MARKERS FAULT…

The daemons know nothing of faults; they only tell an observer at which boundary they are. A marker
file makes each fault happen once, also when the process is started again. Flower's processes know
no boundaries. The conductor kills them, at one of the server's: the server waits there until the
conductor has written into the marker that it did.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from comity_local.options import FLOWER_FAULTS, STOPS, Fault, FaultKind, read_fault

TAKES_PART = {"accepted", "upload-begun"}  # an upload may come before the answer to the order
BOUNDARIES = {
    FaultKind.KILL_VAULT: {"training"},
    FaultKind.STOP_BEFORE_UPLOAD: {"before-upload"},
    FaultKind.STOP_BEFORE_REVEAL: {"before-reveal"},
    FaultKind.KILL_SERVER: {"upload-finished"},
    FaultKind.KILL_SUPERNODE: TAKES_PART,
    FaultKind.KILL_SUPERLINK: TAKES_PART,
}
CONDUCTOR_WITHIN_S = 60.0  # it may be scoring a model
LOOK_EVERY_S = 0.05


class Striker:
    """Observes a daemon's boundaries and strikes at those of its faults, once each.

    Args:
        markers: directory of the marker files.
    """

    def __init__(self, faults: Sequence[Fault], markers: Path) -> None:
        self._faults = tuple(faults)
        self._markers = markers

    def vault(self, boundary: str, round: int) -> None:
        """Observe a vault."""
        for fault in self._faults:
            if fault.round == round and boundary in BOUNDARIES[fault.kind]:
                self._strike(fault)

    def server(self, boundary: str, institution: str, round: int) -> None:
        """Observe the server: it falls when one institution's upload is complete."""
        for fault in self._faults:
            if fault.institution == institution:
                self.vault(boundary, round)

    def _strike(self, fault: Fault) -> None:
        marker = self._markers / fault.name
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return
        if fault.kind in FLOWER_FAULTS:
            _await_conductor(marker)
        else:
            os.kill(os.getpid(), signal.SIGSTOP if fault.kind in STOPS else signal.SIGKILL)


def _await_conductor(marker: Path) -> None:
    deadline = time.monotonic() + CONDUCTOR_WITHIN_S
    while marker.stat().st_size == 0 and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)


def main(arguments: Sequence[str]) -> None:
    """Run a daemon with faults."""
    daemon, home, markers, *faults = arguments
    striker = Striker([read_fault(text) for text in faults], Path(markers))
    if daemon == "vault":
        from comity_client.daemon import serve as serve_vault

        serve_vault(Path(home), striker.vault)
    else:
        from comity_server.daemon import serve as serve_server

        serve_server(Path(home), striker.server)


if __name__ == "__main__":
    main(sys.argv[1:])
