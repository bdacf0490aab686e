"""The functions from which every digest and key of `comity-sum/1` is derived.

This is the only place that builds a label. Every part is length-prefixed, so no two different
lists of parts hash alike, and no key is used for two purposes.
"""

from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

PROTOCOL = "comity-sum/1/"

DIGEST_BYTES = 32
KEY_BYTES = 32


def digest(label: str, *parts: bytes) -> bytes:
    """Hash length-prefixed parts under a label: `H` of the protocol.

    Returns:
        32 bytes, SHA-256.
    """
    digesting = Digesting(label)
    for part in parts:
        digesting.part(part)
    return digesting.finish()


class Digesting:
    """A digest that is taken while its parts pass by: what `digest` gives for the whole parts.

    >>> digesting = Digesting("chunk")
    >>> digesting.begin(4)
    >>> digesting.update(b"ab")
    >>> digesting.update(b"cd")
    >>> digesting.finish() == digest("chunk", b"abcd")
    True
    """

    __slots__ = ("_state",)

    def __init__(self, label: str) -> None:
        self._state = Hash(SHA256())
        self.part((PROTOCOL + label).encode())

    def part(self, whole: bytes | memoryview) -> None:
        """Hash a part that is here as a whole."""
        self.begin(len(whole))
        self.update(whole)

    def begin(self, length: int) -> None:
        """Begin a part of `length` bytes, which the caller hands in by `update`."""
        self._state.update(length.to_bytes(8, "big"))

    def update(self, piece: bytes | memoryview) -> None:
        """Hash the next bytes of the part that was begun."""
        self._state.update(piece)

    def finish(self) -> bytes:
        """Return the digest: 32 bytes. Nothing can follow."""
        return self._state.finalize()


def expand(key: bytes, label: str, *context: bytes) -> bytes:
    """Derive a 32-byte key: `X` of the protocol (HKDF-Expand, RFC 5869 §2.3)."""
    info = (PROTOCOL + label).encode() + b"\x00" + digest("ctx", *context)
    return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info).derive(key)


def extract(salt: bytes, secret: bytes, label: str) -> bytes:
    """Derive a 32-byte key from a shared secret (HKDF, RFC 5869 §2)."""
    info = (PROTOCOL + label).encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)


def number(value: int) -> bytes:
    """Write a counter or an index as a part: 8 bytes, big-endian."""
    return value.to_bytes(8, "big")
