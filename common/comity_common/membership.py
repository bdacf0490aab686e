"""How institutions come and go: the invitation, what both sides tell each other, and the leaving.

An invitation is one line that the operator hands to a partner on any channel. It says where the
enrolment listener is and pins the key of its certificate, so a stranger in between is noticed at
the first byte; its secret part lets one institution in, once.

    https://operator.example:7444/i/<token ‖ pin ‖ two countries ‖ id ‖ checksum, base64url>

After that, each side holds the other's public keys, shows them in the same words, and trusts
nothing else. Leaving needs no one's consent: a signed withdrawal is final, and whoever holds it
accepts no plan with that institution any more.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from comity_common.agreement import ID_PATTERN, JURISDICTION_PATTERN, Agreement, Party
from comity_common.canonical import decode
from comity_common.crypto.derive import digest
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ids import Digest, InstitutionId

PROTOCOL_VERSION = 1
"""Of all that is said between vault and operator; peers of different versions part at once."""

USER_AGENT = f"comity/{PROTOCOL_VERSION}"
"""With which every gRPC call of an institution begins its `user-agent` (RFC 9110 §10.1.5)."""

TOKEN_BYTES = 16
PIN_BYTES = 32
CHECKSUM_BYTES = 4
MAX_NAME = 200  # characters
MAX_REQUEST_BYTES = 16 << 10

_NAMES = re.compile(JURISDICTION_PATTERN.pattern * 2 + ID_PATTERN.pattern)
_USER_AGENT = re.compile(r"comity/([0-9]{1,5})(?: [ -~]*)?")
_INVITATION = re.compile(r"https://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})/i/([\w-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What lets one institution in.

    Attributes:
        host, port: of the enrolment listener.
        token: 16 secret bytes, good once.
        pin: SHA-256 of the SubjectPublicKeyInfo of the listener's certificate, 32 bytes.
        operator_jurisdiction: the operator's country, ISO 3166-1 alpha-2.
        institution, jurisdiction: whom it is for.
    """

    host: str
    port: int
    token: bytes
    pin: bytes
    operator_jurisdiction: str
    institution: InstitutionId
    jurisdiction: str

    def __repr__(self) -> str:
        return f"Invitation({self.host}:{self.port})"

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    def write(self) -> str:
        """Write the one line."""
        countries = self.operator_jurisdiction + self.jurisdiction
        content = self.token + self.pin + (countries + self.institution).encode()
        code = content + _checksum(content)
        return f"https://{self.address}/i/{base64.urlsafe_b64encode(code).decode().rstrip('=')}"


def read_invitation(line: str) -> Invitation:
    """Read an invitation.

    Raises:
        LocalError: it is no invitation, or was damaged on its way.
    """
    found = _INVITATION.fullmatch(line.strip())
    if found is None:
        raise LocalError("expected a line like https://host:port/i/code")
    host, port, code = found.groups()
    try:
        raw = base64.b64decode(code + "=" * (-len(code) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    content, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
    token, pin = content[:TOKEN_BYTES], content[TOKEN_BYTES : TOKEN_BYTES + PIN_BYTES]
    names = content[TOKEN_BYTES + PIN_BYTES :].decode("ascii", "replace")
    if checksum != _checksum(content) or not _NAMES.fullmatch(names) or not int(port) < 65536:
        raise LocalError("expected the whole line, nothing changed or left out")
    return Invitation(
        host=host,
        port=int(port),
        token=token,
        pin=pin,
        operator_jurisdiction=names[:2],
        institution=InstitutionId(names[4:]),
        jurisdiction=names[2:4],
    )


def token_digest(token: bytes) -> Digest:
    """Return what the operator keeps of a token."""
    return Digest(digest("invitation", token).hex())


def request_digest(signed: Signed) -> Digest:
    """Name a request by its body."""
    return Digest(digest("enrolment-request", signed.body).hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCard:
    """What the operator tells whoever holds an invitation.

    Attributes:
        version: of the protocol.
        operator: who it is, with its public keys.
        transfer: `host:port` of the listener for the vaults.
        gate: `host:port` of the way to Flower, empty without Flower.
        institution, jurisdiction: whom the invitation is for.
        expires: last second of the invitation, seconds since 1970.
        now: the operator's clock, seconds since 1970.
    """

    version: int
    operator: Party
    transfer: str
    gate: str
    institution: InstitutionId
    jurisdiction: str
    expires: int
    now: int

    def __post_init__(self) -> None:
        _check_name(self.operator)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentRequest:
    """What an institution asks the operator to approve.

    Attributes:
        version: of the protocol.
        invitation: digest of its token.
        party: who it is; the keys were made on its own machine.
        certificate_request: PKCS #10 in PEM for the TLS key that `party` names.
        flower_key: OpenSSH public key of its SuperNode, one line.
    """

    version: int
    invitation: Digest
    party: Party
    certificate_request: str
    flower_key: str

    def __post_init__(self) -> None:
        _check_name(self.party)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What an institution gets once the operator has approved it.

    Attributes:
        certificate, authority: PEM.
    """

    certificate: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """An institution is out of an agreement for good.

    Attributes:
        institution: who leaves.
        by: who says so: the institution itself, or the operator.
    """

    agreement: Digest
    institution: InstitutionId
    by: InstitutionId


def check_id(id: str) -> None:
    """Check what a party is to be called.

    Raises:
        Problem: it cannot be an id.
    """
    if not ID_PATTERN.fullmatch(id):
        raise Problem("COM-MEMBER-001", id=id[:64])


def check_jurisdiction(jurisdiction: str) -> None:
    """Check the code of a country.

    Raises:
        Problem: it is none of ISO 3166-1 alpha-2.
    """
    if not JURISDICTION_PATTERN.fullmatch(jurisdiction):
        raise Problem("COM-MEMBER-002", jurisdiction=jurisdiction[:64])


def check_user_agent(given: str) -> None:
    """Check which protocol a caller speaks, by its `user-agent`.

    Raises:
        PeerError: another one, or it does not say.
    """
    spoken = _USER_AGENT.fullmatch(given)
    if spoken is None or spoken[1] != str(PROTOCOL_VERSION):
        got = spoken[1] if spoken else "none"
        raise PeerError(f"expected protocol {PROTOCOL_VERSION}, got {got}")


def check_signatures(
    agreement: Agreement, raw: bytes, signatures: Mapping[InstitutionId, bytes]
) -> None:
    """Check that operator and institutions, all of them, signed these bytes.

    Raises:
        PeerError: a signature is missing or wrong.
    """
    for party in (agreement.operator, *agreement.institutions):
        if party.id not in signatures:
            raise PeerError(f"expected a signature of {party.id}")
        signed = Signed(body=raw, signature=signatures[party.id])
        verify(party.identity.ed25519, party.identity.mldsa44, Purpose.AGREEMENT, signed)


def check_withdrawal(agreement: Agreement, signed: Signed) -> Withdrawal:
    """Check that an institution, or the operator about it, ended its part in an agreement.

    Raises:
        PeerError: it is malformed, about something else, or signed by nobody who may.
    """
    withdrawal = decode(Withdrawal, signed.body)
    if withdrawal.agreement != agreement.digest or withdrawal.institution not in agreement.roster:
        raise PeerError("expected a withdrawal from this agreement")
    if withdrawal.by not in (withdrawal.institution, agreement.operator.id):
        raise PeerError("expected the word of the institution itself or of the operator")
    parties = {party.id: party for party in (agreement.operator, *agreement.institutions)}
    keys = parties[withdrawal.by].identity
    verify(keys.ed25519, keys.mldsa44, Purpose.WITHDRAWAL, signed)
    return withdrawal


def check_card(signed: Signed) -> OperatorCard:
    """Check that the operator holds the keys that its card names.

    Raises:
        PeerError: it is malformed or not signed with them.
    """
    card = decode(OperatorCard, signed.body)
    keys = card.operator.identity
    verify(keys.ed25519, keys.mldsa44, Purpose.CARD, signed)
    return card


def check_request(signed: Signed) -> EnrolmentRequest:
    """Check that an institution holds the keys that it asks to be known by.

    Raises:
        PeerError: it is malformed or not signed with them.
    """
    if len(signed.body) > MAX_REQUEST_BYTES:
        raise PeerError(f"expected a request of at most {MAX_REQUEST_BYTES} bytes")
    request = decode(EnrolmentRequest, signed.body)
    keys = request.party.identity
    verify(keys.ed25519, keys.mldsa44, Purpose.ENROLMENT, signed)
    if not ID_PATTERN.fullmatch(request.party.id):
        raise PeerError("expected an institution's id")
    return request


def _check_name(party: Party) -> None:
    """Check a stranger's name: people read it beside the words that they compare."""
    if not (1 <= len(party.name) <= MAX_NAME and party.name.isprintable()):
        raise LocalError(f"expected a name of 1 to {MAX_NAME} visible characters")


def _checksum(content: bytes) -> bytes:
    return digest("invitation-checksum", content)[:CHECKSUM_BYTES]
