"""Signed entries: a DSSE envelope (secure-systems-lab/dsse v1) around an in-toto Statement v1.

Other documents that are signed once and read by many travel in such an envelope too, each under a
type of its own. An entry of a ledger is the RFC 8785 canonical JSON of the envelope, and those
bytes are the leaf of the tree. There is one spelling of each: what is not the canonical bytes,
base64 with another alphabet or with loose bits, or a doubled key, is refused.
"""

from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from comity_common.canonical import decode, encode
from comity_common.errors import LocalError, PeerError

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """One signature in an envelope.

    Attributes:
        keyid: SHA-256 of the public key, 64 hexadecimal digits: a hint, nothing that proves.
        sig: Ed25519 (RFC 8032), 64 bytes.
    """

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Bytes and who signed them, in the field names of DSSE's JSON.

    Attributes:
        signatures: exactly one.
    """

    payload: bytes
    payloadType: str
    signatures: tuple[EnvelopeSignature, ...]

    def __post_init__(self) -> None:
        if len(self.signatures) != 1:
            raise LocalError("expected an envelope with one signature")


def key_id(public: bytes) -> str:
    """Name a public key in an envelope."""
    return sha256(public).hexdigest()


def seal(payload: bytes, key: Ed25519PrivateKey, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Sign bytes and write their envelope, canonically.

    Args:
        payload_type: what the bytes are; a statement unless told otherwise.
    """
    signature = EnvelopeSignature(
        keyid=key_id(key.public_key().public_bytes_raw()),
        sig=key.sign(_preauth(payload, payload_type)),
    )
    return encode(Envelope(payload=payload, payloadType=payload_type, signatures=(signature,)))


def open_envelope(raw: bytes, public: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Check an envelope's signature and return the bytes in it, which may now be read.

    Raises:
        PeerError: it is no canonical envelope, of something else, or not signed with this key.
    """
    envelope = decode(Envelope, raw)
    if envelope.payloadType != payload_type:
        raise PeerError(f"expected an envelope of {payload_type}")
    (signature,) = envelope.signatures
    try:
        if signature.keyid != key_id(public):
            raise InvalidSignature
        signed = _preauth(envelope.payload, payload_type)
        Ed25519PublicKey.from_public_bytes(public).verify(signature.sig, signed)
    except (InvalidSignature, ValueError):
        raise PeerError("expected an entry signed with its ledger's key") from None
    return envelope.payload


def _preauth(payload: bytes, payload_type: str) -> bytes:
    """Build what is signed: PAE of DSSE, so that type and content cannot run into each other."""
    type_ = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(type_), type_, len(payload), payload)
