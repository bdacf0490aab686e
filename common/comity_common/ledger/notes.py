"""Signed notes: a text, and under it lines of signatures (C2SP signed-note v1.0.0).

A note is read before anything in it is believed: here it is only taken apart and put together.
Which signatures count, and over which bytes, says who knows the keys (`checkpoints`).

>>> line = NoteSignature(name="a.example", key_id=b"abcd", signature=b"sig")
>>> note = SignedNote(text="hello\n", signatures=(line,))
>>> read_note(note.to_bytes()) == note
True
"""

import base64
import binascii
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from comity_common.errors import LocalError, PeerError

KEY_ID_BYTES = 4
MAX_NOTE_BYTES = 4 << 20  # two lines for each of 255 witnesses, the longer one of 3.3 kB
MAX_SIGNATURES = 600
MAX_NAME = 255  # bytes of UTF-8, as a cosigned message holds it (C2SP tlog-cosignature)
_BEGIN = "\u2014 "


class SignatureType(IntEnum):
    """How a key signs: the byte that is hashed into its id.

    Attributes:
        ED25519: the text itself (C2SP signed-note).
        COSIGNATURE_ED25519: text and time (C2SP tlog-cosignature, `cosignature/v1`).
        COSIGNATURE_MLDSA44: name, time and tree head (C2SP tlog-cosignature, `subtree/v1`).
    """

    ED25519 = 0x01
    COSIGNATURE_ED25519 = 0x04
    COSIGNATURE_MLDSA44 = 0x06


PUBLIC_KEY_BYTES = {
    SignatureType.ED25519: 32,
    SignatureType.COSIGNATURE_ED25519: 32,
    SignatureType.COSIGNATURE_MLDSA44: 1312,
}


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key under a name.

    Attributes:
        name: without spaces and plus signs, 1 to 255 bytes.
        public: 32 bytes for Ed25519, 1312 for ML-DSA-44.
    """

    name: str
    type: SignatureType
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public) != PUBLIC_KEY_BYTES[self.type]:
            raise LocalError(f"expected a key of {PUBLIC_KEY_BYTES[self.type]} bytes")

    @property
    def id(self) -> bytes:
        """What a signature line names it by, 4 bytes: a hint, nothing that proves anything."""
        material = self.name.encode() + b"\n" + bytes([self.type]) + self.public
        return sha256(material).digest()[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key as other tools are given it: `name+id+base64(type ‖ key)`."""
        material = base64.b64encode(bytes([self.type]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{material}"


def read_key(vkey: str) -> NoteKey:
    """Read a public key as other tools are given it.

    Raises:
        PeerError: it is none, or one whose id is not its own.
    """
    wrong = PeerError("expected a key as NAME+ID+KEY")
    name, _, rest = vkey.partition("+")
    id, _, material = rest.partition("+")
    try:
        raw = base64.b64decode(material, validate=True)
        key = NoteKey(name, SignatureType(raw[0]), raw[1:])
    except (binascii.Error, LocalError, ValueError, IndexError):
        raise wrong from None
    if key.id.hex() != id or key.vkey != vkey:
        raise wrong
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One line under a note that nobody has checked yet.

    Attributes:
        key_id: 4 bytes.
        signature: what the algorithm makes, with a time before it where it has one.
    """

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.signature:
            raise LocalError("expected a key id of 4 bytes and a signature")

    def is_by(self, key: NoteKey) -> bool:
        """Tell whether it names this key."""
        return (self.name, self.key_id) == (key.name, key.id)

    @property
    def line(self) -> str:
        """The line, with its newline."""
        material = base64.b64encode(self.key_id + self.signature).decode()
        return f"{_BEGIN}{self.name} {material}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedNote:
    """A text and the signatures under it.

    Attributes:
        text: ends with a newline; no other control characters.
        signatures: at least one.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("\n") or _has_control(self.text):
            raise LocalError("expected lines of text without control characters")
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise LocalError(f"expected 1 to {MAX_SIGNATURES} signatures")

    def to_bytes(self) -> bytes:
        """Write it."""
        lines = "".join(signature.line for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()


def read_note(raw: bytes) -> SignedNote:
    """Take a note apart; nothing is checked yet.

    Raises:
        PeerError: it is no signed note, or one of more than 4 MiB or 600 signatures.
    """
    wrong = PeerError("expected a signed note")
    if len(raw) > MAX_NOTE_BYTES:
        raise wrong
    try:
        text, separator, lines = raw.decode("utf-8").rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise wrong
        signatures = tuple(map(_read_line, lines[:-1].split("\n")))
        note = SignedNote(text=text + "\n", signatures=signatures)
    except (LocalError, ValueError):
        raise wrong from None
    if note.to_bytes() != raw:
        raise wrong
    return note


def _read_line(line: str) -> NoteSignature:
    if not line.startswith(_BEGIN):
        raise ValueError
    name, _, material = line.removeprefix(_BEGIN).partition(" ")
    try:
        bytes_ = base64.b64decode(material, validate=True)
    except binascii.Error:
        raise ValueError from None
    return NoteSignature(name=name, key_id=bytes_[:KEY_ID_BYTES], signature=bytes_[KEY_ID_BYTES:])


def _check_name(name: str) -> None:
    has_space = any(character.isspace() or character == "+" for character in name)
    if not 1 <= len(name.encode()) <= MAX_NAME or has_space or _has_control(name):
        raise LocalError("expected a key's name of 1 to 255 bytes without spaces and plus signs")


def _has_control(text: str) -> bool:
    return any(character < " " and character != "\n" for character in text)
