"""The transfer listener: real gRPC with mutual TLS, a real database, hostile callers."""

import itertools
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.simulation.network import Federation, Identity, ServerApp, Vault, pieces, until
from tests.simulation.wholevector import Whole, deal
from typer.testing import CliRunner

from comity.v1 import transfer_pb2 as pb
from comity.v1.transfer_pb2_grpc import TransferStub
from comity_common import chunks, wire
from comity_common.canonical import encode
from comity_common.chunks import CHUNK_BYTES
from comity_common.crypto.sign import Purpose, verify
from comity_common.errors import RefusalCode
from comity_common.membership import USER_AGENT
from comity_common.secagg.messages import Decline, Endorsement, Receipt
from comity_common.secagg.participant import header_digest
from comity_server import transfer
from comity_server.authority import Authority
from comity_server.cli import app
from comity_server.coordination import ask_status
from comity_server.daemon import Daemon
from comity_server.transfer import CALLS_PER_INSTITUTION

LANES = 4 * CHUNK_BYTES // 4 + 10_000
X25519_MLKEM768 = 0x11EC
Status = grpc.StatusCode


@dataclass
class Running:
    """A daemon in its first round: two institutions are done, the third has masked its vector."""

    federation: Federation
    daemon: Daemon
    vaults: dict[str, Vault]

    @property
    def manual(self) -> Vault:
        return self.vaults["inst-00"]

    @property
    def dealt(self) -> Whole:
        (dealt,) = self.manual.dealt.values()
        return dealt

    @property
    def agreement(self) -> str:
        return self.federation.agreement.digest

    def stub(self, identity: Identity) -> TransferStub:
        return TransferStub(identity.channel(self.daemon.port))


def run(directory: Path, lanes: int) -> Iterator[Running]:
    federation = Federation.make(directory, 3, lanes=lanes, rounds=1)
    daemon = Daemon(federation.home.path)
    daemon.start()
    vaults = {id: Vault(federation, id, daemon.port).start() for id in federation.agreement.roster}
    vaults["inst-00"].behaviour[1] = "manual"
    orders = ServerApp(federation.home, vaults).start()
    try:
        until(lambda: vaults["inst-00"].dealt)
        yield Running(federation, daemon, vaults)
    finally:
        orders.close()
        for vault in vaults.values():
            vault.close()
        daemon.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    yield from run(tmp_path / "operator", LANES)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for the tests that leave it as it is."""
    yield from run(tmp_path_factory.mktemp("transfer") / "operator", 50)


def status_of(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def missing(vault: Vault, dealt: Whole) -> list[int]:
    """Begin an upload and read which chunks are wanted."""
    state = vault.stub.BeginUpload(vault.begin_request(dealt))
    return chunks.missing(len(dealt.leaves), state.held)


def test_an_upload_resumes_anywhere_and_refuses_what_is_not_it(running: Running) -> None:
    vault, dealt = running.manual, running.dealt
    name = header_digest(dealt.header)
    chance = random.Random(5)

    assert missing(vault, dealt) == [0, 1, 2, 3, 4]
    vault.stub.PutChunks(pieces(name, dealt.vector, [3, 0]))
    assert missing(vault, dealt) == [1, 2, 4]

    corrupt = bytearray(dealt.vector)
    corrupt[2 * CHUNK_BYTES + chance.randrange(CHUNK_BYTES)] ^= 1
    code, words = status_of(lambda: vault.stub.PutChunks(pieces(name, corrupt, [1, 2, 4])))
    assert (code, words) == (
        Status.INVALID_ARGUMENT,
        f"expected the chunk at {2 * CHUNK_BYTES} that the header promised",
    )
    assert missing(vault, dealt) == [2, 4]

    finish = pb.FinishUploadRequest(header=name)
    assert status_of(lambda: vault.stub.FinishUpload(finish)) == (
        Status.ABORTED,
        "expected all chunks, 2 are missing",
    )
    broken = BreaksOff(pieces(name, dealt.vector, [0, 4]), 2)
    call = vault.stub.PutChunks.future(broken)
    broken.done.wait(10)
    until(lambda: missing(vault, dealt) == [2])
    call.cancel()
    vault.stub.PutChunks(pieces(name, dealt.vector))

    receipts = [wire.signed(vault.stub.FinishUpload(finish)) for _ in range(2)]
    operator = running.federation.agreement.operator.identity
    body = verify(operator.ed25519, operator.mldsa44, Purpose.RECEIPT, receipts[0])
    assert body == encode(Receipt(header=name))
    assert receipts[0] == receipts[1]
    until(lambda: all(vault.bodies for vault in running.vaults.values()))
    assert running.manual.bodies[0].survivors == running.federation.agreement.roster
    assert not any(vault.faults for vault in running.vaults.values())

    whole = vault.fetch_total(1)
    assert len(whole) == dealt.header.size
    for offset in (1, CHUNK_BYTES, len(whole) - 1, len(whole), len(whole) + 5):
        assert vault.fetch_total(1, offset) == whole[offset:]


class BreaksOff:
    """Yields some chunks and then nothing, without an end: a sender that has vanished."""

    def __init__(self, chunks: Iterator[pb.Chunk], some: int) -> None:
        self._chunks = itertools.islice(chunks, some + 1)
        self.done = threading.Event()

    def __iter__(self) -> "BreaksOff":
        return self

    def __next__(self) -> pb.Chunk:
        chunk = next(self._chunks, None)
        if chunk is None:
            self.done.set()
            threading.Event().wait(0.5)
            raise StopIteration
        return chunk


def test_an_upload_that_grows_is_shown_with_what_is_here_of_it(running: Running) -> None:
    until(lambda: uploaded(running) == {"inst-01", "inst-02"})
    vault, dealt = running.manual, running.dealt
    assert missing(vault, dealt) == [0, 1, 2, 3, 4]
    vault.stub.PutChunks(pieces(header_digest(dealt.header), dealt.vector, [0, 3]))
    size, here = len(dealt.vector), 2 * CHUNK_BYTES
    home = ["--home", str(running.federation.home.path)]
    show = ["run", "show", running.federation.agreement.federation, *home]
    data = json.loads(CliRunner().invoke(app, [*show, "--json"]).stdout)["data"]
    shown = {
        one["id"]: (one["phase"], one["uploaded_bytes"], one["upload_bytes"])
        for one in data["now"]["institutions"]
    }
    assert data["now"]["stage"] == "collecting"
    assert shown["inst-00"] == ("uploading", here, size)
    assert shown["inst-01"] == ("uploaded", size, size)
    words = f"uploading, {100 * here // size} % of {size:,} bytes"
    for command in (show, ["status", *home]):
        told = CliRunner().invoke(app, command)
        assert told.exit_code == 0, told.output
        assert [words in line for line in told.stdout.splitlines() if "inst-00" in line] == [True]


def test_the_operator_waits_longer_and_tells_who_is_missing_as_the_command_asks(
    running: Running,
) -> None:
    until(lambda: uploaded(running) == {"inst-01", "inst-02"})
    home = ["--home", str(running.federation.home.path), "--json"]
    name = running.federation.agreement.federation
    told = CliRunner().invoke(app, ["run", "extend", name, "--seconds", "900", *home])
    assert told.exit_code == 0, told.output
    data = json.loads(told.stdout)["data"]
    assert (data["round"], data["told"]) == (1, ["inst-00"])
    until(lambda: running.manual.deadlines)
    (deadline,) = running.manual.deadlines
    assert (deadline.plan,) == tuple(running.manual._plans)
    assert datetime.fromisoformat(data["until"]).timestamp() == deadline.until
    assert ask_status(running.federation.home.socket)["extended_until"] == deadline.until
    assert not any(running.vaults[id].deadlines for id in ("inst-01", "inst-02"))

    running.daemon.close()
    running.daemon = again = Daemon(running.federation.home.path)
    again.start()
    assert ask_status(running.federation.home.socket)["extended_until"] == deadline.until


def uploaded(running: Running) -> set[str]:
    states = ask_status(running.federation.home.socket)["institutions"]
    return {one["id"] for one in states if one["phase"] == "uploaded"}


def test_another_header_for_the_same_plan_is_refused_also_after_a_restart(
    running: Running,
) -> None:
    vault, dealt = running.manual, running.dealt
    vault.stub.BeginUpload(vault.begin_request(dealt))
    ((plan_digest, plan),) = vault._plans.items()
    keys = {
        peer: chain.turn_to(plan.round).round_key(bytes.fromhex(plan_digest))
        for peer, chain in vault._chains.items()
    }
    other = deal(plan, vault.id, keys, vault.lanes[1])
    code, words = status_of(lambda: vault.stub.BeginUpload(vault.begin_request(other)))
    assert code is Status.INVALID_ARGUMENT
    assert "another is refused for ever" in words

    running.daemon.close()
    running.daemon = again = Daemon(running.federation.home.path)
    again.start()
    stub = TransferStub(running.federation.identities[vault.id].channel(again.port))
    code, words = status_of(lambda: stub.BeginUpload(vault.begin_request(other)))
    assert "another is refused for ever" in words
    held = stub.BeginUpload(vault.begin_request(dealt)).held
    assert len(chunks.missing(len(dealt.leaves), held)) == len(dealt.leaves)


def test_a_declaration_that_would_fail_at_the_end_is_refused_at_once(shared: Running) -> None:
    vault, dealt = shared.manual, shared.dealt
    for change in (
        lambda request: request.boxes.__setitem__(1, b"another box"),
        lambda request: request.leaves.append(bytes(32)),
        lambda request: setattr(request.upload, "signature", bytes(64)),
        lambda request: setattr(request.header, "signature", bytes(64)),
        lambda request: setattr(request.header, "body", b"{}"),
        lambda request: setattr(request.header, "body", b"\xff" * 9),
    ):
        request = vault.begin_request(dealt)
        change(request)
        assert status_of(lambda r=request: vault.stub.BeginUpload(r))[0] is Status.INVALID_ARGUMENT
    theirs = shared.vaults["inst-02"].stub
    code, words = status_of(lambda: theirs.BeginUpload(vault.begin_request(dealt)))
    assert (code, words) == (Status.INVALID_ARGUMENT, "expected a header of the sender")


def test_a_mailbox_is_read_from_any_place_and_a_second_stream_ends_the_first(
    shared: Running,
) -> None:
    stub = shared.stub(shared.federation.identities["inst-01"])
    shared.vaults["inst-01"].close()  # its own stream would end ours
    bells = 1 + len(shared.federation.agreement.roster)  # proposed, and signed by each
    first = stub.Follow(pb.FollowRequest(after=bells + 1))
    assert [next(first).kind for _ in range(3)] == [
        pb.PARCEL_KIND_EPOCH_KEYS,
        pb.PARCEL_KIND_EPOCH_HALVES,
        pb.PARCEL_KIND_EPOCH_VIEWS,
    ]
    second = stub.Follow(pb.FollowRequest(after=0))
    begun = [next(second) for _ in range(bells + 1)]
    assert [one.sequence for one in begun] == list(range(1, bells + 2))
    assert {one.kind for one in begun[:-1]} == {pb.PARCEL_KIND_AGREEMENT_MOVED}
    assert begun[-1].kind == pb.PARCEL_KIND_EPOCH_OPEN
    assert list(first) == []
    assert connected(shared)["inst-01"]
    second.cancel()
    until(lambda: not connected(shared)["inst-01"])


def connected(shared: Running) -> dict[str, bool]:
    status = ask_status(shared.federation.home.socket)
    return {each["id"]: each["connected"] for each in status["institutions"]}


def test_a_stranger_is_not_let_in(shared: Running, tmp_path: Path) -> None:
    request = pb.FetchPlanRequest(agreement=shared.agreement, plan=shared.agreement)
    ours = shared.federation.home.certificate_authority()
    authority = shared.federation.home.authority.read_bytes()

    unknown = Identity("inst-00", authority=authority)
    unknown.certificate = ours.sign_request(unknown.request()).certificate
    code, words = status_of(lambda: shared.stub(unknown).FetchPlan(request))
    assert code is Status.PERMISSION_DENIED
    assert words == "expected the certificate of an approved institution"

    forged = Identity("inst-00", authority=authority)
    theirs = Authority.create(tmp_path / "key", tmp_path / "pem", "Operator")
    forged.certificate = theirs.sign_request(forged.request()).certificate
    code, _ = status_of(lambda: shared.stub(forged).FetchPlan(request, timeout=5))
    assert code is Status.UNAVAILABLE

    channel = grpc.secure_channel(
        f"127.0.0.1:{shared.daemon.port}", grpc.ssl_channel_credentials(authority)
    )
    code, _ = status_of(lambda: TransferStub(channel).FetchPlan(request, timeout=5))
    assert code is Status.UNAVAILABLE


OTHER_PROTOCOLS = {"another": ("comity/2", "2"), "none": ("", "none"), "foreign": ("x/1", "none")}


@pytest.mark.parametrize("said", OTHER_PROTOCOLS)
def test_who_speaks_another_protocol_or_does_not_say_is_told_so_at_every_call_but_a_probe(
    shared: Running, said: str
) -> None:
    user_agent, got = OTHER_PROTOCOLS[said]
    channel = shared.federation.identities["inst-00"].channel(shared.daemon.port, user_agent)
    stub = TransferStub(channel)
    with channel:
        for method in pb.DESCRIPTOR.services_by_name["Transfer"].methods:
            if method.name == "Probe":
                continue
            call = getattr(stub, method.name)
            empty = getattr(pb, method.input_type.name)()
            request = iter([empty]) if method.client_streaming else empty
            if method.server_streaming:
                code, words = status_of(lambda c=call, r=request: list(c(r, timeout=10)))
            else:
                code, words = status_of(lambda c=call, r=request: c(r, timeout=10))
            assert (code, words) == (Status.UNIMPLEMENTED, f"expected protocol 1, got {got}")
        assert stub.Probe(iter([pb.ProbeRequest(data=bytes(9))]), timeout=10).version == 1


def test_an_institution_speaks_for_itself_alone_and_only_of_its_agreement(
    shared: Running,
) -> None:
    vault, other = shared.manual, shared.vaults["inst-02"]
    ((plan_digest, _),) = vault._plans.items()
    decline = Decline(
        agreement=shared.agreement,
        round=1,
        plan=plan_digest,
        institution=vault.id,
        code=RefusalCode.BUDGET,
    )
    endorsement = Endorsement(
        agreement=shared.agreement,
        epoch=1,
        round=1,
        institution=vault.id,
        certificate=plan_digest,
        model=plan_digest,
    )
    for kind, purpose, message in (
        (pb.PARCEL_KIND_DECLINE, Purpose.DECLINE, decline),
        (pb.PARCEL_KIND_ENDORSEMENT, Purpose.ENDORSEMENT, endorsement),
    ):
        signed = vault.keys.sign(purpose, encode(message))
        parcel = wire.parcel(shared.agreement, kind, [signed])
        assert status_of(lambda p=parcel: other.stub.Send(p))[0] is Status.INVALID_ARGUMENT
        parcel.agreement = "0" * 64
        assert status_of(lambda p=parcel: vault.stub.Send(p))[0] is Status.PERMISSION_DENIED
    early = wire.parcel(
        shared.agreement,
        pb.PARCEL_KIND_ENDORSEMENT,
        [vault.keys.sign(Purpose.ENDORSEMENT, encode(endorsement))],
    )
    assert status_of(lambda: vault.stub.Send(early))[0] is Status.FAILED_PRECONDITION
    total = pb.FetchTotalRequest(agreement=shared.agreement, round=1)
    code, _ = status_of(lambda: list(vault.stub.FetchTotal(total)))
    assert code is Status.FAILED_PRECONDITION


@pytest.mark.parametrize("kind", [*pb.ParcelKind.values(), 77])
def test_nonsense_of_every_kind_is_one_status_and_one_sentence(shared: Running, kind: int) -> None:
    stub = shared.manual.stub
    deep = b'{"a":' * 30_000
    for body in (b"", b"{}", b"\xff", b'{"institution":1}', deep, b"9" * 9000):
        parcel = pb.Parcel(agreement=shared.agreement, envelopes=[pb.Envelope(body=body)])
        parcel.kind = kind
        code, words = status_of(lambda p=parcel: stub.Send(p))
        assert code in (Status.INVALID_ARGUMENT, Status.FAILED_PRECONDITION)
        assert words.startswith("expected") or ": expected" in words
        assert "\n" not in words
    for broken in (
        pb.Parcel(agreement="nonsense", kind=kind),
        pb.Parcel(agreement=shared.agreement, kind=kind),
        pb.Parcel(agreement=shared.agreement, kind=kind, envelopes=[pb.Envelope()] * 2),
    ):
        assert status_of(lambda p=broken: stub.Send(p))[0] is Status.INVALID_ARGUMENT


def test_broken_protobuf_and_oversized_messages_leave_the_daemon_alive(shared: Running) -> None:
    identity = shared.federation.identities["inst-00"]
    channel = identity.channel(shared.daemon.port)
    for method in ("Send", "BeginUpload", "FinishUpload", "FetchPlan"):
        raw = channel.unary_unary(f"/comity.v1.Transfer/{method}")
        for body in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", random.Random(1).randbytes(999)):
            assert status_of(lambda r=raw, b=body: r(b))[0] is not Status.OK
        too_long = bytes(wire.MAX_MESSAGE_BYTES + 1)
        assert status_of(lambda r=raw, b=too_long: r(b))[0] is Status.RESOURCE_EXHAUSTED
    stream = channel.stream_unary("/comity.v1.Transfer/PutChunks")
    assert status_of(lambda: stream(iter([b"\xff" * 50])))[0] is not Status.OK
    assert status_of(lambda: stream(iter([])))[0] is Status.INVALID_ARGUMENT
    assert ask_status(shared.federation.home.socket)["stage"] == "collecting"
    plan = next(iter(shared.manual._plans))
    found = shared.manual.stub.FetchPlan(pb.FetchPlanRequest(agreement=shared.agreement, plan=plan))
    assert found.body


def test_one_institution_cannot_take_all_threads(shared: Running) -> None:
    identity = shared.federation.identities["inst-02"]
    stub = shared.stub(identity)
    stop = threading.Event()

    def endless() -> Iterator[pb.Chunk]:
        stop.wait(60)
        yield pb.Chunk()

    calls: list[grpc.Future] = []
    request = pb.FetchPlanRequest(agreement=shared.agreement, plan=shared.agreement)

    def is_busy() -> bool:
        return status_of(lambda: stub.FetchPlan(request))[0] is Status.RESOURCE_EXHAUSTED

    def is_busy_after_one_more() -> bool:
        calls.append(stub.PutChunks.future(endless()))
        return is_busy()

    until(is_busy_after_one_more)
    assert status_of(lambda: shared.manual.stub.FetchPlan(request))[0] is Status.INVALID_ARGUMENT
    until(lambda: sum(not call.done() for call in calls) <= CALLS_PER_INSTITUTION)
    for call in calls:
        call.cancel()
    stop.set()
    until(lambda: not is_busy())


def test_the_key_exchange_is_hybrid_post_quantum(shared: Running) -> None:
    identity = shared.federation.identities["inst-00"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen = bytearray()
        relay = threading.Thread(target=relay_once, args=(listener, shared.daemon.port, seen))
        relay.start()
        key = identity.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        credentials = grpc.ssl_channel_credentials(identity.authority, key, identity.certificate)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        options = [("grpc.primary_user_agent", USER_AGENT)]
        with grpc.secure_channel(address, credentials, options=options) as channel:
            request = pb.FetchPlanRequest(agreement=shared.agreement, plan=shared.agreement)
            call = TransferStub(channel).FetchPlan.future(request, timeout=10)
            assert call.exception().code() is Status.INVALID_ARGUMENT  # it went all the way
        relay.join(10)
    assert chosen_group(bytes(seen)) == X25519_MLKEM768


def relay_once(listener: socket.socket, port: int, seen: bytearray) -> None:
    """Carry one connection and keep what the server said."""
    near, _ = listener.accept()
    far = socket.create_connection(("127.0.0.1", port))

    def carry(source: socket.socket, sink: socket.socket, keep: bytearray) -> None:
        while data := source.recv(65536):
            keep += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=carry, args=(far, near, seen))
    back.start()
    carry(near, far, bytearray())
    back.join(10)


def chosen_group(server: bytes) -> int:
    """Return the key-exchange group of a ServerHello (RFC 8446 §4.1.3, §4.2.8)."""
    assert server[0] == 22, "expected a handshake record"
    assert server[5] == 2, "expected a ServerHello"
    at = 5 + 4 + 2 + 32  # record header, handshake header, version, random
    at += 1 + server[at]  # session id
    at += 3  # cipher suite, compression
    end = at + 2 + int.from_bytes(server[at : at + 2], "big")
    at += 2
    while at < end:
        kind, size = (int.from_bytes(server[at + k : at + k + 2], "big") for k in (0, 2))
        if kind == 51:
            return int.from_bytes(server[at + 4 : at + 6], "big")
        at += 4 + size
    raise AssertionError("expected a key share")


@pytest.mark.parametrize(
    "method",
    [
        "Send",
        *(
            pytest.param(method, marks=pytest.mark.slow)
            for method in ("FetchPlan", "Follow", "BeginUpload", "PutChunks", "FetchTotal")
        ),
    ],
)
def test_calls_without_a_request_hold_no_more_than_their_callers_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A listener with few threads: without a count each call would hold one and the rest wait."""
    monkeypatch.setattr(transfer, "THREADS", CALLS_PER_INSTITUTION + 8)
    federation = Federation.make(tmp_path / "operator", 3)
    daemon = Daemon(federation.home.path)
    daemon.start()
    slow, other, _ = federation.identities.values()
    channel, ending = slow.channel(daemon.port), threading.Event()
    begin = channel.stream_unary(f"/comity.v1.Transfer/{method}")

    def nothing() -> Iterator[bytes]:
        ending.wait(60)
        yield from ()

    calls = [begin.future(nothing(), timeout=60) for _ in range(2 * CALLS_PER_INSTITUTION)]
    try:
        until(lambda: sum(call.done() for call in calls) == CALLS_PER_INSTITUTION)
        refused = {call.code() for call in calls if call.done()}
        assert refused == {Status.RESOURCE_EXHAUSTED}
        with other.channel(daemon.port) as line:
            stub = TransferStub(line)
            for _ in range(20):
                request = pb.FetchAgreementsRequest()
                assert len(list(stub.FetchAgreements(request, timeout=5))) == 1
        assert sum(call.done() for call in calls) == CALLS_PER_INSTITUTION
    finally:
        ending.set()
        for call in calls:
            call.cancel()
        channel.close()
        daemon.close()
