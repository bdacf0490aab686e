"""The operator's service: Flower's SuperLink and SuperExec, the gate before them, and the daemon.

    start(Home(path))    # in the background, as `comity server start` does
    await_server(Home(path))

What every process needs is checked before any is started: the settings, the ports, the socket.
"""

import sys
from collections.abc import Collection
from pathlib import Path

from comity_common.errors import LocalError, Problem
from comity_host import service, servicelock
from comity_host.ports import check_free
from comity_host.supervisor import Process
from comity_server.config import ServerConfig
from comity_server.coordination import ask_status
from comity_server.flower.gate import GateTerms
from comity_server.home import Home

SUPERLINK, SUPEREXEC, GATE, SERVER = "superlink", "superexec", "gate", "server"
AT_ONCE = 0.0


def run(home: Home) -> None:
    """Run the service in this process, until SIGTERM or SIGINT.

    Raises:
        Problem: the settings cannot be used, a port is taken, or a service runs already.
    """
    check_socket(home)

    def wanted(running: Collection[str]) -> list[Process]:
        if running:
            return []
        check_ports(home.settings())
        return processes(home)

    service.run(home.path, wanted)


def start(home: Home) -> None:
    """Start the service in the background.

    Raises:
        Problem: the settings cannot be used, a port is taken, a service runs already, or the new
            one has ended.
    """
    check_socket(home)
    servicelock.check_none_runs(home.path)  # or its own ports would be found taken
    check_ports(home.settings())
    service.start(home.path, service.command("server", home.path))


def await_server(home: Home) -> service.State:
    """Wait until the daemon of a running service answers.

    Raises:
        Problem: it does not in time, or it dies again and again; the service goes on trying.
    """
    socket = home.socket
    return service.await_answer(home.path, SERVER, lambda: _answers(socket))


def check_socket(home: Home) -> None:
    """Check that the daemon's socket can have its path.

    Raises:
        Problem: the settings cannot be read, or the path is too long.
    """
    settings = home.settings()
    try:
        _ = home.socket
    except LocalError:
        path = settings.socket or home.path / "coordinator.sock"
        raise Problem("COM-SERVICE-005", path=path, setting="socket in server.toml") from None


def check_ports(settings: ServerConfig) -> None:
    """Check that every listener can have its port.

    Raises:
        Problem: one cannot; it names port and setting.
    """
    taken: dict[int, str] = {}
    for setting, address in listeners(settings).items():
        check_free(address, setting)
        port = int(address.rsplit(":", 1)[1])
        if port in taken:
            why = f"{taken[port]} has the same port"
            raise Problem("COM-SERVICE-002", address=address, setting=setting, why=why)
        taken[port] = setting


def listeners(settings: ServerConfig) -> dict[str, str]:
    """Return where the operator's processes listen, by setting."""
    found = {"transfer": settings.transfer, "enrolment": settings.enrolment, "gate": settings.gate}
    if settings.flower is not None:
        found["flower.port"] = f"127.0.0.1:{settings.flower.port}"
    if settings.metrics_port is not None:
        found["metrics_port"] = f"127.0.0.1:{settings.metrics_port}"
    return {setting: address for setting, address in found.items() if address}


def processes(home: Home) -> list[Process]:
    """Return SuperLink, SuperExec and gate, as far as the settings want them, and the daemon."""
    settings = home.settings()
    found = []
    if settings.flower is not None:
        link = home.superlink()
        link.prepare()
        superlink, superexec = link.superlink_command(), link.superexec_command()
        found += [
            _process(home, SUPERLINK, superlink.argv, dict(superlink.env), link.home),
            _process(home, SUPEREXEC, superexec.argv, dict(superexec.env), link.home),
        ]
        if settings.gate:
            argv = gate_terms(home, settings.gate, link.address).argv()
            found.append(_process(home, GATE, argv, service.environment(), home.path))
    command = (sys.executable, "-m", "comity_host.cli", "server", "daemon")
    argv = (*command, "--home", str(home.path.absolute()))
    return [*found, _process(home, SERVER, argv, service.environment(), home.path)]


def gate_terms(home: Home, address: str, superlink: str) -> GateTerms:
    """Return where the gate listens and what it stands before."""
    host, port = address.rsplit(":", 1)
    return GateTerms(
        host=host,
        port=int(port),
        certificate=home.certificate.absolute(),
        key=home.tls_key.absolute(),
        superlink=superlink,
        authority=home.authority.absolute(),
    )


def _process(
    home: Home, name: str, argv: tuple[str, ...], env: dict[str, str], cwd: Path
) -> Process:
    log = home.logs / f"{name}.log"
    return Process(name=name, argv=argv, env=env, cwd=cwd, log=log, restart_after_s=AT_ONCE)


def _answers(socket: Path) -> bool:
    try:
        ask_status(socket)
    except LocalError:
        return False
    return True
