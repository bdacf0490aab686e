"""The institution's service: its vault, and the SuperNode once the institution has joined.

    start(Home(path))    # in the background, as `comity client start` does
    await_vault(Home(path))

An institution that has not joined yet has no way to Flower; its SuperNode is started as soon as it
has.
"""

import sys
from collections.abc import Collection
from pathlib import Path

from comity_client.control import ask
from comity_client.flower.supernode import RESTART_AFTER_S, SuperNode
from comity_client.home import Home
from comity_common.errors import Problem
from comity_host import service
from comity_host.ports import free_port
from comity_host.supervisor import Process

VAULT, SUPERNODE = "vault", "supernode"
AT_ONCE = 0.0


def run(home: Home) -> None:
    """Run the service in this process, until SIGTERM or SIGINT.

    Raises:
        Problem: the settings cannot be used, or a service runs already.
    """
    check(home)
    service.run(home.path, lambda running: wanted(home, running))


def start(home: Home) -> None:
    """Start the service in the background.

    Raises:
        Problem: the settings cannot be used, a service runs already, or the new one has ended.
    """
    check(home)
    service.start(home.path, service.command("client", home.path))


def await_vault(home: Home) -> service.State:
    """Wait until the vault of a running service answers.

    Raises:
        Problem: it does not in time, or it dies again and again; the service goes on trying.
    """
    control = home.settings().control
    return service.await_answer(home.path, VAULT, lambda: _answers(control))


def check(home: Home) -> None:
    """Check what would keep every process from starting.

    Raises:
        Problem: the settings cannot be read, or a socket cannot have its path.
    """
    settings = home.settings()
    _ = settings.orders, settings.control


def has_joined(home: Home) -> bool:
    """Tell whether the operator has approved the institution and named its way to Flower."""
    return home.settings().gate != "" and (home.keys / "tls.pem").exists()


def wanted(home: Home, running: Collection[str]) -> list[Process]:
    """Return what is to run besides what does: the vault, and once it has joined the SuperNode."""
    found = [] if VAULT in running else [vault(home)]
    if SUPERNODE not in running and has_joined(home):
        found.append(supernode(home, free_port()))
    return found


def vault(home: Home) -> Process:
    """Return the institution's vault."""
    command = (sys.executable, "-m", "comity_host.cli", "client", "daemon")
    return Process(
        name=VAULT,
        argv=(*command, "--home", str(home.path.absolute())),
        env=service.environment()
        | {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": str(home.settings().threads),
            "OMP_WAIT_POLICY": "PASSIVE",  # others may want the cores
        },
        cwd=home.path,
        log=home.logs / f"{VAULT}.log",
        restart_after_s=AT_ONCE,
    )


def supernode(home: Home, port: int) -> Process:
    """Return the institution's SuperNode.

    Args:
        port: a free one on loopback, for its ClientApps.
    """
    settings = home.settings()
    node = SuperNode(
        home=home.flower.absolute(),
        gate=settings.gate,
        authority=(home.keys / "authority.pem").absolute(),
        key=(home.flower / "node").absolute(),
        vault=settings.orders,
        port=port,
        proxy=settings.proxy,
    )
    node.prepare()
    command = node.command()
    return Process(
        name=SUPERNODE,
        argv=command.argv,
        env=command.env,
        cwd=node.home,
        log=home.logs / f"{SUPERNODE}.log",
        restart_after_s=RESTART_AFTER_S,
    )


def _answers(control: Path) -> bool:
    try:
        ask(control)
    except Problem:
        return False
    return True
