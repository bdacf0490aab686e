"""How an institution joins: keys made here, the operator compared by words, then approved by hand.

    greet → (a person compares words) → enrol → ask … ask → approved

Each step may be done again: a join that was interrupted goes on with the same keys. Every message
is on the ledger before it leaves. Nothing that the operator says is believed except under the key
that the invitation pins.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import grpc
from pydantic import ValidationError

from comity.v1 import enrolment_pb2 as pb
from comity.v1.enrolment_pb2_grpc import EnrolmentStub
from comity_client.config import VaultConfig
from comity_client.flower.supernode import make_node_key
from comity_client.home import Home
from comity_client.institution import Institution
from comity_client.tls import clock_problem, pinned_certificate
from comity_client.uplink import TLS_NAME, proxy_options
from comity_common.agreement import Party
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.controls import GREETING
from comity_common.ledger.crossings import of_message
from comity_common.membership import (
    PROTOCOL_VERSION,
    USER_AGENT,
    Approval,
    EnrolmentRequest,
    Invitation,
    OperatorCard,
    check_card,
    read_invitation,
    request_digest,
    token_digest,
)
from comity_common.wire import envelope, signed
from comity_host import settings
from comity_host.files import write_durably

T = TypeVar("T")

CALL_TIMEOUT_S = 20.0
ASK_EVERY_S = 2.0
REACH_WITHIN_S = 30.0
LONGEST_PAUSE_S = 30.0
AWAY = "COM-NET-001"


def reach(call: Callable[[], T], on_wait: Callable[[Problem], None]) -> T:
    """Call again and again, with longer and longer pauses, while the operator cannot be reached.

    Args:
        on_wait: told each time why it cannot.

    Raises:
        Problem: it cannot for 30 seconds, or something else is the matter.
    """
    deadline, pause = time.monotonic() + REACH_WITHIN_S, 0.5
    while True:
        try:
            return call()
        except Problem as problem:
            if problem.code != AWAY or time.monotonic() >= deadline:
                raise
            on_wait(problem)
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause *= 2


def is_approved_within(
    enrolment: "Enrolment", seconds: float, on_wait: Callable[[Problem], None]
) -> bool:
    """Ask again and again whether the operator has approved, also while it is away.

    Returns:
        False when the time is over.
    """
    deadline, pause = time.monotonic() + seconds, ASK_EVERY_S
    while time.monotonic() < deadline:
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        try:
            if enrolment.ask():
                return True
        except Problem as problem:
            if problem.code != AWAY:
                raise
            on_wait(problem)
        pause = min(pause * 1.5, LONGEST_PAUSE_S)
    return False


def read(line: str) -> Invitation:
    """Read an invitation as a person pasted it.

    Raises:
        Problem: it is none, or is damaged.
    """
    try:
        return read_invitation(line)
    except LocalError as error:
        raise Problem("COM-JOIN-002", why=error) from None


def prepare(home: Home, invitation: Invitation, *, name: str, proxy: str = "") -> Institution:
    """Make the institution, with keys of its own, or find the one that began to join.

    Raises:
        Problem: another institution lives there, or it belongs to another operator.
    """
    if home.config.exists():
        institution = Institution(home.path)
        if institution.me != invitation.institution:
            raise Problem("COM-JOIN-003", home=home.path, id=institution.me)
        if home.card.exists() and institution.card.operator.identity.tls != invitation.pin:
            operator = institution.card.operator.name
            raise Problem("COM-JOIN-008", home=home.path, id=institution.me, operator=operator)
        return institution
    config = VaultConfig(
        id=invitation.institution,
        name=name or invitation.institution,
        jurisdiction=invitation.jurisdiction,
        server=invitation.address,
        proxy=proxy,
    )
    institution = Institution.create(home.path, config)
    make_node_key(institution.home.flower)
    return institution


def party(institution: Institution) -> Party:
    """Return what an agreement calls this institution."""
    config = institution.config
    return Party(
        id=InstitutionId(config.id),
        name=config.name,
        jurisdiction=config.jurisdiction,
        identity=institution.keys.identity,
    )


def request(institution: Institution, invitation: Digest) -> Signed:
    """Write what the operator is asked to approve, under an invitation's token digest."""
    asked = EnrolmentRequest(
        version=PROTOCOL_VERSION,
        invitation=invitation,
        party=party(institution),
        certificate_request=institution.keys.certificate_request(institution.me).decode(),
        flower_key=(institution.home.flower / "node.pub").read_text().strip(),
    )
    return institution.keys.signing.sign(Purpose.ENROLMENT, encode(asked))


def accept(institution: Institution, card: Signed) -> None:
    """Keep the operator's card, and settings that lead to its listeners.

    Raises:
        PeerError: the card is not the operator's, or names no addresses; nothing was kept then.
    """
    told = check_card(card)
    written = settings.load(institution.home.config, VaultConfig)
    try:
        changed = VaultConfig.model_validate(
            {**dict(written), "server": told.transfer, "gate": told.gate}
        )
    except ValidationError:
        raise PeerError("expected a card with addresses like operator.example:7443") from None
    settings.write(institution.home.config, changed)
    institution.keep_card(card)
    institution.config = institution.home.settings()


class Enrolment:
    """One institution's conversation with the enrolment listener.

    Args:
        clock: this machine's, seconds since 1970.

    Raises:
        Problem: nobody answers there, or somebody else does.
    """

    def __init__(
        self,
        institution: Institution,
        invitation: Invitation,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inst = institution
        self._invitation = invitation
        self._clock = clock
        self._record = institution.recorder(
            InstitutionId(invitation.address), invitation.operator_jurisdiction
        )
        proxy = institution.config.proxy
        root = pinned_certificate(invitation.address, invitation.pin, proxy)
        self._channel = grpc.secure_channel(
            invitation.address,
            grpc.ssl_channel_credentials(root),
            options=[
                ("grpc.primary_user_agent", USER_AGENT),
                ("grpc.ssl_target_name_override", TLS_NAME),
                *proxy_options(proxy),
            ],
        )
        self._stub = EnrolmentStub(self._channel)

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def greet(self) -> tuple[Signed, OperatorCard]:
        """Ask who the operator is; nothing of it is kept yet.

        Raises:
            Problem: the invitation is not good, the clocks disagree, or it cannot be reached.
        """
        asked = pb.GreetRequest(token=self._invitation.token, version=PROTOCOL_VERSION)
        self._leave(GREETING, asked.SerializeToString())
        card = signed(self._answer(lambda: self._stub.Greet(asked, timeout=CALL_TIMEOUT_S)))
        told = check_card(card)
        if told.operator.identity.tls != self._invitation.pin:
            raise PeerError("expected the card of the operator that the invitation pins")
        self._record = self._inst.recorder(told.operator.id, told.operator.jurisdiction)
        if problem := clock_problem(told.now, self._clock()):
            raise problem
        return card, told

    def enrol(self) -> bool:
        """Ask to be approved.

        Returns:
            whether the operator has approved it already.
        """
        token = self._invitation.token
        mine = self._request(token_digest(token))
        asked = pb.EnrolRequest(token=token, request=envelope(mine))
        self._leave("enrol", asked.SerializeToString())
        state = self._answer(lambda: self._stub.Enrol(asked, timeout=CALL_TIMEOUT_S))
        self._asked = request_digest(mine)
        return self._install(state)

    def ask(self) -> bool:
        """Ask whether the operator has approved it, and keep the certificate if so."""
        asked = pb.AskRequest(token=self._invitation.token, request=self._asked)
        self._leave("ask", asked.SerializeToString())
        return self._install(self._answer(lambda: self._stub.Ask(asked, timeout=CALL_TIMEOUT_S)))

    def _request(self, invitation: Digest) -> Signed:
        """Return the one request under this invitation: the same bytes, however often one asks."""
        kept = self._inst.home.path / "enrolment.request"
        if kept.exists():
            body = kept.read_bytes()
            if decode(EnrolmentRequest, body).invitation == invitation:
                return self._inst.keys.signing.sign(Purpose.ENROLMENT, body)
        mine = request(self._inst, invitation)
        write_durably(kept, mine.body)
        return mine

    def _install(self, state: pb.EnrolmentState) -> bool:
        if not state.HasField("approval"):
            return False
        keys = self._inst.card.operator.identity
        raw = verify(keys.ed25519, keys.mldsa44, Purpose.APPROVAL, signed(state.approval))
        approval = decode(Approval, raw)
        self._inst.keys.install(approval.certificate.encode(), approval.authority.encode())
        return True

    def _leave(self, name: str, payload: bytes) -> None:
        self._record(name, of_message(payload))

    def _answer(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
            details = (error.details() if isinstance(error, grpc.Call) else "") or code.name
            address = self._invitation.address
            if code is grpc.StatusCode.PERMISSION_DENIED:
                raise Problem("COM-JOIN-004", why=details[:200]) from None
            if code is grpc.StatusCode.FAILED_PRECONDITION:
                raise Problem("COM-JOIN-005", address=address, why=details[:200]) from None
            if code is grpc.StatusCode.INVALID_ARGUMENT:
                raise PeerError(f"the operator refuses the request: {details[:200]}") from None
            raise Problem("COM-NET-001", address=address, why=details[:200]) from None
