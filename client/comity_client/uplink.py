"""The only way out of the vault: gRPC over mutual TLS to the operator's transfer listener.

One connection is open all the time; an upload opens some more and closes them (`streams`).
Before any byte is written, the message is on the ledger (`record`), so what left can be listed and
is never more than that. Calls are repeated by the caller; each is idempotent at the operator.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import grpc
import structlog

from comity.v1 import transfer_pb2 as pb
from comity.v1.transfer_pb2_grpc import TransferStub
from comity_client import streams
from comity_client.failures import Unreachable, understood
from comity_client.rounds import StoredUpload
from comity_client.tls import pinned_certificate
from comity_common import chunks
from comity_common.canonical import decode
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError, Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.crossings import Crossing, of_message
from comity_common.membership import USER_AGENT
from comity_common.secagg.messages import Header
from comity_common.secagg.participant import header_digest
from comity_common.wire import MAX_MESSAGE_BYTES, ParcelKind, envelope, parcel, signed

STREAMS = 4  # of an upload
CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 60.0
POLL_S = 0.3  # a little more than gRPC's own pause
STREAM_TIMEOUT_S = 3600.0
MAX_TOLD = 1000  # agreements of an operator that are heard
MAX_TOLD_BYTES = 256 << 20  # of all of them; one among five institutions has 25 kB

log = structlog.get_logger()

TLS_NAME = "localhost"  # in every operator's certificate; whose it is, the pin decides
OPTIONS = (
    ("grpc.primary_user_agent", USER_AGENT),
    ("grpc.ssl_target_name_override", TLS_NAME),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # what gRPC gives a connection to come about
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

# Channels with the same options would otherwise share one connection.
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)

Record = Callable[[str, Crossing], None]
"""Told the name of a message, and what it is known by, before it leaves."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One parcel of the institution's mailbox; nothing in it is checked yet."""

    sequence: int
    agreement: str
    kind: ParcelKind
    messages: tuple[Signed, ...]
    boxes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementState:
    """What the operator says about an agreement; nothing in it is checked yet.

    Attributes:
        raw: the agreement's bytes.
        state: the operator's word for where it is.
        signatures: by party.
        withdrawals: of institutions that left.
    """

    raw: bytes
    state: str
    signatures: Mapping[InstitutionId, bytes]
    withdrawals: tuple[Signed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """The answer to a probe.

    Attributes:
        seconds: how long it took.
        now: the operator's clock, seconds since 1970.
        version: of the operator's protocol.
    """

    seconds: float
    now: float
    version: int


class Uplink:
    """The vault's connection to one operator.

    Args:
        server: `host:port`.
        pin: SHA-256 of the SubjectPublicKeyInfo of the operator's TLS key, 32 bytes.
        tls: own private key and certificate, PEM.
        record: writes the ledger.
        proxy: of HTTP, `http://host:port`; empty for none.
        streams: over how many connections an upload goes, from 1.

    Attributes:
        sent, received: payload bytes so far; what was sent twice counts twice.
    """

    def __init__(
        self,
        server: str,
        pin: bytes,
        tls: tuple[bytes, bytes],
        record: Record,
        proxy: str = "",
        streams: int = STREAMS,
    ) -> None:
        self._server = server
        self._pin = pin
        self._key, self._certificate = tls
        self._record = record
        self._proxy = proxy
        self._streams = streams
        self._root = b""
        self._counting = threading.Lock()
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._mailbox_lock = threading.Lock()
        self._parcels: grpc.Call | None = None
        self._ready = ""
        self.sent = 0
        self.received = 0

    def close(self) -> None:
        """End all calls."""
        with self._lock:
            if self._channel is not None:
                sleep(POLL_S)  # gRPC still looks at the channel's state, and must find it open
                self._channel.close()
                self._channel = None

    def follow(self, after: int, on_open: Callable[[], None]) -> Iterator[Delivery]:
        """Receive the mailbox from a place on, until the connection ends.

        Args:
            on_open: told when the operator has taken the call.

        It ends by itself when `be_ready` has something new to say.

        Raises:
            Unreachable: the connection ended.
        """
        with self._mailbox_lock:
            request = pb.FollowRequest(after=after, ready=self._ready)
            stub = self._leave("follow", request.SerializeToString())
            parcels = self._parcels = stub.Follow(request)
        try:
            parcels.initial_metadata()  # waits until the call is taken or has failed
            if parcels.is_active():
                on_open()
            for item in parcels:
                self.received += item.ByteSize()
                yield Delivery(
                    sequence=item.sequence,
                    agreement=item.agreement,
                    kind=item.kind,
                    messages=tuple(signed(message) for message in item.envelopes),
                    boxes=tuple(item.boxes),
                )
        except grpc.RpcError as error:
            if request.ready != self._ready:
                return
            raise understood(error) from None
        raise Unreachable("the operator ended the mailbox")

    def be_ready(self, agreement: Digest | None) -> None:
        """Tell the operator for which agreement this vault is ready, by following anew."""
        with self._mailbox_lock:
            self._ready = agreement or ""
            if self._parcels is not None:
                self._parcels.cancel()

    def send(self, agreement: Digest, kind: ParcelKind, message: Signed) -> None:
        """Hand one small signed message to the operator.

        Raises:
            Unreachable: not now.
            PeerError: the operator refuses it, for good.
        """
        request = parcel(agreement, kind, [message])
        stub = self._leave(pb.ParcelKind.Name(kind).lower(), request.SerializeToString())
        try:
            stub.Send(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise understood(error) from None

    def fetch_plan(self, agreement: Digest, plan: Digest) -> Signed:
        """Ask for the plan that an order names."""
        request = pb.FetchPlanRequest(agreement=agreement, plan=plan)
        stub = self._leave("fetch-plan", request.SerializeToString())
        try:
            answer = stub.FetchPlan(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise understood(error) from None
        self.received += answer.ByteSize()
        return signed(answer)

    def upload(self, agreement: Digest, stored: StoredUpload, file: Path) -> Signed:
        """Send the chunks of a masked file that the operator lacks, and return the receipt.

        The ledger has the whole upload already, as a mechanism; repeated chunks are the same bytes.

        Raises:
            Unreachable: the connection broke; call again.
            PeerError: the operator refuses the upload, for good.
        """
        header = decode(Header, stored.header)
        name = header_digest(header)
        begin = pb.BeginUploadRequest(
            agreement=agreement,
            header=envelope(Signed(body=stored.header, signature=stored.header_signature)),
            upload=envelope(Signed(body=stored.upload, signature=stored.upload_signature)),
            boxes=stored.boxes,
            leaves=stored.leaves,
        )
        try:
            self._count_sent(begin.ByteSize())
            state = self._connect().BeginUpload(begin, timeout=CALL_TIMEOUT_S)
            missing = chunks.missing(chunks.count(header.size), state.held)
            self._send_chunks(name, file, missing)
            finish = pb.FinishUploadRequest(header=name)
            receipt = self._connect().FinishUpload(finish, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise understood(error) from None
        self.received += receipt.ByteSize()
        return signed(receipt)

    def fetch_total(self, agreement: Digest, round: int, size: int) -> bytearray:
        """Receive the integer sum of a certified round.

        Args:
            size: how many bytes it must have.

        Raises:
            PeerError: it has more or fewer.
        """
        request = pb.FetchTotalRequest(agreement=agreement, round=round, offset=0)
        stub = self._leave("fetch-total", request.SerializeToString())
        return self._filled(stub.FetchTotal(request, timeout=STREAM_TIMEOUT_S), size)

    def fetch_model(self, agreement: Digest, size: int) -> bytearray:
        """Receive the model state with which an agreement goes on; nothing in it is checked yet.

        Args:
            size: how many bytes it must have.

        Raises:
            PeerError: it has more or fewer.
        """
        request = pb.FetchModelRequest(agreement=agreement)
        stub = self._leave("fetch-model", request.SerializeToString())
        return self._filled(stub.FetchModel(request, timeout=STREAM_TIMEOUT_S), size)

    def _filled(self, pieces: Iterator[pb.Chunk], size: int) -> bytearray:
        """Put chunks together to exactly so many bytes."""
        whole = bytearray(size)
        filled = 0
        try:
            for chunk in pieces:
                if chunk.offset != filled or filled + len(chunk.data) > size:
                    raise PeerError(f"expected {size} bytes, in order")
                whole[filled : filled + len(chunk.data)] = chunk.data
                filled += len(chunk.data)
                self.received += chunk.ByteSize()
        except grpc.RpcError as error:
            raise understood(error) from None
        if filled != size:
            raise PeerError(f"expected {size} bytes, got {filled}")
        return whole

    def fetch_agreements(self) -> list[AgreementState]:
        """Receive every agreement that names this institution, as far as is bounded."""
        request = pb.FetchAgreementsRequest()
        stub = self._leave("fetch-agreements", request.SerializeToString())
        states: list[AgreementState] = []
        room = MAX_TOLD_BYTES
        try:
            told = stub.FetchAgreements(request, timeout=CALL_TIMEOUT_S)
            for item in told:
                self.received += item.ByteSize()
                room -= item.ByteSize()
                if room < 0 or len(states) >= MAX_TOLD:
                    log.warning("more agreements than are heard", heard=len(states))
                    told.cancel()
                    break
                states.append(
                    AgreementState(
                        raw=item.agreement,
                        state=item.state,
                        signatures={InstitutionId(s.party): s.signature for s in item.signatures},
                        withdrawals=tuple(signed(each) for each in item.withdrawals),
                    )
                )
        except grpc.RpcError as error:
            raise understood(error) from None
        return states

    def probe(self, size: int) -> Echo:
        """Send bytes that say nothing, to see how fast the way is and what time it is there."""
        data = os.urandom(size)
        requests = [
            pb.ProbeRequest(data=data[start : start + chunks.CHUNK_BYTES])
            for start in range(0, size, chunks.CHUNK_BYTES)
        ]
        stub = self._leave("probe", data)
        began = monotonic()
        try:
            answer = stub.Probe(iter(requests), timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise understood(error) from None
        self.received += answer.ByteSize()
        return Echo(seconds=monotonic() - began, now=answer.now, version=answer.version)

    def _leave(self, name: str, payload: bytes) -> TransferStub:
        """Write a message to the ledger, once there is a connection that it can leave by."""
        stub = self._connect()
        self._record(name, of_message(payload))
        self._count_sent(len(payload))
        return stub

    def _connect(self) -> TransferStub:
        """Return a way to the operator's own key and no other."""
        with self._lock:
            if self._channel is None:
                self._channel = self._open()
            channel = self._channel
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_TIMEOUT_S)
        except grpc.FutureTimeoutError:
            self.close()  # perhaps the operator has another certificate for its key by now
            raise Unreachable(f"no connection within {CONNECT_TIMEOUT_S:g} s") from None
        return TransferStub(channel)

    def _open(self) -> grpc.Channel:
        try:
            self._root = pinned_certificate(self._server, self._pin, self._proxy)
        except Problem as problem:
            raise Unreachable(str(problem)) from None
        return self._open_another()

    def _open_another(self) -> grpc.Channel:
        """Open a connection of its own to whom the last look has shown."""
        credentials = grpc.ssl_channel_credentials(self._root, self._key, self._certificate)
        options = [*OPTIONS, OWN_CONNECTION, *proxy_options(self._proxy)]
        return grpc.secure_channel(self._server, credentials, options=options)

    def _send_chunks(self, header: Digest, file: Path, places: Sequence[int]) -> None:
        with file.open("rb") as source:

            def chunk(place: int) -> pb.Chunk:
                offset = place * chunks.CHUNK_BYTES
                data = os.pread(source.fileno(), chunks.CHUNK_BYTES, offset)
                made = pb.Chunk(header=header, offset=offset, data=data)
                self._count_sent(made.ByteSize())
                return made

            streams.send(places, streams=self._streams, connect=self._open_another, chunk=chunk)

    def _count_sent(self, size: int) -> None:
        with self._counting:
            self.sent += size


def proxy_options(proxy: str) -> list[tuple[str, str | int]]:
    """Say which proxy a channel uses: the one of the settings, never one of the environment."""
    if not proxy:
        return [("grpc.enable_http_proxy", 0)]
    return [("grpc.http_proxy", proxy)]
