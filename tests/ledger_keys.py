"""Keys of a made-up party's ledger, how a test reads a ledger on disk, and stores with one."""

from pathlib import Path

from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Ingress, Traffic
from comity_common.ledger.entries import Entry
from comity_common.ledger.keys import LedgerKeys, PublicLedgerKeys
from comity_common.ledger.signed import read

LEDGER_KEYS = LedgerKeys.derive(bytes(range(64)))


def public_keys(name: bytes) -> PublicLedgerKeys:
    """Make up the public keys of a party that signs nothing."""
    key = name.ljust(32)
    return PublicLedgerKeys(entries=key, head=key, witness=key, lasting=name.ljust(1312))


def keys_at(home: Path) -> LedgerKeys:
    """Derive the keys of the institution whose home this is."""
    return LedgerKeys.derive((home / "keys" / "signing.key").read_bytes())


def read_own(raw: bytes) -> Entry:
    """Read an entry that was signed with `LEDGER_KEYS`."""
    return read(raw, LEDGER_KEYS.public().entries)


def arrived(sender: InstitutionId) -> Ingress:
    """Say that some upload of an institution is here."""
    return Ingress(
        purpose="federated-training",
        sender=sender,
        jurisdiction="DE",
        traffic=Traffic.MECHANISM,
        message="upload",
        size_bytes=1,
        digest=Digest("0" * 64),
        round=1,
        nonce=b"",
    )
