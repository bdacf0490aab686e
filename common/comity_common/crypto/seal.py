"""Sealing: pair halves to a peer's key (hybrid post-quantum HPKE), shares into one-time boxes.

The KEM is X-Wing-style MLKEM768-X25519 in HPKE base mode (RFC 9180 §5.1.1): whoever records the
traffic today must break both to read it. A box is AES-256-GCM with nonce 0 under a key that
includes the header's digest, so a key is never used for two messages.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from comity_common.errors import PeerError

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
MLKEM_SEED_BYTES = 64
MLKEM_PUBLIC_BYTES = 1184
_BOX_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The private half of one key epoch, deleted as soon as the halves are open."""

    mlkem: MLKEM768PrivateKey
    x25519: X25519PrivateKey

    def __repr__(self) -> str:
        return "SealingKey(...)"

    @classmethod
    def generate(cls) -> "SealingKey":
        """Make a fresh pair from the operating system's randomness."""
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, secret: bytes) -> "SealingKey":
        """Read the 96 bytes that `to_bytes` writes."""
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(secret[:MLKEM_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(secret[MLKEM_SEED_BYTES:]),
        )

    def to_bytes(self) -> bytes:
        """Write both private parts: 96 bytes, to be stored as a secret."""
        return self.mlkem.private_bytes_raw() + self.x25519.private_bytes_raw()

    def public(self) -> bytes:
        """Return the public key: ML-KEM-768 (1184 bytes) and X25519 (32 bytes)."""
        mlkem = self.mlkem.public_key().public_bytes_raw()
        return mlkem + self.x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Open what `seal` made for this key and this `info`.

        Raises:
            PeerError: it was not, or was changed.
        """
        key = MLKEM768X25519PrivateKey(self.mlkem, self.x25519)
        try:
            return SUITE.decrypt(sealed, key, info)
        except (InvalidTag, ValueError):
            raise PeerError("expected a half sealed to this key epoch's key") from None


def seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal to a peer's epoch key (1216 bytes), bound to `info`.

    Raises:
        PeerError: the key is malformed.
    """
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(public[MLKEM_PUBLIC_BYTES:]),
        )
        return SUITE.encrypt(plaintext, key, info)
    except ValueError:
        raise PeerError("expected an epoch key of 1216 bytes") from None


def close_box(key: bytes, share: bytes, header: bytes) -> bytes:
    """Encrypt a share under a one-time key bound to a header's digest."""
    return AESGCM(key).encrypt(_BOX_NONCE, share, header)


def open_box(key: bytes, box: bytes, header: bytes) -> bytes:
    """Decrypt a share.

    Raises:
        PeerError: the box was not closed with this key for this header.
    """
    try:
        return AESGCM(key).decrypt(_BOX_NONCE, box, header)
    except (InvalidTag, ValueError):
        raise PeerError("expected a box closed for this header") from None
