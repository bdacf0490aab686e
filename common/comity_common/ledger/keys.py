"""The keys of one party's ledger, each for one thing.

They are derived from the secret of its signing keys, so there is one secret to guard and to back
up; no public key says anything about another.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from comity_common.crypto.derive import expand
from comity_common.errors import LocalError
from comity_common.ledger.notes import NoteKey, SignatureType

_RAW = (Encoding.Raw, PublicFormat.Raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicLedgerKeys:
    """By which a party's entries, heads and cosignatures are known.

    Attributes:
        entries: Ed25519, 32 bytes; signs envelopes.
        head: Ed25519, 32 bytes; signs the heads of its own ledger.
        witness, lasting: Ed25519 (32 bytes) and ML-DSA-44 (1312 bytes); cosign others' heads.
    """

    entries: bytes
    head: bytes
    witness: bytes
    lasting: bytes

    def __post_init__(self) -> None:
        sizes = tuple(map(len, (self.entries, self.head, self.witness, self.lasting)))
        if sizes != (32, 32, 32, 1312):
            raise LocalError("expected a ledger's keys of 32, 32, 32 and 1312 bytes")

    def log(self, origin: str) -> NoteKey:
        """Return the key that signs the heads of a log of this party."""
        return NoteKey(origin, SignatureType.ED25519, self.head)

    def witnesses(self, name: str) -> tuple[NoteKey, NoteKey]:
        """Return the keys that cosign, both, under the party's name."""
        return (
            NoteKey(name, SignatureType.COSIGNATURE_ED25519, self.witness),
            NoteKey(name, SignatureType.COSIGNATURE_MLDSA44, self.lasting),
        )


@dataclass(frozen=True, slots=True)
class LedgerKeys:
    """A party's private keys for ledgers."""

    entries: Ed25519PrivateKey
    head: Ed25519PrivateKey
    witness: Ed25519PrivateKey
    lasting: MLDSA44PrivateKey

    def __repr__(self) -> str:
        return "LedgerKeys(...)"

    @classmethod
    def derive(cls, secret: bytes) -> "LedgerKeys":
        """Derive them from a party's secret of at least 32 random bytes."""
        return cls(
            Ed25519PrivateKey.from_private_bytes(expand(secret, "ledger-key/entries")),
            Ed25519PrivateKey.from_private_bytes(expand(secret, "ledger-key/head")),
            Ed25519PrivateKey.from_private_bytes(expand(secret, "ledger-key/witness")),
            MLDSA44PrivateKey.from_seed_bytes(expand(secret, "ledger-key/lasting")),
        )

    def public(self) -> PublicLedgerKeys:
        """Return the public keys."""
        return PublicLedgerKeys(
            entries=self.entries.public_key().public_bytes(*_RAW),
            head=self.head.public_key().public_bytes(*_RAW),
            witness=self.witness.public_key().public_bytes(*_RAW),
            lasting=self.lasting.public_key().public_bytes(*_RAW),
        )
