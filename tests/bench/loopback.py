"""A federation in one process, every part real but two: Flower and training.

The operator's daemon and the vaults' daemons talk gRPC over mutual TLS on loopback, and every one
has its own directory with its own SQLite file. Orders go from the operator's socket to the vaults'
sockets as Flower would carry them; a vault "trains" by handing out a delta drawn before.

    with Loopback.found(directory, institutions=5, lanes=300_000, rounds=2) as federation:
        federation.run()
        federation.moments[1]  # of round 1: what happened when
"""

import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from tests.simulation.federation import make_agreement
from tests.simulation.network import QUICK, ServerApp

from comity.v1 import coordination_pb2 as pb
from comity_client.config import VaultConfig
from comity_client.daemon import Daemon as VaultDaemon
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
from comity_common.optimizer import ModelState, first_state, state_digest
from comity_common.vectors import Vector
from comity_host.ports import free_port
from comity_server.agreements import Agreements
from comity_server.daemon import Daemon as OperatorDaemon
from comity_server.home import Home, init
from comity_server.models import Models
from comity_server.registry import Registry
from comity_server.store import Store

READY_S = 60.0
ROUND_S = 30.0  # at most, for one that hangs
BYTES_OF_MOMENTS = 8  # a coordinate: Adam keeps two float32


class Drawn:
    """What stands for a workbench: it hands out one delta, again and again."""

    def __init__(self, agreement: Agreement, _data: Path, _threads: int) -> None:
        lanes = agreement.model.parameters
        start = np.zeros(lanes, np.float32)
        self.first_state: ModelState = first_state(start, agreement.aggregation)
        self._delta = np.random.default_rng().uniform(-1, 1, lanes).astype(np.float32)
        self._moments = bytes(BYTES_OF_MOMENTS * lanes)

    def train(
        self, start: Vector, moments: bytes | None, on_step: Callable[[int, int], None]
    ) -> tuple[Vector, bytes]:
        """Return the delta, and as many bytes of moments as Adam has."""
        on_step(1, 1)
        return self._delta, self._moments

    def look(self, parameters: Vector) -> tuple[float, float]:
        """See nothing."""
        return 0.0, 0.0


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
        moments: per round, seconds of `time.perf_counter` and (what happened, to whom), in order;
            of the operator what its daemon tells, of a vault what its walk tells.
    """

    agreement: Agreement
    home: Home
    institutions: dict[InstitutionId, Institution]
    moments: dict[int, list[tuple[float, str, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @classmethod
    def found(
        cls, directory: Path, *, institutions: int, lanes: int, rounds: int, streams: int = 4
    ) -> Self:
        """Make operator and institutions, and an agreement that all have signed.

        Args:
            directory: short, for it holds unix sockets.
            lanes: coordinates of a delta.
            streams: connections of an upload.
        """
        port = free_port()
        address = f"127.0.0.1:{port}"
        operator = init(
            directory / "op", name="op", jurisdiction="DE", transfer=address, deadlines=QUICK
        )
        home = Home(directory / "op")
        parts = {}
        for k in range(institutions):
            id = InstitutionId(f"inst-{k:02d}")
            settings = VaultConfig(
                id=id, name=id, jurisdiction="DE", server=address, streams=streams,
                sockets=directory / "s" / id,
            )  # fmt: skip
            parts[id] = Institution.create(directory / id, settings)
        store = Store(home.database)
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
        self._stop = threading.Event()
        self._finished = threading.Event()
        self._operator = OperatorDaemon(self.home.path, self._note)
        self._operator.start()
        self._threads = [
            threading.Thread(target=self._work, args=(part,), name=part.me)
            for part in self.institutions.values()
        ]
        for thread in self._threads:
            thread.start()
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
        self._stop.set()
        self._carrier.close()
        for thread in self._threads:
            thread.join()
        self._operator.close()

    def span(self, first: int, last: int) -> float:
        """Return seconds from the plan of a round to the last endorsement of another."""
        begun = min(at for at, name, _ in self.moments[first] if name == "round-begun")
        return max(at for at, name, _ in self.moments[last] if name == "endorsed") - begun

    def _work(self, part: Institution) -> None:
        def note(name: str, number: int) -> None:
            self._note(name, part.me, number)

        daemon = VaultDaemon(Institution(part.home.path), note, Drawn)
        try:
            daemon.run(self._stop)
        finally:
            daemon.close()

    def _note(self, name: str, who: str, number: int) -> None:
        self.moments[number].append((time.perf_counter(), name, who))
        last = self.agreement.schedule.rounds
        ended = [name for _, name, _ in self.moments[last] if name == "endorsed"]
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
    noise, order = calibrate(
        training.sampling_probability, rounds, privacy.epsilon, privacy.delta
    )
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
    rows.write_text(f"rows of {part.me}")
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
