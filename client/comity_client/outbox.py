"""Small signed messages on their way to the operator: durable until the operator has them."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from comity_client.store import Store
from comity_common.crypto.sign import Signed
from comity_common.ids import Digest
from comity_common.wire import ParcelKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One message that was not delivered yet."""

    id: int
    agreement: Digest
    kind: ParcelKind
    message: Signed


class Outbox:
    """The messages that wait, in the order in which they were made."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(
        self,
        tx: sqlite3.Connection,
        agreement: Digest,
        kind: ParcelKind,
        message: Signed,
        round: int | None = None,
    ) -> None:
        """Queue a message in the same transaction as what it tells."""
        tx.execute(
            "insert into outbox (agreement, round, kind, body, signature) values (?, ?, ?, ?, ?)",
            (agreement, round, int(kind), message.body, message.signature),
        )

    def waiting(self) -> Iterator[Waiting]:
        """Go through the messages that wait."""
        rows = self._store.reading().execute("select * from outbox order by id").fetchall()
        for row in rows:
            yield Waiting(
                id=row["id"],
                agreement=Digest(row["agreement"]),
                kind=row["kind"],
                message=Signed(body=row["body"], signature=row["signature"]),
            )

    def delivered(self, waiting: Waiting) -> None:
        """Take a message out: the operator has it, or refuses it for good."""
        with self._store.transaction() as tx:
            tx.execute("delete from outbox where id = ?", (waiting.id,))
