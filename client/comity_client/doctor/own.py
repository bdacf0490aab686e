"""What the institution keeps and runs: keys, policy, ledger, vault and SuperNode."""

from dataclasses import replace
from datetime import UTC, datetime

from comity_client import control, policy, policywords
from comity_client.agreements import OVER
from comity_client.home import Home
from comity_client.institution import Institution
from comity_client.keystore import SIGNING, TLS_CERTIFICATE, TLS_KEY
from comity_client.service import SUPERNODE
from comity_common.agreement import Agreement
from comity_common.errors import Problem
from comity_common.ledger.entries import check_order
from comity_host import service
from comity_host.checks import Finding, Level, ok, problem, told
from comity_host.checks.certificates import validity
from comity_host.checks.files import database, private, socket_path

WARN_DAYS = 30
START = "comity client start"


def institution(home: Home, opened: list[Institution]) -> Finding:
    """Open the institution, and put it where the other checks find it."""
    config = home.settings()
    if not home.database.exists():  # opening would make an empty one
        fix = "restore it from a backup, or join again in another home"
        return problem("institution", f"{home.database} is missing", fix)
    opened.append(Institution(home.path))
    return ok("institution", f"{config.id} ({config.name}, {config.jurisdiction}) in {home.path}")


def agreements(inst: Institution) -> list[Agreement]:
    """List the agreements that are offered, signed or in force, in the order in which they came."""
    return [known.agreement for known in inst.agreements.known() if known.state not in OVER]


def permissions(home: Home) -> Finding:
    """Check that nobody else can read what is in the home."""
    directories = (home.path, home.keys, home.outbox, home.models, home.flower)
    secrets = (home.keys / SIGNING, home.keys / TLS_KEY)
    return private("permissions", directories, secrets)


def ledger_file(home: Home) -> Finding:
    """Check the file that ledger and round state are in."""
    return database("database", home.database)


def rules(home: Home) -> Finding:
    """Say in words what the policy permits, if it has not lapsed."""
    found = policy.load(home.policy)
    if found.expires is not None and datetime.now(UTC).date() > found.expires:
        raise Problem("COM-POLICY-003", day=found.expires)
    words = " ".join(policywords.in_words(found))
    return ok("policy", words if home.policy.exists() else f"{words} (the defaults)")


def certificate(inst: Institution) -> Finding:
    """Check that the operator has approved this institution, and for how long."""
    _ = inst.card, inst.keys.tls()
    pem = (inst.home.keys / TLS_CERTIFICATE).read_bytes()
    fix = "ask the operator for another invitation"
    return validity("certificate", pem, now=datetime.now(UTC), warn_days=WARN_DAYS, fix=fix)


def ledger(inst: Institution) -> Finding:
    """Check the entries of the ledger, and that its budget adds up."""
    check_order(inst.ledger.entries())
    inst.ledger.budget()
    tree = inst.ledger.tree()
    return ok("ledger", f"{len(tree)} entries, none missing, root {tree.root().hex()[:16]}")


def sockets(inst: Institution) -> Finding:
    """Check that the kernel takes the sockets' paths."""
    paths = (inst.config.orders, inst.config.control)
    longest = max(paths, key=lambda path: len(str(path).encode()))
    return socket_path("sockets", longest, "name a shorter directory as sockets in vault.toml")


def vault(inst: Institution) -> Finding:
    """Ask the vault how it does."""
    try:
        state = control.ask(inst.config.control)
    except Problem as silent:
        return replace(told("vault", silent), level=_if_awaited(inst))
    return ok("vault", f"it runs: {state.get('doing')}")


def supernode(inst: Institution) -> Finding:
    """Look whether Flower's process runs; it is the operator's code, and is not asked."""
    kept = service.state(inst.home.path)
    nodes = [process for process in kept.processes if process.name == SUPERNODE] if kept else []
    if any(process.alive for process in nodes):
        return ok("SuperNode", "it runs")
    if nodes:
        detail, fix = "it has ended and is started again after a while", f"see {nodes[0].log}"
        return Finding(name="SuperNode", level=_if_awaited(inst), detail=detail, fix=fix)
    detail = "nothing here keeps one running"
    return Finding(name="SuperNode", level=_if_awaited(inst), detail=detail, fix=START)


def _if_awaited(inst: Institution) -> Level:
    """Tell how bad it is that something does not run: others wait once an agreement is in force."""
    return Level.PROBLEM if inst.agreements.active() else Level.WARNING
