"""An operator's database with a ledger of made-up keys, where a test has no operator's home."""

from pathlib import Path

from comity_common.ids import InstitutionId
from comity_server.ledger import Ledger
from comity_server.store import Store
from tests.ledger_keys import LEDGER_KEYS


def operator_store(database: Path | str) -> Store:
    """Open it, or make it."""
    return Store(database, Ledger(InstitutionId("operator"), LEDGER_KEYS))
