"""The data plane's gRPC service: vaults over mutual TLS.

TLS lets in whom the operator's authority certified; the fingerprint of the certificate's key says
who it is. Every refusal is one status and one sentence, never a traceback: malformed or false
INVALID_ARGUMENT, a stranger PERMISSION_DENIED, at the wrong time FAILED_PRECONDITION, begin the
upload again ABORTED, another protocol UNIMPLEMENTED, too many calls RESOURCE_EXHAUSTED, and
INTERNAL for our own faults, upon which the vault tries again.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import grpc
import structlog

from comity.v1 import transfer_pb2 as pb
from comity.v1.transfer_pb2_grpc import TransferServicer, add_TransferServicer_to_server
from comity_common import chunks, wire
from comity_common.agreement import MAX_INSTITUTIONS
from comity_common.canonical import encode
from comity_common.errors import PeerError, Problem
from comity_common.ids import InstitutionId
from comity_common.membership import PROTOCOL_VERSION, check_user_agent
from comity_server.agreements import AgreementRecord
from comity_server.arrivals import Arrivals
from comity_server.authority import certificate_fingerprint
from comity_server.desk import Desk
from comity_server.doorkeeper import Doorkeeper
from comity_server.epochs import EpochStep
from comity_server.errors import Busy, Foreign, Overtaken, Stranger, WrongTime
from comity_server.mailbox import Mailbox
from comity_server.registry import Registry
from comity_server.relay import KINDS as RELAYED
from comity_server.relay import Relay
from comity_server.uploads import Declared

CALLS_PER_INSTITUTION = 32  # 16 streams of an upload, and as many whose end was not noticed yet
MAX_PROBE_BYTES = 4 << 20
MAX_REQUEST_BYTES = 4 << 20  # a chunk, or a declaration for 255 participants; never several chunks
LAST_NUMBER = 2**63 - 1  # that SQLite can hold
THREADS = 5 * MAX_INSTITUTIONS + 64  # a mailbox and four streams each, and those that work
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", wire.MAX_MESSAGE_BYTES),
    # A dead peer is noticed after a ping of 10 s and 5 s without an answer.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # The vaults ping as often; that is no attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
)
EPOCH_STEPS = {
    pb.PARCEL_KIND_EPOCH_KEYS: EpochStep.KEYS,
    pb.PARCEL_KIND_EPOCH_HALVES: EpochStep.HALVES,
    pb.PARCEL_KIND_EPOCH_VIEWS: EpochStep.VIEWS,
}
SENT = {
    *EPOCH_STEPS,
    *RELAYED,
    *(pb.PARCEL_KIND_REVEAL, pb.PARCEL_KIND_DECLINE, pb.PARCEL_KIND_ENDORSEMENT),
    *(pb.PARCEL_KIND_SIGNATURE, pb.PARCEL_KIND_WITHDRAWAL),
}
ANY_PROTOCOL = {"Probe"}  # so that both sides learn of each other's version
STATUS = (
    (Stranger, grpc.StatusCode.PERMISSION_DENIED),
    (WrongTime, grpc.StatusCode.FAILED_PRECONDITION),
    (Overtaken, grpc.StatusCode.ABORTED),
    (Foreign, grpc.StatusCode.UNIMPLEMENTED),
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (PeerError, grpc.StatusCode.INVALID_ARGUMENT),
)

log = structlog.get_logger()


class TransferService(TransferServicer):
    """Answers the vaults; `admitted` stands before every method."""

    def __init__(
        self,
        registry: Registry,
        mailbox: Mailbox,
        desk: Desk,
        relay: Relay,
        arrivals: Arrivals,
    ) -> None:
        self._registry = registry
        self._arrivals = arrivals
        self._relay = relay
        self._mailbox = mailbox
        self._desk = desk
        self._lock = threading.Lock()
        self._calls: Counter[InstitutionId] = Counter()

    def Follow(
        self, request: pb.FollowRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Parcel]:
        """Stream a mailbox; the headers go at once, so that the vault knows it is connected."""
        sender = self._arrived(context, "follow", request.SerializeToString())
        context.send_initial_metadata(())
        context.add_callback(self._mailbox.announce)
        yield from self._mailbox.follow(
            sender, _storable(request.after), context.is_active, request.ready
        )

    def Send(self, request: pb.Parcel, context: grpc.ServicerContext) -> pb.SendReply:
        """Take one small signed message."""
        name = pb.ParcelKind.Name(request.kind) if request.kind in SENT else ""
        if not name:
            raise PeerError(f"expected a kind that institutions send, got {request.kind}")
        sender = self._arrived(context, name.lower(), request.SerializeToString())
        agreement = wire.digest_of(request.agreement)
        message = wire.only(request)
        if request.kind in EPOCH_STEPS:
            step = EPOCH_STEPS[request.kind]
            self._desk.take_epoch_message(sender, agreement, step, message)
        elif request.kind in RELAYED:
            self._relay.carry(sender, agreement, request.kind, message)
        elif request.kind == pb.PARCEL_KIND_REVEAL:
            self._desk.take_reveal(sender, agreement, message)
        elif request.kind == pb.PARCEL_KIND_DECLINE:
            self._desk.take_decline(sender, agreement, message)
        elif request.kind == pb.PARCEL_KIND_ENDORSEMENT:
            self._desk.take_endorsement(sender, agreement, message)
        elif request.kind == pb.PARCEL_KIND_SIGNATURE:
            self._desk.take_signature(sender, agreement, message)
        else:
            self._desk.take_withdrawal(sender, agreement, message)
        return pb.SendReply()

    def FetchPlan(self, request: pb.FetchPlanRequest, context: grpc.ServicerContext) -> pb.Envelope:
        """Hand out a signed plan."""
        sender = self._arrived(context, "fetch-plan", request.SerializeToString())
        agreement = wire.digest_of(request.agreement)
        plan = self._desk.plan(sender, agreement, wire.digest_of(request.plan))
        return wire.envelope(plan)

    def BeginUpload(
        self, request: pb.BeginUploadRequest, context: grpc.ServicerContext
    ) -> pb.UploadState:
        """Take the declaration of an upload."""
        sender = self._identify(context)
        declared = Declared(
            header=request.header.body,
            header_signature=request.header.signature,
            upload=request.upload.body,
            upload_signature=request.upload.signature,
            boxes=tuple(request.boxes),
            leaves=tuple(request.leaves),
        )
        agreement = wire.digest_of(request.agreement)
        name = self._desk.begin_upload(sender, agreement, declared)
        held = self._desk.held(sender, name)
        return pb.UploadState(header=name, held=held)

    def PutChunks(
        self, request_iterator: Iterator[pb.Chunk], context: grpc.ServicerContext
    ) -> pb.UploadState:
        """Take chunks of an upload; one is in memory while the next one comes."""
        sender = self._identify(context)
        first = next(request_iterator, None)
        if first is None:
            raise PeerError("expected at least one chunk")
        name = wire.digest_of(first.header)
        self._desk.put(sender, name, _pieces(first, request_iterator))
        return pb.UploadState(header=name)

    def FinishUpload(
        self, request: pb.FinishUploadRequest, context: grpc.ServicerContext
    ) -> pb.Envelope:
        """Sign the receipt of a complete upload."""
        sender = self._identify(context)
        receipt = self._desk.finish_upload(sender, wire.digest_of(request.header))
        return wire.envelope(receipt)

    def FetchTotal(
        self, request: pb.FetchTotalRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Chunk]:
        """Stream the sum of a certified round."""
        sender = self._arrived(context, "fetch-total", request.SerializeToString())
        agreement = wire.digest_of(request.agreement)
        yield from _read(
            self._desk.total(sender, agreement, _storable(request.round)), request.offset
        )

    def FetchModel(
        self, request: pb.FetchModelRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Chunk]:
        """Stream the model state that an agreement goes on with."""
        sender = self._arrived(context, "fetch-model", request.SerializeToString())
        yield from _read(self._desk.first_model(sender, wire.digest_of(request.agreement)), 0)

    def FetchAgreements(
        self, request: pb.FetchAgreementsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.AgreementState]:
        """Stream every agreement that names the caller."""
        sender = self._arrived(context, "fetch-agreements", request.SerializeToString())
        yield from map(_agreement_state, self._desk.agreements_of(sender))

    def Probe(
        self, request_iterator: Iterator[pb.ProbeRequest], context: grpc.ServicerContext
    ) -> pb.ProbeReply:
        """Count bytes and throw them away, for callers of any version."""
        received = bytearray()
        for request in request_iterator:
            received += request.data
            if len(received) > MAX_PROBE_BYTES:
                raise PeerError(f"expected at most {MAX_PROBE_BYTES} bytes")
        self._arrived(context, "probe", bytes(received))
        return pb.ProbeReply(received=len(received), now=time.time(), version=PROTOCOL_VERSION)

    @contextmanager
    def admitted(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Count a call of an institution, and turn what goes wrong into one status and sentence."""
        sender = ""
        try:
            if method not in ANY_PROTOCOL:
                _check_protocol(context)
            sender = self._identify(context)
            with self._counted(sender):
                yield
        except PeerError as error:
            status = next(status for kind, status in STATUS if isinstance(error, kind))
            if status is grpc.StatusCode.INVALID_ARGUMENT:
                log.warning("call-refused", method=method, sender=sender, why=str(error))
            context.abort(status, str(error))
        except grpc.RpcError:  # the caller has gone
            context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")
        except Exception:
            log.exception("call-failed")
            context.abort(grpc.StatusCode.INTERNAL, "the operator failed; try again")

    def _arrived(
        self, context: grpc.ServicerContext, message: str, payload: bytes
    ) -> InstitutionId:
        """Write down a message of whoever calls, and return who that is."""
        sender = self._identify(context)
        self._arrivals.note(sender, message, payload)
        return sender

    def _identify(self, context: grpc.ServicerContext) -> InstitutionId:
        certificate = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        try:
            return self._registry.identify(certificate_fingerprint(bytes(certificate)))
        except PeerError:
            raise Stranger("expected the certificate of an approved institution") from None

    @contextmanager
    def _counted(self, sender: InstitutionId) -> Iterator[None]:
        with self._lock:
            if self._calls[sender] >= CALLS_PER_INSTITUTION:
                raise Busy(f"expected at most {CALLS_PER_INSTITUTION} open calls")
            self._calls[sender] += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls[sender] -= 1


def _check_protocol(context: grpc.ServicerContext) -> None:
    metadata = dict(context.invocation_metadata())
    try:
        check_user_agent(str(metadata.get("user-agent", "")))
    except PeerError as error:
        raise Foreign(str(error)) from None


def transfer_server(
    service: TransferService, address: str, *, authority: bytes, key: bytes, certificate: bytes
) -> tuple[grpc.Server, int]:
    """Bind the listener; nothing is answered before the server is started.

    Args:
        address: `host:port`; port 0 for a free one.
        authority, key, certificate: PEM.

    Returns:
        the server and its port.

    Raises:
        Problem: the address is taken or not this machine's.
    """
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=True
    )
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="transfer")
    server = grpc.server(pool, options=OPTIONS, interceptors=[Doorkeeper(service.admitted)])
    add_TransferServicer_to_server(service, server)
    try:
        return server, server.add_secure_port(address, credentials)
    except RuntimeError:
        raise Problem("COM-SERVER-003", address=address) from None


def _agreement_state(one: AgreementRecord) -> pb.AgreementState:
    return pb.AgreementState(
        agreement=encode(one.agreement),
        state=one.state.value,
        signatures=[
            pb.PartySignature(party=party, signature=signature)
            for party, signature in one.signatures.items()
        ],
        withdrawals=[wire.envelope(signed) for signed in one.withdrawals],
    )


def _storable(number: int) -> int:
    """Check that the store can look for a number, which the wire gives 64 bits."""
    if number > LAST_NUMBER:
        raise PeerError(f"expected a number up to {LAST_NUMBER}, got {number}")
    return number


def _read(path: Path, offset: int) -> Iterator[pb.Chunk]:
    with path.open("rb") as file:
        file.seek(min(offset, os.fstat(file.fileno()).st_size))
        while data := file.read(chunks.CHUNK_BYTES):
            yield pb.Chunk(offset=offset, data=data)
            offset += len(data)


def _pieces(first: pb.Chunk, rest: Iterator[pb.Chunk]) -> Iterator[tuple[int, bytes]]:
    for chunk in chain([first], rest):
        if chunk.header != first.header:
            raise PeerError("expected chunks of one upload")
        yield chunk.offset, chunk.data
