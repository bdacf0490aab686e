"""A federation over real gRPC: an operator's directory, scripted vaults, a ServerApp of their own.

The vaults stand on the sans-io core and keep everything in memory; they follow their mailbox, take
orders, upload, reveal and endorse, and ride out restarts of the operator. What an institution does
in a round is said in one line: `vault.behaviour[2] = "decline"`.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from comity.v1 import coordination_pb2, transfer_pb2
from comity.v1.coordination_pb2_grpc import CoordinationStub
from comity.v1.transfer_pb2_grpc import TransferStub
from comity_common import chunks, wire
from comity_common.agreement import Agreement, ModelOptimizer, Party, PublicIdentity
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest
from comity_common.crypto.seal import SealingKey, close_box, open_box
from comity_common.crypto.sign import Purpose, Signed, SigningKeys, verify
from comity_common.crypto.stream import Keystream
from comity_common.errors import PeerError, Refusal, RefusalCode
from comity_common.fixedpoint import quantise
from comity_common.ids import Digest, InstitutionId
from comity_common.membership import PROTOCOL_VERSION, USER_AGENT, EnrolmentRequest, token_digest
from comity_common.optimizer import first_state, next_state, state_digest
from comity_common.secagg.keyepoch import (
    PairChain,
    check_open,
    check_views,
    make_halves,
    pair_chains,
    read_halves,
    read_keys,
    view_digest,
)
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import q_bytes, sections, vector_bytes
from comity_common.secagg.messages import (
    CertificateBody,
    Deadline,
    Decline,
    Endorsement,
    EpochKey,
    EpochOpen,
    EpochView,
    Plan,
    Survivors,
    Upload,
)
from comity_common.secagg.packing import lane_bytes
from comity_common.secagg.participant import (
    _box_key,
    answer,
    certificate_digest,
    check_certificate,
    header_digest,
)
from comity_common.secagg.plan import Standing, check_plan
from comity_server.agreements import Agreements
from comity_server.authority import Certified, fingerprint
from comity_server.config import Deadlines
from comity_server.home import Home, init
from comity_server.models import Models
from comity_server.registry import Registry

from .federation import make_agreement, some_counts
from .wholevector import Whole, deal

QUICK = Deadlines(acknowledge_s=10, upload_s=30, reveal_s=10, gather_s=5, settle_s=5, patience_s=30)


@dataclass
class Identity:
    """An institution's keys."""

    id: InstitutionId
    signing: SigningKeys = field(default_factory=SigningKeys.generate)
    tls: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    certificate: bytes = b""
    authority: bytes = b""

    def request(self) -> bytes:
        """Write a certificate request."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.id)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name)
        return request.sign(self.tls, SHA256()).public_bytes(Encoding.PEM)

    def enrolment(self, token: bytes, flower_key: str = "") -> Signed:
        """Ask to be approved, under an invitation's token."""
        asked = EnrolmentRequest(
            version=PROTOCOL_VERSION,
            invitation=token_digest(token),
            party=self.party(),
            certificate_request=self.request().decode(),
            flower_key=flower_key,
        )
        return self.signing.sign(Purpose.ENROLMENT, encode(asked))

    def admit(self, registry: Registry, home: Home, flower_key: str = "") -> Certified:
        """Let this institution in: invited, enrolled, approved."""
        now = time.time()
        token = registry.invite(self.id, "DE", int(now) + 60)
        registry.enrol(token, self.enrolment(token, flower_key), now)
        return registry.approve(home.certificate_authority(), self.id)

    def party(self) -> Party:
        """Return what the agreement calls it."""
        identity = PublicIdentity.of(self.signing, fingerprint(self.tls.public_key()))
        return Party(id=self.id, name=self.id, jurisdiction="DE", identity=identity)

    def channel(self, port: int, user_agent: str = USER_AGENT) -> grpc.Channel:
        """Connect to the operator."""
        key = self.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        credentials = grpc.ssl_channel_credentials(self.authority, key, self.certificate)
        options = [
            ("grpc.primary_user_agent", user_agent),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 100),
        ]
        return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


@dataclass
class Federation:
    """An operator's directory with a running agreement, and the institutions' keys."""

    home: Home
    agreement: Agreement
    identities: dict[InstitutionId, Identity]
    start: np.ndarray

    @classmethod
    def make(
        cls,
        directory: Path,
        n: int,
        *,
        lanes: int = 50,
        deadlines: Deadlines = QUICK,
        port: int = 0,
        optimizer: ModelOptimizer = ModelOptimizer.FEDAVGM,
        **terms: Any,
    ) -> "Federation":
        """Make everything up to the point where a daemon may be started."""
        operator = init(
            directory,
            name="Operator",
            jurisdiction="DE",
            transfer=f"127.0.0.1:{port}",
            deadlines=deadlines,
        )
        home = Home(directory)
        store = home.open_store()
        registry = Registry(store)
        ids = [InstitutionId(f"inst-{k:02d}") for k in range(n)]
        identities = {id: Identity(id) for id in ids}
        for node, identity in enumerate(identities.values(), start=1):
            certified = identity.admit(registry, home)
            registry.set_node(identity.id, node)
            identity.certificate = certified.certificate
            identity.authority = home.authority.read_bytes()
        keys = home.signing_keys()
        draft = make_agreement(
            {id: identity.signing for id, identity in identities.items()},
            keys,
            lanes=lanes,
            **terms,
        )
        aggregation = replace(
            draft.aggregation,
            optimizer=optimizer,
            momentum=Decimal("0.5") if optimizer is ModelOptimizer.FEDAVGM else Decimal(0),
        )
        start = np.linspace(-1, 1, lanes, dtype=np.float32)
        first = state_digest(first_state(start, aggregation))
        agreement = replace(
            draft,
            operator=operator,
            institutions=tuple(identities[id].party() for id in ids),
            aggregation=aggregation,
            model=replace(draft.model, initial_state=first),
        )
        agreements = Agreements(store, registry, Models(home.models))
        proposed = agreements.propose(agreement, keys, start)
        for identity in identities.values():
            signed = identity.signing.sign(Purpose.AGREEMENT, proposed.body)
            agreements.sign(agreement.digest, identity.id, signed.signature)
        agreements.start(agreement.digest)
        store.close()
        return cls(home, agreement, identities, start)


class Vault:
    """One scripted institution.

    Attributes:
        behaviour: per round, `decline`, `refuse`, `silent` (accepts and does nothing), `manual`
            (masks a vector and leaves the upload to the test), `mute` (uploads and never reveals)
            or `false` (uploads a vector whose canary counts twice).
        dealt: what it masked, by the plan's digest.
        lanes: per round, what it uploaded, before masking: a delta, or made-up counts.
        totals: per certified round, the sum that it received.
        scored: how many scores it knows to be certified.
        receipts: of its uploads, as they came.
    """

    def __init__(self, federation: Federation, id: InstitutionId, port: int) -> None:
        self.id = id
        self.agreement = federation.agreement
        self.keys = federation.identities[id].signing
        self.behaviour: dict[int, str] = {}
        self.state = first_state(federation.start, self.agreement.aggregation)
        self.lanes: dict[int, np.ndarray] = {}
        self.totals: dict[int, np.ndarray] = {}
        self.scored = 0
        self.bodies: list[CertificateBody] = []
        self.faults: list[str] = []
        self.deadlines: list[Deadline] = []
        self.receipts: list[Signed] = []
        self._certificate = self.agreement.digest
        self._epoch = (0, ())
        self._opened: EpochOpen | None = None
        self._sealing: SealingKey | None = None
        self._epoch_keys: dict = {}
        self._own_halves: dict = {}
        self._view = Digest("")
        self._chains: dict[InstitutionId, PairChain] = {}
        self._newest = 0
        self._plans: dict[Digest, Plan] = {}
        self.dealt: dict[Digest, Whole] = {}
        self._answered: dict[Digest, Survivors] = {}
        self._reveals: dict[Digest, Signed] = {}
        self._cursor = 0
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._channel = federation.identities[id].channel(port)
        self.stub = TransferStub(self._channel)
        self._stream: grpc.Future | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> "Vault":
        """Connect."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Disconnect for good."""
        self._closing.set()
        self._channel.close()
        if self._thread.is_alive():
            self._thread.join()

    def order(self, plan_digest: str) -> tuple[bool, str]:
        """Answer an order as ClientApp and vault together would."""
        plan_digest = wire.digest_of(plan_digest)
        with self._lock:
            if plan_digest in self._plans:
                return True, ""
            raw = self._retry(
                lambda: self.stub.FetchPlan(
                    transfer_pb2.FetchPlanRequest(agreement=self.agreement.digest, plan=plan_digest)
                )
            )
            operator = self.agreement.operator.identity
            signed = wire.signed(raw)
            plan = decode(Plan, verify(operator.ed25519, operator.mldsa44, Purpose.PLAN, signed))
            standing = Standing(
                me=self.id,
                epoch=self._epoch[0],
                members=self._epoch[1],
                newest=self._newest,
                certificate=self._certificate,
                model=state_digest(self.state),
                certified=self.state.round,
                scored=self.scored,
            )
            try:
                if self.behaviour.get(plan.round) == "refuse":
                    raise Refusal(RefusalCode.POLICY, "scripted")
                check_plan(self.agreement, standing, plan)
            except Refusal as refusal:
                return False, refusal.code.value
            self._newest = plan.round
            self._plans[plan_digest] = plan
        threading.Thread(target=self._take_part, args=(plan_digest, plan), daemon=True).start()
        return True, ""

    def _take_part(self, named: Digest, plan: Plan) -> None:
        doing = self.behaviour.get(plan.round, "")
        if doing == "silent":
            return
        if doing == "decline":
            message = Decline(
                agreement=self.agreement.digest,
                round=plan.round,
                plan=named,
                institution=self.id,
                code=RefusalCode.INTERRUPTED,
            )
            self._send(transfer_pb2.PARCEL_KIND_DECLINE, Purpose.DECLINE, message)
            return
        lanes = self.lanes[plan.round] = self._made_up(plan)
        with self._lock:
            named_bytes = bytes.fromhex(named)
            round_keys = {}
            for peer, chain in self._chains.items():
                turned = chain.turn_to(plan.round)
                round_keys[peer] = turned.round_key(named_bytes)
                self._chains[peer] = turned
            dealt = deal(plan, self.id, round_keys, lanes)
            if doing == "false":
                dealt = with_false_canary(plan, self.id, round_keys, dealt)
            self.dealt[named] = dealt
        if doing == "manual":
            return
        try:
            self._retry(lambda: self._upload(dealt))
        except grpc.RpcError as error:
            self.faults.append(f"upload: {error.details()}")

    def _made_up(self, plan: Plan) -> np.ndarray:
        """Make up what is summed."""
        if plan.kind is RoundKind.EVALUATE:
            counts = some_counts(random.Random(f"{plan.round} {self.id}"))
            return np.array(counts, np.int32).view(np.uint32)
        chance = np.random.default_rng([plan.round, int(self.id[-2:])])
        delta = chance.uniform(-1.2, 1.2, plan.lanes).astype(np.float32)
        return quantise(delta, plan.range, plan.lane_bound, Keystream.fresh())

    def _upload(self, dealt: Whole) -> None:
        name = header_digest(dealt.header)
        state = self.stub.BeginUpload(self.begin_request(dealt))
        missing = chunks.missing(len(dealt.leaves), state.held)
        if missing:
            self.stub.PutChunks(pieces(name, dealt.vector, missing))
        receipt = self.stub.FinishUpload(transfer_pb2.FinishUploadRequest(header=name))
        self.receipts.append(wire.signed(receipt))

    def begin_request(self, dealt: Whole) -> transfer_pb2.BeginUploadRequest:
        """Sign the declaration of an upload."""
        return transfer_pb2.BeginUploadRequest(
            agreement=self.agreement.digest,
            header=wire.envelope(self.keys.sign(Purpose.HEADER, encode(dealt.header))),
            upload=wire.envelope(self.keys.sign(Purpose.UPLOAD, encode(dealt.upload))),
            boxes=dealt.boxes,
            leaves=dealt.leaves,
        )

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                request = transfer_pb2.FollowRequest(
                    after=self._cursor, ready=self.agreement.digest
                )
                for parcel in self.stub.Follow(request, wait_for_ready=True):
                    assert parcel.sequence > self._cursor  # a replaced parcel leaves a gap
                    self._take(parcel)
                    self._cursor = parcel.sequence
            except (grpc.RpcError, ValueError):
                self._closing.wait(0.05)
            except Exception as error:
                self.faults.append(repr(error))
                raise

    def _take(self, parcel: transfer_pb2.Parcel) -> None:
        messages = [wire.signed(envelope) for envelope in parcel.envelopes]
        with self._lock:
            match parcel.kind:
                case transfer_pb2.PARCEL_KIND_EPOCH_OPEN:
                    self._take_open(messages[0])
                case transfer_pb2.PARCEL_KIND_EPOCH_KEYS:
                    self._take_keys(messages)
                case transfer_pb2.PARCEL_KIND_EPOCH_HALVES:
                    self._take_halves(messages)
                case transfer_pb2.PARCEL_KIND_EPOCH_VIEWS:
                    assert self._opened is not None
                    check_views(self.agreement, self._opened, messages, self._view)
                    self._epoch = (self._opened.epoch, self._opened.members)
                case transfer_pb2.PARCEL_KIND_SURVIVORS:
                    self._take_survivors(messages, parcel.boxes)
                case transfer_pb2.PARCEL_KIND_CERTIFICATE:
                    self._take_certificate(messages)
                case transfer_pb2.PARCEL_KIND_AGREEMENT_MOVED:
                    pass  # the agreement is given by hand
                case transfer_pb2.PARCEL_KIND_DEADLINE:
                    self.deadlines.append(decode(Deadline, messages[0].body))
                case transfer_pb2.PARCEL_KIND_HEAD:
                    pass  # of the operator's ledger; this vault witnesses nothing
                case _:
                    raise PeerError("unexpected kind")

    def _take_open(self, signed: Signed) -> None:
        self._opened = decode(EpochOpen, signed.body)
        check_open(self.agreement, self._opened, self.id, self._epoch[0])
        self._sealing = SealingKey.generate()
        message = EpochKey(
            agreement=self.agreement.digest,
            epoch=self._opened.epoch,
            institution=self.id,
            key=self._sealing.public(),
        )
        self._send(transfer_pb2.PARCEL_KIND_EPOCH_KEYS, Purpose.EPOCH_KEY, message)

    def _take_keys(self, messages: list[Signed]) -> None:
        assert self._opened is not None
        self._epoch_keys = read_keys(self.agreement, self._opened, messages)
        message, self._own_halves = make_halves(
            self.agreement, self._opened, self.id, self._epoch_keys
        )
        self._send(transfer_pb2.PARCEL_KIND_EPOCH_HALVES, Purpose.EPOCH_HALVES, message)

    def _take_halves(self, messages: list[Signed]) -> None:
        assert self._opened is not None
        assert self._sealing is not None
        halves = read_halves(self.agreement, self._opened, messages)
        self._chains = pair_chains(
            self._opened, self.id, self._sealing, self._own_halves, self._epoch_keys, halves
        )
        self._view = view_digest(self._opened, self._epoch_keys, halves)
        message = EpochView(
            agreement=self.agreement.digest,
            epoch=self._opened.epoch,
            institution=self.id,
            view=self._view,
        )
        self._send(transfer_pb2.PARCEL_KIND_EPOCH_VIEWS, Purpose.EPOCH_VIEW, message)

    def _take_survivors(self, messages: list[Signed], boxes: list[bytes]) -> None:
        survivors = decode(Survivors, messages[0].body)
        known = self._answered.get(survivors.plan)
        assert known is None or known == survivors, "two lists for one round"
        self._answered[survivors.plan] = survivors
        plan = self._plans[survivors.plan]
        if self.behaviour.get(plan.round) == "mute":
            return
        if survivors.plan not in self._reveals:
            held = self.dealt[survivors.plan].held
            count = len(survivors.survivors)
            headers, uploads = messages[1 : 1 + count], messages[1 + count :]
            reveal = answer(
                self.agreement, plan, self.id, held, survivors, headers, uploads, list(boxes)
            )
            self._reveals[survivors.plan] = self.keys.sign(Purpose.REVEAL, encode(reveal))
        self._send_signed(transfer_pb2.PARCEL_KIND_REVEAL, self._reveals[survivors.plan])

    def _take_certificate(self, messages: list[Signed]) -> None:
        plan = decode(Plan, messages[1].body)
        body = decode(CertificateBody, messages[0].body)
        check_certificate(
            self.agreement,
            plan,
            self._answered.get(body.plan),
            messages[0],
            messages[2:],
        )
        assert plan.previous == self._certificate, "expected the chain of rounds"
        self._certificate = certificate_digest(body)
        self._newest = max(self._newest, body.round)
        if not body.void:
            self._take_total(plan, body)
        self.bodies.append(body)  # others wait for it, and look at the state then
        message = Endorsement(
            agreement=self.agreement.digest,
            epoch=body.epoch,
            round=body.round,
            institution=self.id,
            certificate=self._certificate,
            model=state_digest(self.state),
        )
        self._send(transfer_pb2.PARCEL_KIND_ENDORSEMENT, Purpose.ENDORSEMENT, message)

    def _take_total(self, plan: Plan, body: CertificateBody) -> None:
        total = self._retry(lambda: self.fetch_total(body.round))
        size = vector_bytes(plan.lanes, plan.ring_width)
        assert len(total) == size
        leaves = [
            chunks.leaf(total[start : start + chunks.CHUNK_BYTES])
            for start in range(0, size, chunks.CHUNK_BYTES)
        ]
        assert chunks.root(size, leaves) == body.total
        lanes = sections(total, plan.lanes, plan.ring_width)[0][: plan.lanes]
        self.totals[body.round] = lanes
        if plan.kind is RoundKind.EVALUATE:
            self.scored += 1
            return
        self.state = next_state(
            self.state,
            lanes,
            len(body.survivors),
            len(plan.participants),
            self.agreement.aggregation,
        )

    def fetch_total(self, round: int, offset: int = 0) -> bytes:
        """Receive the sum of a round."""
        request = transfer_pb2.FetchTotalRequest(
            agreement=self.agreement.digest, round=round, offset=offset
        )
        return b"".join(chunk.data for chunk in self.stub.FetchTotal(request))

    def _send(self, kind: int, purpose: Purpose, message: object) -> None:
        self._send_signed(kind, self.keys.sign(purpose, encode(message)))

    def _send_signed(self, kind: int, signed: Signed) -> None:
        parcel = wire.parcel(self.agreement.digest, kind, [signed])
        try:
            self._retry(lambda: self.stub.Send(parcel))
        except grpc.RpcError as error:
            self.faults.append(f"send {kind}: {error.details()}")

    def _retry(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                later = {
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.ABORTED,
                    grpc.StatusCode.CANCELLED,
                    grpc.StatusCode.INTERNAL,
                }
                if error.code() not in later or self._closing.is_set():
                    raise
                self._closing.wait(0.05)


class ServerApp:
    """Carries orders from the operator's socket to scripted vaults, as Flower would."""

    def __init__(self, home: Home, vaults: dict[InstitutionId, Vault], run: str = "1") -> None:
        self._home = home
        self._vaults = vaults
        self._run = run
        self.finished = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def start(self) -> "ServerApp":
        """Begin to ask."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop asking."""
        self._closing.set()
        self._thread.join()

    def _carry(self) -> None:
        options = [
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.initial_reconnect_backoff_ms", 100),
        ]
        with grpc.insecure_channel(f"unix:{self._home.socket}", options=options) as channel:
            stub = CoordinationStub(channel)
            while not self._closing.is_set():
                try:
                    if self._carry_one(stub):
                        self.finished.set()
                        return
                except grpc.RpcError:
                    self._closing.wait(0.05)

    def _carry_one(self, stub: CoordinationStub) -> bool:
        nodes = dict(enumerate(sorted(self._vaults), start=1))
        reply = stub.NextOrder(
            coordination_pb2.NextOrderRequest(flower_run=self._run, online_nodes=list(nodes))
        )
        for node in reply.order.nodes:
            accepted, code = self._ask(nodes[node], reply.order)
            stub.Acknowledge(
                coordination_pb2.Acknowledgement(
                    node=node,
                    round=reply.order.round,
                    plan=reply.order.plan,
                    accepted=accepted,
                    code=code,
                )
            )
        return reply.finished

    def _ask(self, institution: InstitutionId, order: coordination_pb2.Order) -> tuple[bool, str]:
        return self._vaults[institution].order(order.plan)


def with_false_canary(
    plan: Plan, me: InstitutionId, round_keys: dict[InstitutionId, bytes], dealt: Whole
) -> Whole:
    """Make an upload that is well made in everything but one canary."""
    vector = bytearray(dealt.vector)
    end, step = q_bytes(plan.lanes, plan.ring_width), lane_bytes(plan.ring_width)
    canary = int.from_bytes(vector[end - step : end], "little") + 1
    vector[end - step : end] = (canary % (1 << plan.ring_width)).to_bytes(step, "little")
    leaves = tuple(
        chunks.leaf(vector[start : start + chunks.CHUNK_BYTES])
        for start in range(0, len(vector), chunks.CHUNK_BYTES)
    )
    header = replace(dealt.header, root=chunks.root(len(vector), leaves))
    old, new = header_digest(dealt.header), header_digest(header)
    boxes, keys = [], []
    for peer, box in zip(plan.participants, dealt.boxes, strict=True):
        if peer == me:
            boxes.append(b"")
            keys.append(b"")
            continue
        opened = _box_key(round_keys[peer], me, peer, old)
        share = open_box(opened, box, bytes.fromhex(old))
        keys.append(_box_key(round_keys[peer], me, peer, new))
        boxes.append(close_box(keys[-1], share, bytes.fromhex(new)))
    return replace(
        dealt,
        vector=vector,
        leaves=leaves,
        header=header,
        upload=Upload(
            header=new,
            boxes=tuple(digest("box", box) if box else b"" for box in boxes),
            keys=tuple(digest("box-key", key) if key else b"" for key in keys),
        ),
        boxes=tuple(boxes),
        held=replace(dealt.held, header=new),
    )


def pieces(
    name: Digest, vector: bytes | bytearray, places: Iterable[int] | None = None
) -> Iterator[transfer_pb2.Chunk]:
    """Cut a vector into chunks, and yield those at some places, or all."""
    for place in range(chunks.count(len(vector))) if places is None else places:
        offset = place * chunks.CHUNK_BYTES
        data = bytes(vector[offset : offset + chunks.CHUNK_BYTES])
        yield transfer_pb2.Chunk(header=name, offset=offset, data=data)


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for something that real threads and processes bring about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
