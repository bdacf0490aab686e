"""Founds a federation on this machine: what people would do by hand, done for all parties.

Every party gets its own home and its own keys, made there. The operator approves the institutions'
certificate requests and proposes an agreement; each institution checks it against its own policy
and budget and signs its exact bytes; only then may it run. In a workdir that was used before, the
parties are the same, and so are their data sets and budgets.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from comity_client import joining
from comity_client.config import VaultConfig
from comity_client.flower.supernode import make_node_key
from comity_client.institution import Institution
from comity_common.agreement import Agreement, Party
from comity_common.canonical import encode
from comity_common.dp.terms import Guarantee
from comity_common.errors import LocalError
from comity_common.membership import token_digest
from comity_host import settings
from comity_local.layout import Workdir
from comity_local.options import Options
from comity_local.samples import Region, Samples, write_rows
from comity_local.terms import model_seed
from comity_local.yardstick import Yardstick
from comity_server.agreements import Agreements, AgreementState
from comity_server.config import Deadlines, FlowerSettings
from comity_server.drafting import write_agreement
from comity_server.home import Home as OperatorHome
from comity_server.home import init
from comity_server.models import Models
from comity_server.registry import Registry
from comity_server.store import Store
from comity_server.terms import Terms

OPERATOR = "Comity demo operator"
OPERATOR_JURISDICTION = "CH"
SLOT_S = 2  # on one machine all rounds are short


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The loopback ports of the operator."""

    transfer: int
    superlink: int
    gate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """A federation that may run.

    Attributes:
        regions: the institutions' data, in the order of their numbers on the command line.
    """

    agreement: Agreement
    regions: tuple[Region, ...]


def found(
    options: Options,
    samples: Samples,
    terms: Terms,
    yardstick: Yardstick,
    ports: Ports,
    deadlines: Deadlines,
    sockets: Path,
) -> Founded:
    """Make or reuse the parties, and get one agreement signed by all.

    Raises:
        LocalError: the workdir holds another federation.
        Refusal: an institution's policy or budget does not allow the agreement.
    """
    workdir = Workdir(options.workdir)
    operator = _operator(workdir, ports, deadlines, sockets / "coordinator.sock")
    institutions = [
        _institution(workdir, region, ports, sockets / str(number), options)
        for number, region in enumerate(samples.regions, start=1)
    ]
    store = OperatorHome(workdir.operator).open_store()
    try:
        return _agree(options, samples, terms, yardstick, operator, institutions, store)
    finally:
        store.close()


def _agree(
    options: Options,
    samples: Samples,
    terms: Terms,
    yardstick: Yardstick,
    operator: Party,
    institutions: Sequence[Institution],
    store: Store,
) -> Founded:
    workdir = Workdir(options.workdir)
    home = OperatorHome(workdir.operator)
    registry = Registry(store)
    agreements = Agreements(store, registry, Models(home.models))
    _admit(home, registry, institutions)
    agreement = write_agreement(
        terms,
        operator,
        [joining.party(institution) for institution in institutions],
        yardstick.start(),
        yardstick.evaluation_set,
        nonce=os.urandom(16),
        seed=model_seed(options),
    )
    privacy = agreement.privacy
    ceiling = Guarantee(epsilon=options.ceiling or options.epsilon, delta=options.delta)
    raw = encode(agreement)
    running = agreements.running()
    if running is not None:
        agreements.end(running.digest, AgreementState.STOPPED, "a new demo took its place")
    proposed = agreements.propose(agreement, home.signing_keys(), yardstick.initial())
    for institution in institutions:
        rows = workdir.rows(institution.me)
        dataset = institution.data.register(
            rows,
            name=f"rows-{sha256(rows.read_bytes()).hexdigest()[:8]}",
            task=agreement.task.kind,
            ceiling=ceiling,
        )
        institution.data.grant(dataset, privacy.order)
        signed = institution.agreements.sign(
            raw, institution.keys, institution.me, institution.policy, dataset
        )
        agreements.sign(agreement.digest, institution.me, signed.signature)
    signatures = agreements.signatures(agreement.digest)
    for institution in institutions:
        with institution.store.transaction() as tx:
            for standing in institution.agreements.active():
                institution.agreements.retire(tx, standing.agreement.digest)
        institution.agreements.activate(proposed.body, signatures)
    agreements.start(agreement.digest)
    return Founded(agreement=agreement, regions=samples.regions)


def _operator(workdir: Workdir, ports: Ports, deadlines: Deadlines, socket: Path) -> Party:
    home = OperatorHome(workdir.operator)
    transfer = f"127.0.0.1:{ports.transfer}"
    if not home.config.exists():
        init(
            workdir.operator,
            name=OPERATOR,
            jurisdiction=OPERATOR_JURISDICTION,
            transfer=transfer,
        )
    for file in home.flower.glob("superlink.db*"):
        file.unlink()  # it still counts the nodes of the last run as online
    moved = home.settings().model_copy(
        update={
            "transfer": transfer,
            "gate": f"127.0.0.1:{ports.gate}",
            "socket": socket,
            "flower": FlowerSettings(port=ports.superlink),
            "deadlines": deadlines,
        }
    )
    settings.write(home.config, moved)
    return home.party()


def _institution(
    workdir: Workdir, region: Region, ports: Ports, sockets: Path, options: Options
) -> Institution:
    home = workdir.home(region.id)
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "policy.toml").write_text(f"epsilon = {options.epsilon:f}\ndelta = {options.delta:f}\n")
    config = VaultConfig(
        id=region.id,
        name=region.name,
        jurisdiction=region.jurisdiction,
        server=f"127.0.0.1:{ports.transfer}",
        gate=f"127.0.0.1:{ports.gate}",
        sockets=sockets,
        slot_s=SLOT_S,
    )
    rows = workdir.rows(region.id)
    if (home / "vault.toml").exists():
        settings.write(home / "vault.toml", config)
        institution = Institution(home)
    else:
        institution = Institution.create(home, config)
        make_node_key(institution.home.flower)
    rows.parent.mkdir(mode=0o700, exist_ok=True)
    write_rows(rows, region.rows)
    return institution


def _admit(home: OperatorHome, registry: Registry, institutions: Sequence[Institution]) -> None:
    """Invite, enrol and approve every institution that is not in yet."""
    approved = registry.fingerprints()
    if approved and set(approved) != {institution.me for institution in institutions}:
        raise LocalError(
            f"expected the institutions of this workdir: {', '.join(sorted(approved))}; "
            "choose another --workdir"
        )
    now = time.time()
    registry.forget_nodes()
    for institution in institutions:
        if institution.me not in approved:
            me, country = institution.me, institution.config.jurisdiction
            token = registry.invite(me, country, int(now) + 60)
            registry.enrol(token, joining.request(institution, token_digest(token)), now)
            certified = registry.approve(home.certificate_authority(), me)
            institution.keys.install(certified.certificate, home.authority.read_bytes())
        institution.keep_card(home.sign_card(institution.me, institution.config.jurisdiction))
