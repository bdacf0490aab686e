"""Registering a data file for training, with the ceiling of its privacy budget.

The ledger gets a random id and a salted commitment: neither content nor size. Where the file lies
and the salt stay in the store.
"""

import os
from decimal import Decimal
from pathlib import Path

from comity_client.ledger import Ledger
from comity_client.store import Store
from comity_common.crypto.derive import digest
from comity_common.dp.terms import Guarantee
from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.ledger.bodies import BudgetGrant, DatasetId, DatasetRegister

RECORD = "record"
SALT_BYTES = 32


class Registrations:
    """The data sets of one vault."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def register(self, file: Path, *, ceiling: Guarantee, order: int) -> DatasetId:
        """Register a file and grant it a budget for its lifetime; the same bytes are one data set.

        Args:
            ceiling: the most that all agreements together may spend.
            order: α of the Rényi filter, fixed from now on.

        Raises:
            LocalError: the file is registered with another ceiling or order.
        """
        content = file.read_bytes()
        for row in self._store.reading().execute("select * from datasets").fetchall():
            if self._commitment(row["salt"], content) == row["commitment"]:
                granted = self._ledger.budget().grant(DatasetId(row["id"]))
                if (granted.ceiling, granted.order) != (ceiling, order):
                    raise LocalError(
                        f"expected the ceiling ε = {_plain(granted.ceiling.epsilon)} at order "
                        f"{granted.order} that this data was registered with; it is for life"
                    )
                with self._store.transaction() as tx:
                    tx.execute(
                        "update datasets set path = ? where id = ?",
                        (str(file.resolve()), granted.dataset),
                    )
                return granted.dataset
        dataset = DatasetId(os.urandom(16).hex())
        salt = os.urandom(SALT_BYTES)
        commitment = self._commitment(salt, content)
        with self._store.transaction() as tx:
            tx.execute(
                "insert into datasets values (?, ?, ?, ?)",
                (dataset, str(file.resolve()), salt, commitment),
            )
            self._ledger.append(
                tx, DatasetRegister(dataset=dataset, commitment=commitment, unit=RECORD)
            )
            self._ledger.append(tx, BudgetGrant(dataset=dataset, ceiling=ceiling, order=order))
            self._ledger.budget()  # a grant that affords nothing would spoil the ledger for good
        return dataset

    def file(self, dataset: DatasetId) -> Path:
        """Return where the rows lie, once they are found to be those that were registered.

        Raises:
            LocalError: no such data set, or the file is missing or was changed.
        """
        row = (
            self._store.reading()
            .execute("select * from datasets where id = ?", (dataset,))
            .fetchone()
        )
        if row is None:
            raise LocalError("expected a registered data set")
        path = Path(row["path"])
        try:
            content = path.read_bytes()
        except OSError as error:
            raise LocalError(f"cannot read {path.name}: {error.strerror}") from None
        if self._commitment(row["salt"], content) != row["commitment"]:
            raise LocalError(f"expected {path.name} as it was registered; register the new rows")
        return path

    @staticmethod
    def _commitment(salt: bytes, content: bytes) -> Digest:
        return Digest(digest("dataset", salt, content).hex())


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")
