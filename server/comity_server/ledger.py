"""The operator's ledger in its store: append-only, signed, in the transaction of what happened.

It is the other side of the institutions' ledgers: agreements, rounds, releases, what arrived from
whom, and the head of every institution's ledger as the operator witnessed it.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Body
from comity_common.ledger.entries import Entry, append
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.signed import read, write
from comity_common.ledger.tree import Tree
from comity_server.tables import entries

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Read this machine's clock."""
    return datetime.now(UTC)


class Ledger:
    """One operator's ledger.

    Args:
        operator: whose it is.
        keys: with which entries and heads are signed.
    """

    def __init__(self, operator: InstitutionId, keys: LedgerKeys, clock: Clock = utc_now) -> None:
        self.operator = operator
        self.keys = keys
        self._public = keys.public().entries
        self._clock = clock
        self._lock = threading.Lock()
        self._tree = Tree()
        self._generation = b""

    def is_empty(self, tx: Connection) -> bool:
        """Tell whether it has not begun."""
        return tx.execute(select(entries.c.sequence).limit(1)).first() is None

    def append(self, tx: Connection, body: Body) -> Entry:
        """Write the next entry within a transaction that changes things.

        Raises:
            PeerError: the last entry is not signed by this operator.
        """
        newest = select(entries.c.raw).order_by(entries.c.sequence.desc()).limit(1)
        raw = tx.execute(newest).scalar()
        last = None if raw is None else read(raw, self._public)
        time = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = append(last, body, self.operator, time)
        signed = write(entry, self.keys.entries)
        tx.execute(insert(entries).values(sequence=entry.sequence, raw=signed))
        return entry

    def tree(self, tx: Connection) -> tuple[Tree, bytes]:
        """Return the Merkle tree over all entries that are committed, and their generation.

        Args:
            tx: a transaction that only reads.
        """
        with self._lock:
            query = select(entries.c.raw).where(entries.c.sequence >= len(self._tree))
            for raw in tx.execute(query.order_by(entries.c.sequence)).scalars():
                self._generation = read(raw, self._public).generation
                self._tree.append(raw)
            return self._tree, self._generation
