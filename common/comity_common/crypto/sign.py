"""Signatures, one purpose at a time.

A signature covers a purpose label and the exact bytes of a message, so it can never be taken for
a signature of another kind. What must hold for decades carries Ed25519 (RFC 8032) and ML-DSA-44
(FIPS 204) side by side and is valid only if both are: agreements and withdrawals, who the parties
are, and the members' messages of a key epoch (`HYBRID`). All else, which lives for a round or opens
a key epoch, carries Ed25519 alone.
"""

from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from comity_common.crypto.derive import digest
from comity_common.errors import PeerError

ED25519_BYTES = 64
SECRET_BYTES = 32


class Purpose(StrEnum):
    """What a signature is for."""

    AGREEMENT = "agreement"
    EPOCH_OPEN = "epoch-open"
    EPOCH_KEY = "epoch-key"
    EPOCH_HALVES = "epoch-halves"
    EPOCH_VIEW = "epoch-view"
    PLAN = "plan"
    HEADER = "header"
    UPLOAD = "upload"
    RECEIPT = "receipt"
    SURVIVORS = "survivors"
    REVEAL = "reveal"
    CERTIFICATE = "certificate"
    ENDORSEMENT = "endorsement"
    DECLINE = "decline"
    ENROLMENT = "enrolment"
    CARD = "card"
    APPROVAL = "approval"
    WITHDRAWAL = "withdrawal"
    DEADLINE = "deadline"
    HEAD = "head"
    COSIGNATURE = "cosignature"
    OBJECTION = "objection"


HYBRID = frozenset(
    {
        Purpose.AGREEMENT,
        Purpose.ENROLMENT,
        Purpose.CARD,
        Purpose.APPROVAL,
        Purpose.WITHDRAWAL,
        Purpose.EPOCH_KEY,
        Purpose.EPOCH_HALVES,
        Purpose.EPOCH_VIEW,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Bytes and a signature that nobody has checked yet."""

    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """A party's private signing keys."""

    ed25519: Ed25519PrivateKey
    mldsa44: MLDSA44PrivateKey

    def __repr__(self) -> str:
        return "SigningKeys(...)"

    @classmethod
    def generate(cls) -> "SigningKeys":
        """Make fresh keys from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate())

    @classmethod
    def from_bytes(cls, secret: bytes) -> "SigningKeys":
        """Read the 64 bytes that `to_bytes` writes."""
        return cls(
            Ed25519PrivateKey.from_private_bytes(secret[:SECRET_BYTES]),
            MLDSA44PrivateKey.from_seed_bytes(secret[SECRET_BYTES:]),
        )

    def to_bytes(self) -> bytes:
        """Write both secret seeds: 64 bytes, to be stored as a secret."""
        return self.ed25519.private_bytes_raw() + self.mldsa44.private_bytes_raw()

    def public(self) -> tuple[bytes, bytes]:
        """Return the public keys: Ed25519 (32 bytes), ML-DSA-44 (1312 bytes)."""
        raw = (Encoding.Raw, PublicFormat.Raw)
        return (
            self.ed25519.public_key().public_bytes(*raw),
            self.mldsa44.public_key().public_bytes(*raw),
        )

    def sign(self, purpose: Purpose, body: bytes) -> Signed:
        """Sign `body` for one purpose."""
        statement = _statement(purpose, body)
        signature = self.ed25519.sign(statement)
        if purpose in HYBRID:
            signature += self.mldsa44.sign(statement)
        return Signed(body=body, signature=signature)


def verify(ed25519: bytes, mldsa44: bytes, purpose: Purpose, signed: Signed) -> bytes:
    """Check a signature and return the body, which may now be decoded.

    Raises:
        PeerError: it is not a valid signature of that key for that purpose.
    """
    statement = _statement(purpose, signed.body)
    classical, post_quantum = signed.signature[:ED25519_BYTES], signed.signature[ED25519_BYTES:]
    try:
        Ed25519PublicKey.from_public_bytes(ed25519).verify(classical, statement)
        if purpose in HYBRID:
            MLDSA44PublicKey.from_public_bytes(mldsa44).verify(post_quantum, statement)
        elif post_quantum:
            raise InvalidSignature
    except (InvalidSignature, ValueError):
        raise PeerError(f"expected a valid signature of a {purpose}") from None
    return signed.body


def _statement(purpose: Purpose, body: bytes) -> bytes:
    return b"comity signature " + digest("sign/" + purpose, body)
