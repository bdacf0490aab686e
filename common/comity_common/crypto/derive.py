"""The two functions from which every digest and key of `comity-sum/1` is derived.

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
    state = Hash(SHA256())
    for part in ((PROTOCOL + label).encode(), *parts):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.finalize()


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
