"""Keys of a made-up party's ledger, and how a test reads a ledger that it finds on disk."""

from pathlib import Path

from comity_common.ledger.entries import Entry
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.signed import read

LEDGER_KEYS = LedgerKeys.derive(bytes(range(64)))


def keys_at(home: Path) -> LedgerKeys:
    """Derive the keys of the institution whose home this is."""
    return LedgerKeys.derive((home / "keys" / "signing.key").read_bytes())


def read_own(raw: bytes) -> Entry:
    """Read an entry that was signed with `LEDGER_KEYS`."""
    return read(raw, LEDGER_KEYS.public().entries)
