"""Faults on purpose, at the real process: the daemon kills or stops itself at a boundary.

    python -m comity_local.faults vault HOME KIND ROUND MARKER
    python -m comity_local.faults server HOME INSTITUTION ROUND MARKER

The daemons know nothing of faults; they only tell an observer at which boundary they are. A marker
file makes each fault happen once, also when the process is started again. Faults of Flower's
processes are done by the conductor, which knows their pids.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from comity_local.options import FaultKind

BOUNDARIES = {
    FaultKind.KILL_VAULT: ("training", signal.SIGKILL),
    FaultKind.STOP_BEFORE_UPLOAD: ("before-upload", signal.SIGSTOP),
    FaultKind.STOP_BEFORE_REVEAL: ("before-reveal", signal.SIGSTOP),
}


def vault_observer(kind: FaultKind, round: int, marker: Path) -> Callable[[str, int], None]:
    """Return an observer for the vault that strikes at one boundary of one round."""
    boundary, signal_number = BOUNDARIES[kind]

    def observe(name: str, number: int) -> None:
        if (name, number) == (boundary, round):
            strike(signal_number, marker)

    return observe


def server_observer(institution: str, round: int, marker: Path) -> Callable[[str, str, int], None]:
    """Return an observer for the server that strikes when one institution's upload is complete."""

    def observe(name: str, who: str, number: int) -> None:
        if (name, who, number) == ("upload-finished", institution, round):
            strike(signal.SIGKILL, marker)

    return observe


def strike(signal_number: signal.Signals, marker: Path) -> None:
    """Send this process a signal, once per marker."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal_number)


def main(arguments: list[str]) -> None:
    """Run a daemon with a fault."""
    daemon, home, what, round, marker = arguments
    if daemon == "vault":
        from comity_client.daemon import serve as serve_vault

        serve_vault(Path(home), vault_observer(FaultKind(what), int(round), Path(marker)))
    else:
        from comity_server.daemon import serve as serve_server

        serve_server(Path(home), server_observer(what, int(round), Path(marker)))


if __name__ == "__main__":
    main(sys.argv[1:])
