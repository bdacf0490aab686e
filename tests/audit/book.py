"""A ledger that is written by hand: each body becomes an entry that its owner has signed."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from comity_common.dp.budget import Budget
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Body
from comity_common.ledger.entries import Entry, append
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.signed import write

BEGINNING = datetime(2026, 9, 1, tzinfo=UTC)
PACE = timedelta(seconds=7)


class Book:
    """One ledger.

    Args:
        keys: of its owner.
        counts: whether its budget is kept; it raises on what does not fit.

    Attributes:
        entries, raw: what was written, and its bytes.
        budget: what it amounts to.
    """

    def __init__(
        self,
        owner: InstitutionId,
        keys: LedgerKeys,
        bodies: Iterable[Body] = (),
        *,
        counts: bool = True,
        beginning: datetime = BEGINNING,
    ) -> None:
        self.owner = owner
        self._keys = keys
        self._counts = counts
        self._now = beginning
        self.entries: list[Entry] = []
        self.raw: list[bytes] = []
        self.budget = Budget()
        for body in bodies:
            self.write(body)

    @property
    def bodies(self) -> list[Body]:
        """What the entries say."""
        return [entry.body for entry in self.entries]

    def write(self, body: Body) -> None:
        """Write the next entry."""
        last = self.entries[-1] if self.entries else None
        entry = append(last, body, self.owner, self._now.strftime("%Y-%m-%dT%H:%M:%SZ"))
        if self._counts:
            self.budget.apply(entry)
        self._now += PACE
        self.entries.append(entry)
        self.raw.append(write(entry, self._keys.entries))
