"""The institution's mailbox at the operator: each parcel exactly once, in order.

A parcel is done with when its effect and then its place in the mailbox are stored; one that came
before is passed over. A parcel that is wrong is noted in the log and passed over too: it must not
keep the vault from the next one.
"""

from collections.abc import Callable

import structlog

from comity_client.store import Store
from comity_client.uplink import Delivery
from comity_common.errors import PeerError

LAST_PLACE = 2**63 - 1  # that the store can hold

log = structlog.get_logger()


class Mailbox:
    """How far the mailbox has been read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def cursor(self) -> int:
        """Return the place of the last parcel that is done with."""
        row = self._store.reading().execute("select cursor from mailbox").fetchone()
        return int(row[0])

    def take(self, delivery: Delivery, handle: Callable[[Delivery], object]) -> None:
        """Let a parcel have its effect, unless it had.

        Raises:
            Unreachable: it needs the operator, who is away; take it again.
        """
        if not self.cursor() < delivery.sequence <= LAST_PLACE:
            return
        try:
            handle(delivery)
        except PeerError as error:
            log.warning("parcel refused", kind=int(delivery.kind), why=str(error))
        with self._store.transaction() as tx:
            tx.execute("update mailbox set cursor = ?", (delivery.sequence,))
