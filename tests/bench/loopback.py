"""A federation on loopback, every part real but two: Flower and training.

The operator's daemon and the vaults' daemons, each vault in a process of its own, talk gRPC over
mutual TLS, and every one has its own directory with its own SQLite file. Orders go from the
operator's socket to the vaults' sockets as Flower would carry them; a vault "trains" by handing out
a delta drawn before (`vault`).

    with Loopback.found(directory, institutions=5, lanes=300_000, rounds=2) as federation:
        federation.run()
    federation.seconds(1, 2)
"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil

from comity.v1 import coordination_pb2 as pb
from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_common.agreement import Agreement, Party, TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose
from comity_common.dp.accountant import calibrate
from comity_common.dp.terms import Guarantee
from comity_common.ids import InstitutionId
from comity_common.membership import (
    PROTOCOL_VERSION,
    EnrolmentRequest,
    OperatorCard,
    token_digest,
)
from comity_common.optimizer import first_state, state_digest
from comity_host.ports import free_port
from comity_host.settings import write
from comity_server.agreements import Agreements
from comity_server.daemon import Daemon
from comity_server.home import Home, init
from comity_server.models import Models
from comity_server.registry import Registry
from tests.simulation.federation import make_agreement
from tests.simulation.network import QUICK, ServerApp

Wire = Callable[[Home, Path, str], str]

ROOT = Path(__file__).parents[2]
VAULT = (sys.executable, "-m", "tests.bench.vault")
READY_S = 60.0
ROUND_S = 30.0  # at most, for one that hangs


class Carrier(ServerApp):
    """Carries orders from the operator's socket to the vaults', as Flower's two apps do."""

    def _ask(self, institution: InstitutionId, order: pb.Order) -> tuple[bool, str]:
        vault: Institution = self._vaults[institution]
        question = {"agreement": order.agreement, "round": order.round, "plan": order.plan}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ROUND_S)
            connection.connect(str(vault.config.orders))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer: dict[str, Any] = json.loads(lines.readline())
        return answer["accepted"], answer["code"]


@dataclass
class Loopback:
    """A founded federation; entered, its daemons run.

    Attributes:
        moments: of every boundary that the operator's daemon told: round, name, seconds of
            `time.perf_counter`, and CPU seconds that all processes had used.
    """

    agreement: Agreement
    home: Home
    institutions: dict[InstitutionId, Institution]
    moments: list[tuple[int, str, float, float]] = field(default_factory=list)

    @classmethod
    def found(
        cls,
        directory: Path,
        *,
        institutions: int,
        lanes: int,
        rounds: int,
        streams: int = 4,
        database: str = "",
        wire: Wire | None = None,
    ) -> Self:
        """Make operator and institutions, and an agreement that all have signed.

        Args:
            directory: short, for it holds unix sockets.
            lanes: coordinates of a delta.
            streams: connections of an upload.
            database: of the operator, the URL of PostgreSQL; empty for a file.
            wire: told the operator's home, an institution's directory and the operator's address;
                returns by which address that institution reaches the operator.
        """
        port = free_port()
        address = f"127.0.0.1:{port}"
        operator = init(
            directory / "op", name="op", jurisdiction="DE", transfer=address, deadlines=QUICK
        )
        home = Home(directory / "op")
        if database:
            write(home.config, home.settings().model_copy(update={"database": database}))
        parts = {}
        for k in range(institutions):
            id = InstitutionId(f"inst-{k:02d}")
            server = wire(home, directory / id, address) if wire else address
            settings = VaultConfig(
                id=id, name=id, jurisdiction="DE", server=server, streams=streams, slot_s=0,
                sockets=directory / "s" / id,
            )  # fmt: skip
            parts[id] = Institution.create(directory / id, settings)
        store = home.open_store()
        registry, keys = Registry(store), home.signing_keys()
        for node, part in enumerate(parts.values(), start=1):
            _admit(registry, home, part)
            registry.set_node(part.me, node)
        agreement = _agreement(operator, home, parts, lanes, rounds)
        agreements = Agreements(store, registry, Models(home.models))
        raw = agreements.propose(agreement, keys, np.zeros(lanes, np.float32))
        signatures = {operator.id: raw.signature}
        for part in parts.values():
            signatures[part.me] = _sign(part, agreement, directory / f"{part.me}.jsonl")
            agreements.sign(agreement.digest, part.me, signatures[part.me])
        for part in parts.values():
            part.agreements.activate(raw.body, signatures)
            part.keep_card(keys.sign(Purpose.CARD, encode(_card(operator, address, part.me))))
        agreements.start(agreement.digest)
        store.close()
        return cls(agreement, home, parts)

    def __enter__(self) -> Self:
        """Start the daemons."""
        self._finished = threading.Event()
        self._operator = Daemon(self.home.path, self._note)
        self._operator.start()
        self._vaults = [
            subprocess.Popen([*VAULT, str(part.home.path)], stdin=subprocess.PIPE, cwd=ROOT)
            for part in self.institutions.values()
        ]
        self._carrier = Carrier(self.home, self.institutions).start()
        return self

    def run(self) -> None:
        """Wait until all rounds of the agreement are over.

        Raises:
            TimeoutError: they take far too long.
        """
        most = READY_S + ROUND_S * self.agreement.schedule.rounds
        if not self._finished.wait(most):
            raise TimeoutError(f"expected the last round within {most:g} s")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the daemons."""
        self._carrier.close()
        for vault in self._vaults:
            vault.stdin.close()
        for vault in self._vaults:
            vault.wait(ROUND_S)
        self._operator.close()

    def seconds(self, first: int, last: int) -> tuple[float, float]:
        """Return what it took from the plan of a round to the last endorsement of another.

        Returns:
            seconds of the clock, and CPU seconds of all processes.
        """
        (begun,) = (m for m in self.moments if m[:2] == (first, "round-begun"))
        ended = [moment for moment in self.moments if moment[:2] == (last, "endorsed")]
        return ended[-1][2] - begun[2], ended[-1][3] - begun[3]

    def _note(self, name: str, _who: str, number: int) -> None:
        if name in ("round-begun", "endorsed"):
            times = [psutil.Process(vault.pid).cpu_times() for vault in self._vaults]
            cpu_s = time.process_time() + sum(each.user + each.system for each in times)
            self.moments.append((number, name, time.perf_counter(), cpu_s))
        last = self.agreement.schedule.rounds
        ended = [moment for moment in self.moments if moment[:2] == (last, "endorsed")]
        if len(ended) == len(self.institutions):
            self._finished.set()


def _admit(registry: Registry, home: Home, part: Institution) -> None:
    now = time.time()
    token = registry.invite(part.me, "DE", int(now) + 60)
    asked = EnrolmentRequest(
        version=PROTOCOL_VERSION,
        invitation=token_digest(token),
        party=_party(part),
        certificate_request=part.keys.certificate_request(part.me).decode(),
        flower_key="",
    )
    registry.enrol(token, part.keys.signing.sign(Purpose.ENROLMENT, encode(asked)), now)
    certified = registry.approve(home.certificate_authority(), part.me)
    part.keys.install(certified.certificate, home.authority.read_bytes())


def _party(part: Institution) -> Party:
    return Party(id=part.me, name=part.me, jurisdiction="DE", identity=part.keys.identity)


def _agreement(
    operator: Party, home: Home, parts: dict[InstitutionId, Institution], lanes: int, rounds: int
) -> Agreement:
    draft = make_agreement(
        {id: part.keys.signing for id, part in parts.items()},
        home.signing_keys(),
        lanes=lanes,
        rounds=rounds,
        spare_rounds=0,
    )
    start = first_state(np.zeros(lanes, np.float32), draft.aggregation)
    training, privacy = replace(draft.training, local_steps=1), draft.privacy
    noise, order = calibrate(training.sampling_probability, rounds, privacy.epsilon, privacy.delta)
    return replace(
        draft,
        operator=operator,
        institutions=tuple(_party(part) for part in parts.values()),
        model=replace(draft.model, initial_state=state_digest(start)),
        training=replace(training, noise_multiplier=noise),
        privacy=replace(privacy, order=order),
    )


def _sign(part: Institution, agreement: Agreement, rows: Path) -> bytes:
    privacy = agreement.privacy
    rows.write_text(f'{{"text": "rows of {part.me}", "label": "a"}}\n')
    dataset = part.data.register(
        rows,
        name="rows",
        task=TaskKind.SEQUENCE_CLASSIFICATION,
        ceiling=Guarantee(epsilon=privacy.epsilon, delta=privacy.delta),
    )
    part.data.grant(dataset, privacy.order)
    signed = part.agreements.sign(encode(agreement), part.keys, part.me, part.policy, dataset)
    return signed.signature


def _card(operator: Party, address: str, institution: InstitutionId) -> OperatorCard:
    return OperatorCard(
        version=PROTOCOL_VERSION,
        operator=operator,
        transfer=address,
        gate="",
        institution=institution,
        jurisdiction="DE",
        expires=0,
        now=0,
    )
