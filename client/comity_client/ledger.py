"""The institution's ledger in its store: append-only, signed, read back before it is used."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from comity_client.store import Store
from comity_common.dp.budget import Budget
from comity_common.errors import LocalError
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Body
from comity_common.ledger.entries import Entry, append, check_order
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.signed import read, write
from comity_common.ledger.tree import Tree

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Read this machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A budget and the last entry that is counted in it, as it lies on disk."""

    budget: Budget
    sequence: int
    raw: bytes


class Ledger:
    """One institution's ledger.

    Args:
        keys: with which its owner signs entries.

    Raises:
        PeerError: what is stored is not whole, or not signed with them.
    """

    def __init__(
        self,
        store: Store,
        institution: InstitutionId,
        keys: LedgerKeys,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._institution = institution
        self._key, self._public = keys.entries, keys.public().entries
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: _Counted | None = None
        self._tree = Tree()
        self._generations: list[bytes] = []
        entries = self.entries()
        if entries:
            check_order(entries)

    def append(self, tx: sqlite3.Connection, body: Body) -> Entry:
        """Write the next entry within a transaction."""
        row = tx.execute("select raw from entries order by sequence desc limit 1").fetchone()
        last = None if row is None else self._read(row["raw"])
        time = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = append(last, body, self._institution, time)
        tx.execute("insert into entries values (?, ?)", (entry.sequence, write(entry, self._key)))
        return entry

    def entries(self) -> list[Entry]:
        """Read all entries, in order."""
        rows = self._store.reading().execute("select raw from entries order by sequence")
        return [self._read(row["raw"]) for row in rows]

    def tree(self) -> Tree:
        """Return the Merkle tree over all entries; it goes on growing as they are written.

        Raises:
            LocalError: asked within a transaction, whose entries may never be committed.
        """
        connection = self._store.reading()
        if connection.in_transaction:
            raise LocalError("expected no transaction around the tree of a ledger")
        with self._lock:
            rows = connection.execute(
                "select raw from entries where sequence >= ? order by sequence", (len(self._tree),)
            )
            for row in rows.fetchall():
                self._note_generation(self._read(row["raw"]))
                self._tree.append(row["raw"])
        return self._tree

    def generations(self) -> tuple[bytes, ...]:
        """Return what the ledger was known by since its genesis, the present one last."""
        self.tree()
        return tuple(self._generations)

    def day(self) -> date:
        """Return the day that it is, in UTC."""
        return self._clock().astimezone(UTC).date()

    def today(self) -> Iterator[Body]:
        """Read what was written today or, by a clock that was put back, later; newest first."""
        day = self.day().isoformat()
        rows = self._store.reading().execute("select raw from entries order by sequence desc")
        for row in rows:
            entry = self._read(row["raw"])
            if entry.time < day:
                return
            yield entry.body

    def budget(self) -> Budget:
        """Compute the budget from the entries.

        Those that were counted before are not read again, as a ledger grows with every round. What
        the transaction at hand has written is counted for this once: it may never be committed.
        """
        connection = self._store.reading()
        with self._lock:
            last = self._counted
            rows = connection.execute(
                "select sequence, raw from entries where sequence >= ? order by sequence",
                (last.sequence if last else 0,),
            ).fetchall()
            if last is not None:
                if not rows or rows[0]["raw"] != last.raw:
                    raise LocalError(f"expected entry {last.sequence} to be as it was")
                rows = rows[1:]
            if last is not None and not rows:
                return last.budget
            budget = last.budget.copy() if last else Budget()
            for row in rows:
                budget.apply(self._read(row["raw"]))
            if rows and not connection.in_transaction:
                self._counted = _Counted(budget, rows[-1]["sequence"], rows[-1]["raw"])
            return budget

    def _note_generation(self, entry: Entry) -> None:
        if entry.generation not in self._generations:
            self._generations.append(entry.generation)

    def _read(self, raw: bytes) -> Entry:
        return read(raw, self._public)
