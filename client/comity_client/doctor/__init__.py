"""`comity client doctor`: what a vault needs of its machine and of the way to its operator.

Nothing is downloaded and nothing is spent. What leaves is a TLS handshake without our certificate
and then, on the vault's own connection and on the ledger like everything, random bytes that
measure the way.

    for finding in examine_client(Path("~/.comity/client").expanduser(), os.environ):
        print(finding.line(width=NAME_WIDTH))

`own` looks at what the institution keeps, `training` at what trains, `way` at the operator's side.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from comity_client.doctor import own, training, way
from comity_client.home import Home
from comity_client.institution import Institution
from comity_host.checks import Check, Finding, Level, examine
from comity_host.checks.files import disk
from comity_host.checks.machine import open_files, packages, processors, programs
from comity_host.checks.network import congestion_control, is_loopback, proxy_variables

NAME_WIDTH = 14
PACKAGES = ("comity", "flwr", "grpcio", "protobuf", "torch", "transformers", "opacus", "peft")
FLOWER = ("flower-supernode", "flwr-clientapp")

WAY_S = 60.0
IMPORT_S = 120.0  # torch and transformers on a cold disk; large files are hashed too

DISK_FLOOR_BYTES = 200_000_000  # ledger and logs
DISK_BYTES_A_PARAMETER = 40  # states, moments and a masked file
OPEN_FILES = 256


def examine_client(
    path: Path, environ: Mapping[str, str], connect: way.Connect = way.connect
) -> Iterator[Finding]:
    """Look at everything, one after the other; none waits longer than its own limit.

    Args:
        path: the institution's home; it need not exist.
        connect: opens the way to the operator.
    """
    home = Home(path)
    opened: list[Institution] = []
    yield from examine(_of_home(home, opened))
    for institution in opened:
        yield from examine(_of_institution(institution))
        yield from _of_the_way(institution, environ, connect)
    yield from examine(_of_machine(home, opened))


def _of_home(home: Home, opened: list[Institution]) -> list[Check]:
    checks = [Check(name="institution", look=lambda: own.institution(home, opened))]
    if home.config.exists():
        checks += [
            Check(name="permissions", look=lambda: own.permissions(home)),
            Check(name="database", look=lambda: own.ledger_file(home)),
            Check(name="policy", look=lambda: own.rules(home)),
        ]
    return checks


def _of_institution(inst: Institution) -> list[Check]:
    return [
        Check(name="certificate", look=lambda: own.certificate(inst)),
        Check(name="ledger", look=lambda: own.ledger(inst)),
        Check(name="data", look=lambda: training.data(inst), limit_s=IMPORT_S),
        Check(name="base model", look=lambda: training.base_models(inst), limit_s=IMPORT_S),
        Check(name="sockets", look=lambda: own.sockets(inst)),
        Check(name="vault", look=lambda: own.vault(inst)),
        Check(name="SuperNode", look=lambda: own.supernode(inst)),
    ]


def _of_the_way(
    inst: Institution, environ: Mapping[str, str], connect: way.Connect
) -> Iterator[Finding]:
    config = inst.config
    proxy = partial(proxy_variables, "proxy", environ, address=config.server, used=config.proxy)
    yield from examine([Check(name="proxy", look=proxy)])
    operator = list(examine([Check(name="operator", look=lambda: way.operator(inst))]))
    yield from operator
    if all(finding.level is Level.OK for finding in operator):
        measuring = Check(name="goodput", look=lambda: way.measured(inst, connect), limit_s=WAY_S)
        yield from examine([measuring])


def _of_machine(home: Home, opened: Sequence[Institution]) -> list[Check]:
    terms = [each for inst in opened for each in own.agreements(inst)]
    far = not any(is_loopback(inst.config.server) for inst in opened)
    threads = max((inst.config.threads for inst in opened), default=1)
    room = DISK_FLOOR_BYTES + sum(DISK_BYTES_A_PARAMETER * each.model.parameters for each in terms)
    return [
        Check(name="TCP", look=lambda: congestion_control("TCP", long_way=far)),
        Check(name="disk", look=lambda: disk("disk", home.path, needs=room, wants=5 * room)),
        Check(name="memory", look=lambda: training.free_memory(terms), limit_s=IMPORT_S),
        Check(name="processors", look=lambda: processors("processors", wanted=threads)),
        Check(name="open files", look=lambda: open_files("open files", needs=OPEN_FILES)),
        Check(name="Flower", look=lambda: programs("Flower", FLOWER)),
        Check(name="torch", look=training.torch_build, limit_s=IMPORT_S),
        Check(name="versions", look=lambda: packages("versions", PACKAGES, extra="client")),
    ]
