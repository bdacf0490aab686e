"""Targets: what institutions, strangers and Flower can send to the operator.

The services answer as they do behind gRPC, over the operator's real store, at a moment of a round.
A call's bytes are parsed as gRPC does; an envelope with an empty signature is signed here by the
sender, who is enrolled and hostile. A call that is refused must leave the store as it was, and
INTERNAL is a fault: it says that our own code failed.
"""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import grpc
import httpx

from comity.v1 import coordination_pb2, enrolment_pb2
from comity.v1 import transfer_pb2 as pb
from comity_common import wire
from comity_common.canonical import encode
from comity_common.crypto.seal import SealingKey
from comity_common.crypto.sign import Purpose, Signed
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Ingress
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.signed import read
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import Objection, cosign, request_head
from comity_common.membership import USER_AGENT, Withdrawal, request_digest
from comity_common.secagg.keyepoch import make_halves, read_halves, read_keys, view_digest
from comity_common.secagg.messages import (
    Decline,
    Endorsement,
    EpochHalves,
    EpochKey,
    EpochOpen,
    EpochView,
)
from comity_common.secagg.participant import certificate_digest, header_digest
from comity_common.secagg.plan import plan_digest
from comity_server import desk as desk_module
from comity_server.arrivals import Arrivals
from comity_server.authority import certificate_fingerprint, read_request
from comity_server.coordination import CoordinationService
from comity_server.cosigning import Cosigner
from comity_server.enrolment import EnrolmentService
from comity_server.epochs import EpochStep, KeyEpoch
from comity_server.extending import Extending
from comity_server.flower import gate as gate_module
from comity_server.flower.gate import FLEET_CALLS, Gate
from comity_server.heads import Heads
from comity_server.home import Home
from comity_server.registry import Registry
from comity_server.relay import Relay
from comity_server.rounds import Round
from comity_server.status import StatusReport
from comity_server.transfer import TransferService
from comity_server.uploads import Declared
from tests.ledger_keys import LEDGER_KEYS, arrived
from tests.simulation.federation import World
from tests.simulation.network import Identity
from tests.simulation.storedrounds import Played
from tests.unit.server.test_coordinator import Operator

from .mutations import altered, damaged
from .samples import certificate, certificate_request
from .target import Harness, Target, own_directory

PEER = (PeerError,)
TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"  # RFC 9110 §5.6.2, lower case
NOW = 1_900_000_000.0
SENDER = InstitutionId("inst-01")


class Refused(PeerError):
    """The service ended a call with a status."""


class Call:
    """What gRPC hands to a service beside the request."""

    def __init__(self, certificate: bytes) -> None:
        self._certificate = certificate

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", USER_AGENT),)

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._certificate]}

    def abort(self, status: grpc.StatusCode, details: str) -> NoReturn:
        assert status is not grpc.StatusCode.INTERNAL, "the operator's own code failed"
        assert len(details) < 500, "a status holds too much of what came"
        details.encode()
        raise Refused(f"{status.name} {details}")

    def is_active(self) -> bool:
        return False

    def send_initial_metadata(self, metadata: object) -> None:
        pass

    def add_callback(self, callback: object) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The operator's directory at a moment, and what belongs to it.

    Attributes:
        messages: signed by the sender, by name.
    """

    directory: Path
    world: World
    token: bytes
    stranger: Identity
    asked: Signed
    certificate: bytes
    agreement: str
    messages: dict[str, bytes]


@cache
def story() -> dict[str, Moment]:
    """Play until uploads come, until reveals come, and to the end; keep the directory each time."""
    base = own_directory()
    operator = Operator(base / "operator", institutions=3)
    world, agreement = operator.world, operator.agreement
    registry = Registry(operator.store)
    token = registry.invite("inst-09", "DE", int(NOW) * 2)
    told: dict[str, bytes] = {}
    moments: dict[str, Moment] = {}
    stranger = Identity(InstitutionId("inst-09"))
    asked = stranger.enrolment(token)
    held = _certificate_in(operator.home)

    def keep(name: str) -> None:
        place = base / name
        with sqlite3.connect(operator.home.database) as copy:
            copy.execute("pragma wal_checkpoint(truncate)")
        shutil.copytree(operator.home.path, place, ignore=shutil.ignore_patterns("*.sock", "*-shm"))
        moments[name] = Moment(
            directory=place, world=world, token=token, stranger=stranger, asked=asked,
            certificate=held,
            agreement=agreement.digest, messages=dict(told),
        )  # fmt: skip

    epoch = KeyEpoch.open(
        operator.store, operator.mailbox, operator.keys, agreement, agreement.roster
    )
    for step, told[step], messages in _epoch(world, epoch.opened):
        keep(f"epoch-{step}")
        for who, signed in zip(agreement.roster, messages, strict=True):
            epoch.take(step, who, signed)
    plan = world.plan()
    told["plan"] = plan_digest(plan).encode()
    for who in plan.participants:
        world.deal(plan, who, random.Random(1))
    round = Round.begin(operator.store, operator.uploads, operator.keys, agreement, plan)
    told["header"], told["upload"] = (one.body for one in world.signed[SENDER])
    told["decline"] = encode(
        Decline(agreement=agreement.digest, round=plan.round, plan=plan_digest(plan),
                institution=SENDER, code=RefusalCode.BUDGET)
    )  # fmt: skip
    told["withdrawal"] = encode(
        Withdrawal(agreement=agreement.digest, institution=SENDER, by=SENDER)
    )
    told["agreement"] = encode(agreement)
    told |= _of_witnesses(world)
    keep("collecting")
    for who in plan.participants:
        header, upload = world.signed[who]
        dealt = world.dealt[who]
        operator.uploads.begin(
            Declared(
                header=header.body, header_signature=header.signature, upload=upload.body,
                upload_signature=upload.signature, boxes=dealt.boxes, leaves=dealt.leaves,
            )
        )  # fmt: skip
        if who == SENDER:
            keep("uploading")
        name = header_digest(dealt.header)
        operator.uploads.put(name, who, [(0, bytes(dealt.vector))])
        operator.uploads.finish(name, who, arrived(who))
        round.upload(who, name)
    round.list_survivors(operator.mailbox, operator.keys)
    told["reveal"] = world.reveal(plan, SENDER, round.collector.survivors).body
    keep("revealing")
    round.collector.fail("given up")
    body = round.collector.certificate(b"")
    round.end(operator.mailbox, operator.keys, body, plan.model)
    told["endorsement"] = encode(
        Endorsement(agreement=agreement.digest, epoch=plan.epoch, round=plan.round,
                    institution=SENDER, certificate=certificate_digest(body), model=plan.model)
    )  # fmt: skip
    keep("ended")
    registry.enrol(token, asked, NOW)
    keep("asked")
    operator.store.close()
    moments["certified"] = _certified(base / "certified", moments["ended"])
    return moments


def _epoch(world: World, opened: EpochOpen) -> Iterator[tuple[EpochStep, bytes, list[Signed]]]:
    """Make the messages of a key epoch: the step, the sender's body, and everybody's, signed."""
    agreement, roster = world.agreement, world.agreement.roster

    def signed(purpose: Purpose, kind: type, of: Callable[[InstitutionId], dict[str, Any]]):  # type: ignore[no-untyped-def]
        fields = {"agreement": agreement.digest, "epoch": opened.epoch}
        made = [kind(institution=who, **fields, **of(who)) for who in roster]
        return [
            world.keys[who].sign(purpose, encode(one))
            for who, one in zip(roster, made, strict=True)
        ]

    keys = signed(Purpose.EPOCH_KEY, EpochKey, lambda who: {"key": SealingKey.generate().public()})
    yield EpochStep.KEYS, keys[1].body, keys
    read = read_keys(agreement, opened, keys)
    halves = signed(
        Purpose.EPOCH_HALVES,
        EpochHalves,
        lambda who: {"sealed": make_halves(agreement, opened, who, read)[0].sealed},
    )
    yield EpochStep.HALVES, halves[1].body, halves
    view = view_digest(opened, read, read_halves(agreement, opened, halves))
    views = signed(Purpose.EPOCH_VIEW, EpochView, lambda who: {"view": view})
    yield EpochStep.VIEWS, views[1].body, views


def _certified(directory: Path, like: Moment) -> Moment:
    """Play a round to its sum."""
    played = Played(directory, 3)
    played.round()
    played.store.close()
    return replace(
        like,
        directory=directory,
        world=played.world,
        certificate=_certificate_in(played.home),
        agreement=played.agreement.digest,
    )


def _certificate_in(home: Home) -> bytes:
    """Look up the sender's certificate."""
    with closing(sqlite3.connect(home.database)) as store:
        query = "select certificate from institutions where id = ?"
        certificate: bytes = store.execute(query, (SENDER,)).fetchone()[0]
    return certificate


class Watch:
    """A second connection to a store, which tells whether a call has changed what it says.

    That a message arrived is on the ledger whatever is made of it: one more entry, and nothing
    else. Triggers tell cheaply which other tables were written at all.
    """

    def __init__(self, database: Path, keys: LedgerKeys) -> None:
        self._keys = keys.public().entries
        self._database = sqlite3.connect(database, isolation_level=None)
        self._database.execute("create table written (name text)")
        names = "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'"
        for (name,) in self._database.execute(names).fetchall():
            for deed in ("insert", "update", "delete"):
                if (name, deed) != ("entries", "insert") and name != "written":
                    self._database.execute(
                        f"create trigger watch_{name}_{deed} after {deed} on {name} "
                        f"begin insert into written values ('{name}'); end"
                    )
        self._content = self._rest()
        self._entries, self._version = self._count(), self._seen()

    def close(self) -> None:
        self._database.close()

    def changed(self) -> bool:
        if self._seen() == self._version:
            return False
        self._version = self._seen()
        before, self._entries = self._entries, self._count()
        new = "select raw from entries where sequence >= ?"
        bodies = [read(raw, self._keys).body for (raw,) in self._database.execute(new, (before,))]
        if bodies and not (len(bodies) == 1 and isinstance(bodies[0], Ingress)):
            return True
        written = {name for (name,) in self._database.execute("select name from written")}
        if not written:
            return False
        self._database.execute("delete from written")
        return "entries" in written or self._rest() != self._content

    def _seen(self) -> int:
        return int(self._database.execute("pragma data_version").fetchone()[0])

    def _count(self) -> int:
        return int(self._database.execute("select count(*) from entries").fetchone()[0])

    def _rest(self) -> list[str]:
        """Write down all tables but the ledger, of which triggers and new entries tell."""
        return [line for line in self._database.iterdump() if not line.startswith(LEDGER)]


class Desk:
    """The operator's services at a moment, put back after each call that was accepted."""

    def __init__(self, name: str, directory: Path) -> None:
        self.moment = story()[name]
        self._directory = directory / "operator"
        self._operator: Operator | None = None
        self.restore()

    def restore(self) -> None:
        """Start again, as a restarted daemon would."""
        if self._operator is not None:
            self._operator.store.close()
            self._watch.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.copytree(self.moment.directory, self._directory)
        operator = Operator.__new__(Operator)
        operator.home, operator.keys = Home(self._directory), None  # type: ignore[assignment]
        operator.keys = operator.home.signing_keys()
        operator.world, operator.agreement = self.moment.world, self.moment.world.agreement
        operator.clock, operator.now = (lambda: 0.0), (lambda: NOW)
        operator.open()
        self._operator = operator
        registry = Registry(operator.store)
        arrivals = Arrivals(operator.store, registry)
        self.transfer = TransferService(
            registry,
            operator.mailbox,
            operator.desk,
            Relay(
                operator.store,
                operator.agreements,
                operator.mailbox,
                Cosigner(operator.store, operator.keys, lambda: NOW),
                Heads(operator.store, operator.keys, operator.mailbox),
            ),
            arrivals,
        )
        self.enrolment = EnrolmentService(
            operator.home, registry, operator.keys, arrivals, lambda: NOW
        )
        report = StatusReport(
            registry, operator.agreements, operator.history, operator.mailbox, operator.uploads,
            operator.desk,
        )  # fmt: skip
        extending = Extending(operator.desk, operator.mailbox, operator.keys, lambda: NOW)
        self.coordination = CoordinationService(operator.desk, 1.0, report.read, extending)
        self._watch = Watch(operator.home.database, LedgerKeys.derive(operator.keys.to_bytes()))

    def changed(self) -> bool:
        """Tell whether the store says more than at its moment, and that a message arrived."""
        return self._watch.changed()

    def call(self, method: Callable[[Any, Any], Any], request: object) -> None:
        """Let a service answer, and read the whole answer."""
        try:
            answer = method(request, Call(self.moment.certificate))
            for _, _piece in zip(
                range(50), answer if isinstance(answer, Iterator) else (), strict=False
            ):
                pass
        except PeerError:
            assert not self.changed(), "a refusal has changed the store"
            raise
        if self.changed():
            self.restore()

    def sign(self, envelope: pb.Envelope, purpose: Purpose) -> None:
        """Sign what has an empty signature as the sender."""
        if not envelope.signature:
            signed = self.moment.world.keys[SENDER].sign(purpose, envelope.body)
            envelope.CopyFrom(wire.envelope(signed))


LEDGER = 'INSERT INTO "entries"'
PURPOSES = {
    pb.PARCEL_KIND_EPOCH_KEYS: Purpose.EPOCH_KEY,
    pb.PARCEL_KIND_EPOCH_HALVES: Purpose.EPOCH_HALVES,
    pb.PARCEL_KIND_EPOCH_VIEWS: Purpose.EPOCH_VIEW,
    pb.PARCEL_KIND_REVEAL: Purpose.REVEAL,
    pb.PARCEL_KIND_DECLINE: Purpose.DECLINE,
    pb.PARCEL_KIND_ENDORSEMENT: Purpose.ENDORSEMENT,
    pb.PARCEL_KIND_SIGNATURE: Purpose.AGREEMENT,
    pb.PARCEL_KIND_WITHDRAWAL: Purpose.WITHDRAWAL,
    pb.PARCEL_KIND_HEAD: Purpose.HEAD,
    pb.PARCEL_KIND_COSIGNATURE: Purpose.COSIGNATURE,
    pb.PARCEL_KIND_OBJECTION: Purpose.OBJECTION,
}


def _parsed(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except Exception as error:  # gRPC answers INTERNAL by itself; nothing of ours has run
        raise PeerError(str(error)) from None


def _altered_in(*paths: str) -> Callable[[Any], Callable[[bytes, random.Random], bytes]]:
    """Change a body inside a request, or one of its plain fields, or bytes anywhere."""

    def of(kind: Any) -> Callable[[bytes, random.Random], bytes]:
        def mutate(raw: bytes, chance: random.Random) -> bytes:
            request = kind.FromString(raw)
            what = chance.random()
            if what < 0.6 and paths:
                place = request
                for name in chance.choice(paths).split("."):
                    place = getattr(place, name)
                    if not isinstance(place, pb.Envelope) and hasattr(place, "__len__"):
                        if not len(place):
                            return damaged(raw, chance)
                        place = place[0]
                place.body = altered(place.body, chance)
            elif what < 0.85:
                _refill(request, chance)
            else:
                return damaged(raw, chance)
            return request.SerializeToString()

        return mutate

    return of


def _refill(request: Any, chance: random.Random) -> None:
    """Set one plain field of a protobuf message to something else."""
    if not request.DESCRIPTOR.fields:
        return
    field = chance.choice(request.DESCRIPTOR.fields)
    value: Any
    if field.message_type is not None:
        request.ClearField(field.name)
        return
    if field.cpp_type == field.CPPTYPE_STRING:
        value = chance.choice(["", "0" * 64, "a" * 64, "x", "../x", "\x00", "é" * 40])
        value = value.encode() if field.type == field.TYPE_BYTES else value
    elif field.cpp_type in (field.CPPTYPE_UINT64, field.CPPTYPE_UINT32):
        top = 2**64 if field.cpp_type == field.CPPTYPE_UINT64 else 2**32
        value = chance.choice([0, 1, 2, 5, 1000, top // 2, top - 1])
    elif field.cpp_type == field.CPPTYPE_BOOL:
        value = chance.random() < 0.5
    elif field.cpp_type == field.CPPTYPE_ENUM:
        value = chance.randrange(-1, 40)
    else:
        value = chance.choice([0.0, -1.0, float("nan"), 1e308])
    if field.is_repeated:
        getattr(request, field.name).extend([value] * chance.choice([1, 3]))
    else:
        setattr(request, field.name, value)


def _of_witnesses(world: World) -> dict[str, bytes]:
    """Make what the sender says as a witness, and to witnesses."""
    agreement = world.agreement
    other = next(id for id in agreement.roster if id != SENDER)
    mine = LedgerKeys.derive(world.keys[SENDER].to_bytes())
    generation, tree = bytes(16), Tree([b"first", b"second"])
    asked = request_head(agreement.digest, SENDER, generation, tree, [1], mine.head)
    theirs = request_head(agreement.digest, other, generation, tree, [], LEDGER_KEYS.head)
    given = cosign(theirs, SENDER, mine, 1_700_000_000)
    shown = Objection(
        agreement=agreement.digest,
        witness=SENDER,
        institution=other,
        body=encode(theirs),
        signature=bytes(64),
    )
    return {"head": encode(asked), "cosignature": encode(given), "objection": encode(shown)}


def _send(moment: str, kind: int, message: Callable[[Desk], bytes]) -> Callable[[Path], Harness]:
    def make(directory: Path) -> Harness:
        desk = Desk(moment, directory)
        unsigned = Signed(body=message(desk), signature=b"")
        seed = wire.parcel(desk.moment.agreement, kind, [unsigned])  # type: ignore[arg-type]

        def read(raw: bytes) -> None:
            parcel = _parsed(pb.Parcel, raw)
            for envelope in parcel.envelopes:
                desk.sign(envelope, PURPOSES.get(parcel.kind, Purpose.REVEAL))
            desk.call(desk.transfer.Send, parcel)

        mutate = _altered_in("envelopes")(pb.Parcel)
        return Harness(seeds=(seed.SerializeToString(),), read=read, mutate=mutate)

    return make


def _told(name: str) -> Callable[[Desk], bytes]:
    return lambda desk: desk.moment.messages[name]


def _transfer(moment: str, method: str, kind: Any, *seeds: Callable[[Desk], Any]):  # type: ignore[no-untyped-def]
    def make(directory: Path) -> Harness:
        desk = Desk(moment, directory)

        def read(raw: bytes) -> None:
            desk.call(getattr(desk.transfer, method), _parsed(kind, raw))

        made = tuple(seed(desk).SerializeToString() for seed in seeds)
        return Harness(
            seeds=made, read=read, mutate=_altered_in()(kind), accepts=method != "FetchModel"
        )  # no agreement here goes on with another's model

    return make


def _begin(directory: Path) -> Harness:
    desk = Desk("collecting", directory)
    told, dealt = desk.moment.messages, desk.moment.world.dealt[SENDER]
    seed = pb.BeginUploadRequest(
        agreement=desk.moment.agreement,
        header=pb.Envelope(body=told["header"]),
        upload=pb.Envelope(body=told["upload"]),
        boxes=dealt.boxes,
        leaves=dealt.leaves,
    )

    def read(raw: bytes) -> None:
        request = _parsed(pb.BeginUploadRequest, raw)
        desk.sign(request.header, Purpose.HEADER)
        desk.sign(request.upload, Purpose.UPLOAD)
        desk.call(desk.transfer.BeginUpload, request)

    mutate = _altered_in("header", "upload")(pb.BeginUploadRequest)
    return Harness(seeds=(seed.SerializeToString(),), read=read, mutate=mutate)


def _put(directory: Path) -> Harness:
    """A stream of one or two chunks, each behind its length in two bytes."""
    desk = Desk("uploading", directory)
    dealt = desk.moment.world.dealt[SENDER]
    chunk = pb.Chunk(header=header_digest(dealt.header), offset=0, data=bytes(dealt.vector))
    seed = _framed(chunk)

    def read(raw: bytes) -> None:
        chunks, at = [], 0
        while at < len(raw):
            size = int.from_bytes(raw[at : at + 2], "big")
            chunks.append(_parsed(pb.Chunk, raw[at + 2 : at + 2 + size]))
            at += 2 + size
        desk.call(desk.transfer.PutChunks, iter(chunks))

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        other = pb.Chunk.FromString(raw[2 : 2 + int.from_bytes(raw[:2], "big")])
        if chance.random() < 0.3:
            return damaged(raw, chance)
        _refill(other, chance)
        return chance.choice([_framed(other), raw + _framed(other), _framed(other) + raw, raw * 2])

    return Harness(seeds=(seed,), read=read, mutate=mutate)


def _framed(chunk: pb.Chunk) -> bytes:
    raw = chunk.SerializeToString()
    return len(raw).to_bytes(2, "big") + raw


def _probe(directory: Path) -> Harness:
    desk = Desk("collecting", directory)

    def read(raw: bytes) -> None:
        desk.call(desk.transfer.Probe, iter([_parsed(pb.ProbeRequest, raw)] * 3))

    return Harness(seeds=(pb.ProbeRequest(data=b"abc").SerializeToString(),), read=read)


def _enrolment(
    method: str, kind: Any, seed: Callable[[Desk, Signed], Any]
) -> Callable[[Path], Harness]:
    def make(directory: Path) -> Harness:
        desk = Desk("asked" if method == "Ask" else "collecting", directory)
        stranger, asked = desk.moment.stranger, desk.moment.asked

        def read(raw: bytes) -> None:
            request = _parsed(kind, raw)
            if method == "Enrol" and not request.request.signature:
                signed = stranger.signing.sign(Purpose.ENROLMENT, request.request.body)
                request.request.CopyFrom(wire.envelope(signed))
            desk.call(getattr(desk.enrolment, method), request)

        mutate = _altered_in(*(["request"] if method == "Enrol" else []))(kind)
        first = seed(desk, asked)
        return Harness(seeds=(first.SerializeToString(),), read=read, mutate=mutate)

    return make


def _coordination(method: str, kind: Any, seed: Callable[[Desk], Any]) -> Callable[[Path], Harness]:
    def make(directory: Path) -> Harness:
        desk = Desk("collecting", directory)

        def read(raw: bytes) -> None:
            with patch.object(desk_module, "ASK_AGAIN_S", 0.0):  # no answer is held back here
                desk.call(getattr(desk.coordination, method), _parsed(kind, raw))

        return Harness(
            seeds=(seed(desk).SerializeToString(),), read=read, mutate=_altered_in()(kind)
        )

    return make


def _gate(directory: Path) -> Harness:
    """An HTTP call: method, path, a header and the body, a line each."""
    reached: list[httpx.Request] = []

    def superlink(request: httpx.Request) -> httpx.Response:
        reached.append(request)
        return httpx.Response(200, content=b"x")

    def read(raw: bytes) -> None:
        method, path, header, body = (raw.split(b"\n", 3) + [b""] * 4)[:4]
        reached.clear()
        with patch.object(gate_module, "HOLD_S", -1.0):  # no answer is held back here
            status = asyncio.run(_through_the_gate(superlink, method, path, header, body))
        if reached:
            assert method == b"POST"
            assert reached[0].url.raw_path in FLEET_CALLS
            assert path.partition(b"?")[0] in FLEET_CALLS
            assert len(body) <= gate_module.MAX_BODY_BYTES
            kept = {name for name in reached[0].headers if name.startswith("x-")}
            assert not kept, "a header passed the gate that is not on its list"
        else:
            assert status in (404, 413)
            raise PeerError(str(status))

    seed = b"POST\n/v1/fleet/get-run\nflwr-node: x\nbody"
    also = (seed.replace(b"flwr-node", b"x-evil"), seed.replace(b": x", b": \xe9"))
    return Harness(seeds=(seed, *also), read=read)


async def _through_the_gate(
    superlink: Callable[[httpx.Request], httpx.Response],
    method: bytes,
    path: bytes,
    header: bytes,
    body: bytes,
) -> int:
    behind = httpx.AsyncClient(transport=httpx.MockTransport(superlink), base_url="https://behind")
    name, _, value = header.partition(b": ")
    name = bytes(sign for sign in name if sign in TOKEN)  # uvicorn refuses any other
    path, _, query = path.partition(b"?")
    scope = {
        "type": "http", "http_version": "1.1", "scheme": "https",
        "method": method.decode("latin-1"),
        "path": path.decode("latin-1"), "raw_path": path, "query_string": query,
        "headers": [(name.lower(), value)], "client": None, "server": None, "root_path": "",
    }  # fmt: skip
    said: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            said.append(message["status"])

    async with behind:
        await Gate(behind)(scope, receive, send)
    return said[0]


def _csr(directory: Path) -> Harness:
    def read(raw: bytes) -> None:
        id, fingerprint = read_request(raw)
        assert len(fingerprint) == 32
        assert id == id.lower()

    return Harness(seeds=(certificate_request(),), read=read)


def _client_certificate(directory: Path) -> Harness:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Harness(seeds=(certificate().public_bytes(Encoding.PEM),), read=certificate_fingerprint)


def _answer(directory: Path) -> Harness:
    """What a ClientApp answers, as Flower's own records."""
    import json

    from flwr.app import ConfigRecord, RecordDict

    from comity_server.flower_app import read_answer

    def read(raw: bytes) -> None:
        try:
            tree = json.loads(raw)
            content = RecordDict(
                {str(k): ConfigRecord(v) if isinstance(v, dict) else v for k, v in tree.items()}
            )
        except Exception as error:  # Flower's own types turn it away
            raise PeerError(str(error)[:100]) from None
        accepted, code = read_answer(content)
        assert accepted == (code == "")

    seeds = (
        b'{"answer":{"accepted":true,"code":""}}',
        b'{"answer":{"accepted":false,"code":"plan"}}',
    )
    return Harness(seeds=seeds, read=read, mutate=altered)


MEMBER, STRANGER = "an institution", "who has an invitation"
SERVERAPP, TOOLS = "Flower's ServerApp", "the operator's tools"

TARGETS: list[Target] = [
    Target(name=name, reader=reader, sender=sender, errors=errors, make=make, covers=covers)
    for name, reader, sender, errors, make, covers in (
        *(
            (f"operator-{name}", "comity_server.transfer.TransferService.Send", MEMBER, PEER,
             _send(moment, getattr(pb, kind), message), ("Transfer.Send", kind))
            for name, moment, kind, message in (
                ("epoch-key", "epoch-keys", "PARCEL_KIND_EPOCH_KEYS", _told("keys")),
                ("epoch-halves", "epoch-halves", "PARCEL_KIND_EPOCH_HALVES", _told("halves")),
                ("epoch-view", "epoch-views", "PARCEL_KIND_EPOCH_VIEWS", _told("views")),
                ("reveal", "revealing", "PARCEL_KIND_REVEAL", _told("reveal")),
                ("decline", "collecting", "PARCEL_KIND_DECLINE", _told("decline")),
                ("endorsement", "ended", "PARCEL_KIND_ENDORSEMENT", _told("endorsement")),
                ("signature", "collecting", "PARCEL_KIND_SIGNATURE", _told("agreement")),
                ("withdrawal", "collecting", "PARCEL_KIND_WITHDRAWAL", _told("withdrawal")),
                ("head", "collecting", "PARCEL_KIND_HEAD", _told("head")),
                ("cosignature", "collecting", "PARCEL_KIND_COSIGNATURE", _told("cosignature")),
                ("objection", "collecting", "PARCEL_KIND_OBJECTION", _told("objection")),
            )
        ),
        ("operator-follow", "comity_server.transfer.TransferService.Follow", MEMBER, PEER,
         _transfer("collecting", "Follow", pb.FollowRequest,
                   lambda desk: pb.FollowRequest(after=0, ready=desk.moment.agreement)),
         ("Transfer.Follow",)),
        ("operator-fetch-plan", "comity_server.transfer.TransferService.FetchPlan", MEMBER, PEER,
         _transfer("collecting", "FetchPlan", pb.FetchPlanRequest,
                   lambda desk: pb.FetchPlanRequest(agreement=desk.moment.agreement,
                                                    plan=desk.moment.messages["plan"].decode())),
         ("Transfer.FetchPlan",)),
        ("operator-begin-upload", "comity_server.transfer.TransferService.BeginUpload", MEMBER,
         PEER, _begin, ("Transfer.BeginUpload",)),
        ("operator-put-chunks", "comity_server.transfer.TransferService.PutChunks", MEMBER, PEER,
         _put, ("Transfer.PutChunks",)),
        ("operator-finish-upload", "comity_server.transfer.TransferService.FinishUpload", MEMBER,
         PEER, _transfer("revealing", "FinishUpload", pb.FinishUploadRequest,
                         lambda desk: pb.FinishUploadRequest(
                             header=header_digest(desk.moment.world.dealt[SENDER].header))),
         ("Transfer.FinishUpload",)),
        ("operator-fetch-total", "comity_server.transfer.TransferService.FetchTotal", MEMBER, PEER,
         _transfer("certified", "FetchTotal", pb.FetchTotalRequest, lambda desk:
                   pb.FetchTotalRequest(agreement=desk.moment.agreement, round=1)),
         ("Transfer.FetchTotal",)),
        ("operator-fetch-model", "comity_server.transfer.TransferService.FetchModel", MEMBER, PEER,
         _transfer("ended", "FetchModel", pb.FetchModelRequest, lambda desk:
                   pb.FetchModelRequest(agreement=desk.moment.agreement)),
         ("Transfer.FetchModel",)),
        ("operator-fetch-agreements", "comity_server.transfer.TransferService.FetchAgreements",
         MEMBER, PEER, _transfer("collecting", "FetchAgreements", pb.FetchAgreementsRequest,
                                 lambda desk: pb.FetchAgreementsRequest()),
         ("Transfer.FetchAgreements",)),
        ("operator-probe", "comity_server.transfer.TransferService.Probe", MEMBER, PEER, _probe,
         ("Transfer.Probe",)),
        ("operator-greet", "comity_server.enrolment.EnrolmentService.Greet", STRANGER, PEER,
         _enrolment("Greet", enrolment_pb2.GreetRequest, lambda desk, asked:
                    enrolment_pb2.GreetRequest(token=desk.moment.token, version=1)),
         ("Enrolment.Greet",)),
        ("operator-enrol", "comity_server.enrolment.EnrolmentService.Enrol", STRANGER, PEER,
         _enrolment("Enrol", enrolment_pb2.EnrolRequest, lambda desk, asked:
                    enrolment_pb2.EnrolRequest(token=desk.moment.token,
                                               request=pb.Envelope(body=asked.body))),
         ("Enrolment.Enrol",)),
        ("operator-ask", "comity_server.enrolment.EnrolmentService.Ask", STRANGER, PEER,
         _enrolment("Ask", enrolment_pb2.AskRequest, lambda desk, asked:
                    enrolment_pb2.AskRequest(token=desk.moment.token,
                                             request=request_digest(asked))),
         ("Enrolment.Ask",)),
        *(
            (f"operator-{name}", f"comity_server.coordination.CoordinationService.{method}",
             sender, PEER, _coordination(method, kind, seed), (f"Coordination.{method}",))
            for name, method, sender, kind, seed in (
                ("next-order", "NextOrder", SERVERAPP, coordination_pb2.NextOrderRequest,
                 lambda desk: coordination_pb2.NextOrderRequest(flower_run="1", online_nodes=[1])),
                ("acknowledge", "Acknowledge", SERVERAPP, coordination_pb2.Acknowledgement,
                 lambda desk: coordination_pb2.Acknowledgement(
                     node=2, round=1, plan=desk.moment.messages["plan"].decode(), accepted=True)),
                ("status", "Status", TOOLS, coordination_pb2.StatusRequest,
                 lambda desk: coordination_pb2.StatusRequest()),
                ("extend", "Extend", TOOLS, coordination_pb2.ExtendRequest,
                 lambda desk: coordination_pb2.ExtendRequest(
                     agreement=desk.moment.agreement, seconds=60)),
            )
        ),
        ("operator-gate", "comity_server.flower.gate.Gate", "anybody", PEER, _gate, ()),
        ("operator-flower-answer", "comity_server.flower_app.read_answer", "Flower's ClientApp",
         PEER, _answer, ()),
        ("certificate-request", "comity_server.authority.read_request", STRANGER, PEER, _csr,
         ("server/comity_server/authority.py:load_pem_x509_csr",)),
        ("client-certificate", "comity_server.authority.certificate_fingerprint", MEMBER, PEER,
         _client_certificate, ()),
    )
]  # fmt: skip
"""Against the operator."""
