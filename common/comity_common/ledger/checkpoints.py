"""Checkpoints: the head of a log as a signed note (C2SP tlog-checkpoint), and its cosignatures.

The log signs the text. A witness cosigns a head that extends the one it cosigned before, with a
time (C2SP tlog-cosignature): once with Ed25519 over the text, once with ML-DSA-44 over a structure
that names witness and log as well. Where both keys of a witness are known, both must have signed.

>>> head = Checkpoint(origin="ledger.example/a", size=1, root=bytes(32))
>>> read_checkpoint(head.text) == head
True
"""

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from comity_common.errors import LocalError, PeerError
from comity_common.ledger.notes import MAX_NAME, NoteKey, NoteSignature, SignatureType
from comity_common.ledger.tree import HASH_BYTES

MAX_SIZE = 2**63 - 1
TIME_BYTES = 8
_LABEL = b"subtree/v1\n\0"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_RAW = (Encoding.Raw, PublicFormat.Raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log is at one size.

    Attributes:
        origin: which log, one line of 1 to 255 bytes.
        size: number of entries.
        root: of the tree over them (RFC 6962), 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not 1 <= len(self.origin.encode()) <= MAX_NAME or min(self.origin) < " ":
            raise LocalError("expected an origin of one line, 1 to 255 bytes")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise LocalError("expected a size below 2^63 and a root of 32 bytes")

    @property
    def text(self) -> str:
        """The note's text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def read_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text; one with lines of its log's own invention is none of ours.

    Raises:
        PeerError: it is anything but origin, size and root.
    """
    wrong = PeerError("expected a checkpoint of origin, size and root")
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not _NUMBER.fullmatch(lines[1]):
        raise wrong
    try:
        root = base64.b64decode(lines[2], validate=True)
        checkpoint = Checkpoint(origin=lines[0], size=int(lines[1]), root=root)
    except (binascii.Error, LocalError, ValueError):
        raise wrong from None
    if checkpoint.text != text:
        raise wrong
    return checkpoint


def sign(checkpoint: Checkpoint, name: str, key: Ed25519PrivateKey) -> NoteSignature:
    """Sign as the log does (type 0x01)."""
    public = NoteKey(name, SignatureType.ED25519, key.public_key().public_bytes(*_RAW))
    signature = key.sign(checkpoint.text.encode())
    return NoteSignature(name=name, key_id=public.id, signature=signature)


def cosign(
    checkpoint: Checkpoint, name: str, key: Ed25519PrivateKey | MLDSA44PrivateKey, time: int
) -> NoteSignature:
    """Sign as a witness does (type 0x04 or 0x06, by the kind of key).

    Args:
        time: now, POSIX seconds.

    Raises:
        LocalError: a time before 1970 or after 2^63.
    """
    if not 0 <= time <= MAX_SIZE:
        raise LocalError("expected a time in POSIX seconds")
    public, signature = key.public_key().public_bytes(*_RAW), b""
    if isinstance(key, Ed25519PrivateKey):
        known = NoteKey(name, SignatureType.COSIGNATURE_ED25519, public)
        signature = key.sign(_timed_text(checkpoint, time))
    else:
        known = NoteKey(name, SignatureType.COSIGNATURE_MLDSA44, public)
        signature = key.sign(_cosigned_message(checkpoint, name, time))
    timed = time.to_bytes(TIME_BYTES, "big") + signature
    return NoteSignature(name=name, key_id=known.id, signature=timed)


def verify(checkpoint: Checkpoint, key: NoteKey, line: NoteSignature) -> int | None:
    """Check one line under a checkpoint.

    Returns:
        when a witness signed, POSIX seconds; None for a log's own line, which has no time.

    Raises:
        PeerError: it is no valid signature of this key.
    """
    wrong = PeerError(f"expected a valid signature of {key.name} under the head of a log")
    if not line.is_by(key):
        raise wrong
    time, signature = None, line.signature
    if key.type is not SignatureType.ED25519:
        time, signature = int.from_bytes(signature[:TIME_BYTES], "big"), signature[TIME_BYTES:]
        if time > MAX_SIZE:
            raise wrong
    try:
        if time is None:
            Ed25519PublicKey.from_public_bytes(key.public).verify(
                signature, checkpoint.text.encode()
            )
        elif key.type is SignatureType.COSIGNATURE_ED25519:
            Ed25519PublicKey.from_public_bytes(key.public).verify(
                signature, _timed_text(checkpoint, time)
            )
        else:
            MLDSA44PublicKey.from_public_bytes(key.public).verify(
                signature, _cosigned_message(checkpoint, key.name, time)
            )
    except (InvalidSignature, ValueError):
        raise wrong from None
    return time


def _timed_text(checkpoint: Checkpoint, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{checkpoint.text}".encode()


def _cosigned_message(checkpoint: Checkpoint, name: str, time: int) -> bytes:
    """Build the structure of C2SP tlog-cosignature, by the rules of RFC 8446 §3."""
    return b"".join(
        (
            _LABEL,
            _opaque(name.encode()),
            time.to_bytes(8, "big"),
            _opaque(checkpoint.origin.encode()),
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


def _opaque(value: bytes) -> bytes:
    return bytes([len(value)]) + value
