"""What runs: the operator's four processes and two for each institution, with their own homes.

They are those of the real services; only their logs lie together, and a fault may be built in.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from comity_client import service as client
from comity_client.home import Home
from comity_host.supervisor import Process
from comity_local.layout import Workdir
from comity_local.options import VAULT_FAULTS, Fault, FaultKind
from comity_server import service as server
from comity_server.home import Home as OperatorHome


def operator(workdir: Workdir, faults: tuple[Fault, ...]) -> list[Process]:
    """Return SuperLink, SuperExec, gate and the operator's daemon."""
    home = OperatorHome(workdir.operator)
    *flower, daemon = server.processes(home)
    own = [fault for fault in faults if fault.kind not in VAULT_FAULTS]
    if own:
        daemon = replace(daemon, argv=_faulty(workdir, "server", home.path, own))
    return [_logged(workdir, process, process.name) for process in (*flower, daemon)]


def vault(workdir: Workdir, institution: str, faults: tuple[Fault, ...]) -> Process:
    """Return an institution's vault."""
    home = workdir.home(institution)
    process = client.vault(Home(home))
    own = [f for f in faults if f.institution == institution and f.kind in VAULT_FAULTS]
    if own:
        process = replace(process, argv=_faulty(workdir, "vault", home, own))
    return _logged(workdir, process, f"vault-{institution}")


def supernode(workdir: Workdir, institution: str, runtime_port: int) -> Process:
    """Return an institution's SuperNode."""
    process = client.supernode(Home(workdir.home(institution)), runtime_port)
    return _logged(workdir, process, f"supernode-{institution}")


def flower_process(fault: Fault) -> str:
    """Name the process that a fault of Flower's kills."""
    is_superlink = fault.kind is FaultKind.KILL_SUPERLINK
    return server.SUPERLINK if is_superlink else f"supernode-{fault.institution}"


def _faulty(workdir: Workdir, daemon: str, home: Path, faults: Sequence[Fault]) -> tuple[str, ...]:
    module = (sys.executable, "-m", "comity_local.faults")
    return (*module, daemon, str(home), str(workdir.faults), *(fault.name for fault in faults))


def _logged(workdir: Workdir, process: Process, name: str) -> Process:
    return replace(process, name=name, log=workdir.logs / f"{name}.log")
