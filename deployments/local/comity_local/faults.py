"""Faults on purpose, at the real process: the daemon kills or stops itself at a boundary.

    python -m comity_local.faults vault HOME MARKERS FAULT…
    python -m comity_local.faults server HOME MARKERS FAULT…

The daemons know nothing of faults; they only tell an observer at which boundary they are. A marker
file makes each fault happen once, also when the process is started again. Faults of Flower's
processes are done by the conductor, which knows their pids.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from comity_local.options import Fault, FaultKind, read_fault

BOUNDARIES = {
    FaultKind.KILL_VAULT: ("training", signal.SIGKILL),
    FaultKind.STOP_BEFORE_UPLOAD: ("before-upload", signal.SIGSTOP),
    FaultKind.STOP_BEFORE_REVEAL: ("before-reveal", signal.SIGSTOP),
    FaultKind.KILL_SERVER: ("upload-finished", signal.SIGKILL),
}


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
            if fault.round == round and BOUNDARIES[fault.kind][0] == boundary:
                self._strike(fault)

    def server(self, boundary: str, institution: str, round: int) -> None:
        """Observe the server: it falls when one institution's upload is complete."""
        for fault in self._faults:
            if fault.institution == institution:
                self.vault(boundary, round)

    def _strike(self, fault: Fault) -> None:
        try:
            (self._markers / fault.name).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), BOUNDARIES[fault.kind][1])


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
