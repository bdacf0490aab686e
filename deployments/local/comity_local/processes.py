"""What runs: the operator's four processes and two for each institution, with their own homes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from comity_client.flower.supernode import RESTART_AFTER_S, SuperNode
from comity_client.home import Home
from comity_local.founding import Ports
from comity_local.layout import Workdir
from comity_local.options import Fault, FaultKind
from comity_local.supervisor import Process
from comity_server.flower.gate import GateTerms
from comity_server.home import Home as OperatorHome

SERVER = "server"
SUPERLINK = "superlink"
AT_ONCE = 0.0
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "HF_HOME")


def operator(workdir: Workdir, ports: Ports, faults: tuple[Fault, ...]) -> list[Process]:
    """Return SuperLink, SuperExec, gate and the operator's daemon."""
    home = OperatorHome(workdir.operator)
    link = home.superlink()
    link.prepare()
    gate = GateTerms(
        host="127.0.0.1",
        port=ports.gate,
        certificate=home.certificate.absolute(),
        key=home.tls_key.absolute(),
        superlink=link.address,
        authority=home.authority.absolute(),
    )
    superlink, superexec = link.superlink_command(), link.superexec_command()
    daemon = (sys.executable, "-m", "comity_common.cli", "server", "run")
    argv: tuple[str, ...] = (*daemon, "--home", str(home.path))
    own = [fault for fault in faults if fault.kind is FaultKind.KILL_SERVER]
    if own:
        argv = _faulty(workdir, "server", home.path, own)
    return [
        _process(workdir, SUPERLINK, superlink.argv, dict(superlink.env), link.home),
        _process(workdir, "superexec", superexec.argv, dict(superexec.env), link.home),
        _process(workdir, "gate", gate.argv(), environment(), workdir.path),
        _process(workdir, SERVER, argv, environment(), workdir.path),
    ]


def vault(workdir: Workdir, institution: str, faults: tuple[Fault, ...]) -> Process:
    """Return an institution's vault."""
    home = workdir.home(institution)
    argv: tuple[str, ...] = (
        *(sys.executable, "-m", "comity_common.cli", "client", "run"),
        *("--home", str(home)),
    )
    own = [f for f in faults if f.institution == institution and f.kind in VAULT_FAULTS]
    if own:
        argv = _faulty(workdir, "vault", home, own)
    return _process(workdir, f"vault-{institution}", argv, environment(), home)


VAULT_FAULTS = (FaultKind.KILL_VAULT, FaultKind.STOP_BEFORE_UPLOAD, FaultKind.STOP_BEFORE_REVEAL)


def supernode(
    workdir: Workdir, institution: str, ports: Ports, runtime_port: int, sockets: Path
) -> Process:
    """Return an institution's SuperNode."""
    home = Home(workdir.home(institution))
    node = SuperNode(
        home=home.flower.absolute(),
        gate=f"127.0.0.1:{ports.gate}",
        authority=(home.keys / "authority.pem").absolute(),
        key=(home.flower / "node").absolute(),
        vault=sockets / "orders.sock",
        port=runtime_port,
    )
    node.prepare()
    command = node.command()
    name = f"supernode-{institution}"
    return _process(
        workdir, name, command.argv, dict(command.env), home.flower, restart_after_s=RESTART_AFTER_S
    )


def environment() -> dict[str, str]:
    """Return what our own daemons inherit: no more than they need."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # many processes share few cores
        "PYTHONUNBUFFERED": "1",
    }


def _faulty(workdir: Workdir, daemon: str, home: Path, faults: Sequence[Fault]) -> tuple[str, ...]:
    module = (sys.executable, "-m", "comity_local.faults")
    return (*module, daemon, str(home), str(workdir.faults), *(fault.name for fault in faults))


def _process(
    workdir: Workdir,
    name: str,
    argv: tuple[str, ...],
    env: dict[str, str],
    cwd: Path,
    restart_after_s: float = AT_ONCE,
) -> Process:
    return Process(
        name=name,
        argv=argv,
        env=env,
        cwd=cwd,
        log=workdir.logs / f"{name}.log",
        restart_after_s=restart_after_s,
    )
