"""`comity server doctor`: what an operator's daemon needs of its machine.

Nothing is changed and nothing leaves this machine.

    for finding in examine_server(Path("~/.comity/server").expanduser()):
        print(finding.line(width=NAME_WIDTH))
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from comity_common.agreement import Agreement
from comity_common.errors import LocalError
from comity_common.privatescore import LANES
from comity_common.secagg.masking import vector_bytes
from comity_host.checks import Check, Finding, examine, ok, problem, warning
from comity_host.checks.certificates import certified_hosts, validity
from comity_host.checks.files import database, disk, private, socket_path
from comity_host.checks.machine import memory, open_files, packages, programs
from comity_host.checks.network import ANY_ADDRESS, congestion_control, is_loopback, listener, shows
from comity_host.service import state
from comity_server.agreements import OVER, Agreements
from comity_server.config import ServerConfig
from comity_server.coordination import ask_status
from comity_server.home import Home
from comity_server.models import Models
from comity_server.registry import Registry
from comity_server.service import SERVER, listeners

NAME_WIDTH = 17
PACKAGES = ("comity", "flwr", "grpcio", "protobuf", "sqlalchemy", "starlette", "uvicorn")
FLOWER = ("flower-superlink", "flower-superexec", "flwr", "flwr-serverapp")

WARN_DAYS = 30
MEMORY_BYTES = 1_000_000_000  # the daemon and Flower's two; sums are added 1 MiB at a time
DISK_FLOOR_BYTES = 500_000_000  # database, logs and Flower's own
FILES_A_ROUND = 3  # besides the uploads: the sum, and a state with its momentum
OPEN_FILES = 1024  # connections of 100 institutions, and their uploads
ASK_S = 5.0

TIMESYNC = Path("/run/systemd/timesync/synchronized")
RENEW = "have the authority sign the same key anew; a new key would need new agreements"
METRICS = "metrics_port"
LOOPBACK_NAME = "localhost"  # what vaults call every operator, for TLS


def examine_server(path: Path) -> Iterator[Finding]:
    """Look at everything, one after the other; none waits longer than its own limit.

    Args:
        path: the operator's home; it need not exist.
    """
    home = Home(path)
    found: list[ServerConfig] = []
    yield from examine([Check(name="operator", look=lambda: _open(home, found))])
    for config in found:
        yield from examine(_of_operator(home, config))
        yield from examine(_of_listeners(home, config))
    yield from examine(_of_machine(home, found))


def _of_operator(home: Home, config: ServerConfig) -> list[Check]:
    directories = (home.path, home.keys, home.uploads, home.totals, home.models, home.flower)
    secrets = [home.keys / name for name in ("signing.key", "authority.key", "server.key")]
    return [
        Check(name="permissions", look=lambda: private("permissions", directories, secrets)),
        Check(name="database", look=lambda: _database(home)),
        Check(name="certificate", look=lambda: _validity("certificate", home.certificate)),
        Check(name="authority", look=lambda: _validity("authority", home.authority)),
        Check(name="socket", look=lambda: _socket(home)),
        Check(name="daemon", look=lambda: _daemon(home)),
        Check(name="beside it", look=lambda: _flower(home, config)),
    ]


def _of_listeners(home: Home, config: ServerConfig) -> list[Check]:
    checks = [Check(name="host names", look=lambda: _host_names(home, config))]
    for setting, address in listeners(config).items():
        ours = partial(_is_ours, home, setting, address)
        look = partial(listener, setting, address, setting, ours=ours)
        checks.append(Check(name=setting, look=look))
    return checks


def _of_machine(home: Home, found: Sequence[ServerConfig]) -> list[Check]:
    far = not any(is_loopback(home.reachable(config.transfer)) for config in found)
    return [
        Check(name="disk", look=lambda: _disk(home)),
        Check(name="memory", look=lambda: memory("memory", needs=MEMORY_BYTES, what="the daemon")),
        Check(name="open files", look=lambda: open_files("open files", needs=OPEN_FILES)),
        Check(name="clock", look=_clock),
        Check(name="TCP", look=lambda: congestion_control("TCP", long_way=far)),
        Check(name="Flower", look=lambda: programs("Flower", FLOWER)),
        Check(name="versions", look=lambda: packages("versions", PACKAGES, extra="server")),
    ]


def _open(home: Home, found: list[ServerConfig]) -> Finding:
    config = home.settings()
    found.append(config)
    return ok("operator", f"{config.id} ({config.name}, {config.jurisdiction}) in {home.path}")


def _database(home: Home) -> Finding:
    if home.database.exists():
        return database("database", home.database)
    fix = "comity server start makes one; if there was one, restore it before"
    return warning("database", "there is none yet", fix)


def _validity(name: str, file: Path) -> Finding:
    return validity(name, file.read_bytes(), now=datetime.now(UTC), warn_days=WARN_DAYS, fix=RENEW)


def _socket(home: Home) -> Finding:
    path = home.settings().socket or home.path.absolute() / "coordinator.sock"
    return socket_path("socket", path, "name a shorter path as socket in server.toml")


def _daemon(home: Home) -> Finding:
    try:
        report = ask_status(home.socket)
    except LocalError:
        return warning("daemon", "it does not run", "comity server start")
    return ok("daemon", f"it runs: {report['stage']}")


def _flower(home: Home, config: ServerConfig) -> list[Finding]:
    """Look at what runs beside the daemon, where something keeps it running."""
    service = state(home.path)
    if service is None or config.flower is None:
        return []
    return [
        ok(f"{process.name} process", "it runs")
        if process.alive
        else problem(
            f"{process.name} process", "it has ended and is started again", f"see {process.log}"
        )
        for process in service.processes
        if process.name != SERVER
    ]


def _is_ours(home: Home, setting: str, address: str) -> bool:
    if setting == METRICS:  # without TLS, and no other process of ours listens on loopback there
        return state(home.path) is not None
    return shows(address, home.certificate.read_bytes())


def _host_names(home: Home, config: ServerConfig) -> Finding:
    """Check that institutions can call this machine by a name, and that it is certified.

    Vaults know the operator by its key. Flower compares the name of the gate.
    """
    hosts = {_host(home.reachable(address)) for address in (config.transfer, config.gate)} - {""}
    if ANY_ADDRESS in hosts:
        fix = 'set host = "NAME" in server.toml, by which institutions reach this machine'
        return problem("host names", f"institutions cannot call {ANY_ADDRESS}", fix)
    needed = {LOOPBACK_NAME, _host(home.reachable(config.gate))} - {""}
    certified = certified_hosts(home.certificate.read_bytes())
    missing = ", ".join(sorted(needed - certified))
    if missing:
        fix = f"use a name that it has ({', '.join(sorted(certified))}), or {RENEW}"
        return problem("host names", f"the certificate is not for {missing}", fix)
    return ok("host names", f"institutions call {', '.join(sorted(hosts))}")


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _disk(home: Home) -> Finding:
    """Check that a round, and better all that may come, has room."""
    terms = _open_agreements(home)
    rounds = [(_round_bytes(one, one.model.parameters), one.schedule.attempts) for one in terms]
    rounds += [
        (_round_bytes(one, LANES), one.private_evaluation.attempts)
        for one in terms
        if one.private_evaluation is not None
    ]
    needs = DISK_FLOOR_BYTES + max((count for count, _ in rounds), default=0)
    wants = DISK_FLOOR_BYTES + sum(count * attempts for count, attempts in rounds)
    return disk("disk", home.path, needs=needs, wants=wants)


def _round_bytes(terms: Agreement, lanes: int) -> int:
    """Count what a round leaves on the disk: a masked vector of everyone, a sum and a state."""
    vector = vector_bytes(lanes, terms.aggregation.ring_width)
    return vector * (len(terms.institutions) + FILES_A_ROUND)


def _open_agreements(home: Home) -> list[Agreement]:
    if not home.database.exists():  # opening would make an empty one
        return []
    with closing(home.open_store()) as store:
        known = Agreements(store, Registry(store), Models(home.models)).records()
        return [record.agreement for record in known if record.state not in OVER]


def _clock() -> Finding:
    """Ask systemd whether this machine's clock follows another one."""
    if TIMESYNC.exists():
        return ok("clock", "it is synchronised")
    fix = "timedatectl set-ntp true; in a container this is up to its host"
    program = shutil.which("timedatectl")
    answer = ""
    if program is not None:
        asked = [program, "show", "--property=NTPSynchronized", "--value"]
        with suppress(OSError, subprocess.TimeoutExpired):
            answer = subprocess.run(
                asked, capture_output=True, text=True, timeout=ASK_S, check=False
            ).stdout.strip()
    if answer == "yes":
        return ok("clock", "it is synchronised")
    if answer == "no":
        return warning("clock", "it is not synchronised", fix)
    return warning("clock", "this system does not tell whether it is synchronised", fix)
