"""The enrolment listener: strangers with an invitation, over TLS without certificates of theirs.

It says who the operator is, takes one request for each invitation, and hands out the certificate
once the operator has approved it by hand. It decides nothing itself. Whoever calls without a good
token learns only that it is not good; calls are few, small and bounded.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import structlog

from comity.v1 import enrolment_pb2 as pb
from comity.v1 import transfer_pb2
from comity.v1.enrolment_pb2_grpc import EnrolmentServicer, add_EnrolmentServicer_to_server
from comity_common import wire
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.errors import PeerError, Problem
from comity_common.ids import Digest
from comity_common.membership import (
    MAX_REQUEST_BYTES,
    PROTOCOL_VERSION,
    Approval,
    request_digest,
)
from comity_server.arrivals import Arrivals
from comity_server.errors import Stranger, WrongTime
from comity_server.home import Home
from comity_server.registry import Invited, Registry

THREADS = 8
OPTIONS = (
    ("grpc.max_receive_message_length", 4 * MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.so_reuseport", 0),
)

log = structlog.get_logger()


class EnrolmentService(EnrolmentServicer):
    """Answers those who hold an invitation.

    Args:
        clock: seconds since 1970.
    """

    def __init__(
        self,
        home: Home,
        registry: Registry,
        keys: SigningKeys,
        arrivals: Arrivals,
        clock: Callable[[], float],
    ) -> None:
        self._arrivals = arrivals
        self._home = home
        self._registry = registry
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()

    def Greet(
        self, request: pb.GreetRequest, context: grpc.ServicerContext
    ) -> transfer_pb2.Envelope:
        """Say who the operator is."""
        with self._answering(context):
            if request.version != PROTOCOL_VERSION:
                raise WrongTime(f"expected protocol {PROTOCOL_VERSION}, got {request.version}")
            invited = self._registry.invitation(request.token, self._clock())
            self._arrived(invited, "greet", request.SerializeToString())
            card = self._home.sign_card(
                invited.institution, invited.jurisdiction, invited.expires, self._clock()
            )
        return wire.envelope(card)

    def Enrol(self, request: pb.EnrolRequest, context: grpc.ServicerContext) -> pb.EnrolmentState:
        """Take an institution's request."""
        with self._answering(context):
            signed = wire.signed(request.request)
            invited = self._registry.invitation(request.token, self._clock())
            self._arrived(invited, "enrol", request.SerializeToString())
            with self._lock:
                enrolled = self._registry.enrol(request.token, signed, self._clock())
            log.info("enrolment", institution=enrolled.party.id)
            return self._state(request.token, request_digest(signed))

    def Ask(self, request: pb.AskRequest, context: grpc.ServicerContext) -> pb.EnrolmentState:
        """Tell what became of a request."""
        with self._answering(context):
            asked = wire.digest_of(request.request)
            invited = self._registry.invitation(request.token, self._clock())
            self._arrived(invited, "ask", request.SerializeToString())
            return self._state(request.token, asked)

    def _arrived(self, invited: Invited, message: str, payload: bytes) -> None:
        """Write down a message of who holds a good invitation; others leave no trace."""
        country = invited.jurisdiction
        self._arrivals.note_from(invited.institution, country, message, payload)

    def _state(self, token: bytes, request: Digest) -> pb.EnrolmentState:
        certificate = self._registry.certificate(token, request, self._clock())
        if certificate is None:
            return pb.EnrolmentState()
        approval = Approval(
            certificate=certificate.decode(),
            authority=self._home.authority.read_text(),
        )
        signed = self._keys.sign(Purpose.APPROVAL, encode(approval))
        return pb.EnrolmentState(approval=wire.envelope(signed))

    @contextmanager
    def _answering(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Turn what goes wrong into one status and one sentence."""
        try:
            yield
        except Stranger as error:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        except WrongTime as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except (PeerError, Problem) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Exception:
            log.exception("call-failed")
            context.abort(grpc.StatusCode.INTERNAL, "the operator failed; try again")


def enrolment_server(
    service: EnrolmentService, address: str, *, key: bytes, certificate: bytes
) -> tuple[grpc.Server, int]:
    """Bind the listener; nothing is answered before the server is started.

    Args:
        address: `host:port`; port 0 for a free one.
        key, certificate: PEM.

    Returns:
        the server and its port.

    Raises:
        Problem: the address is taken or not this machine's.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="enrolment")
    server = grpc.server(pool, options=OPTIONS)
    add_EnrolmentServicer_to_server(service, server)
    try:
        return server, server.add_secure_port(
            address, grpc.ssl_server_credentials([(key, certificate)])
        )
    except RuntimeError:
        raise Problem("COM-SERVER-003", address=address) from None
