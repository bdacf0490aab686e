"""Every institution's mailbox: parcels in order, read from any place on, and kept for ever but for
those that a newer one on the same topic replaces.

The operator never calls an institution; it posts, and the institution's open stream carries it
away. The stream is also how the operator knows who is connected, and ready for which agreement: an
institution has one, and a newer one ends the older.
"""

import threading
from collections.abc import Callable, Iterator, Mapping

from sqlalchemy import Connection, delete, func, insert, select

from comity.v1 import transfer_pb2 as pb
from comity_common.ids import Digest, InstitutionId
from comity_server.store import Store
from comity_server.tables import mailbox

BATCH = 8  # parcels held in memory for one reader
LOOK_EVERY_S = 1.0  # at whether the reader is still there


class Mailbox:
    """The mailboxes of all institutions.

    Args:
        changed: called when somebody comes or goes.
    """

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self._store = store
        self._changed = changed
        self._news = threading.Condition()
        self._posted = 0
        self._streams: dict[InstitutionId, tuple[int, str]] = {}
        self._last_stream = 0
        self._closed = False

    def post(
        self, tx: Connection, institution: InstitutionId, parcel: pb.Parcel, topic: str = ""
    ) -> None:
        """Put a parcel into a mailbox; call `announce` after the transaction.

        Args:
            topic: an earlier parcel on the same topic is taken out, read or not.
        """
        place = select(func.max(mailbox.c.sequence)).where(mailbox.c.institution == institution)
        numbered = pb.Parcel()
        numbered.CopyFrom(parcel)
        numbered.sequence = (tx.execute(place).scalar() or 0) + 1
        tx.execute(
            insert(mailbox).values(
                institution=institution,
                sequence=numbered.sequence,
                parcel=numbered.SerializeToString(),
                topic=topic,
            )
        )
        if topic:  # after the new one is in, so that no place in the order is ever used twice
            tx.execute(
                delete(mailbox).where(
                    mailbox.c.institution == institution,
                    mailbox.c.topic == topic,
                    mailbox.c.sequence < numbered.sequence,
                )
            )

    def announce(self) -> None:
        """Wake the readers."""
        with self._news:
            self._posted += 1
            self._news.notify_all()

    def follow(
        self,
        institution: InstitutionId,
        after: int,
        is_there: Callable[[], bool],
        ready: str = "",
    ) -> Iterator[pb.Parcel]:
        """Read a mailbox, then wait for more, until the reader goes or a newer one comes.

        Args:
            after: the last place that the reader has.
            is_there: tells whether the reader still listens.
            ready: digest of the agreement that the reader is ready to work at; empty for none.
        """
        stream = self._open(institution, ready)
        try:
            while True:
                seen = self._posted
                batch = self._read(institution, after)
                for parcel in batch:
                    if not self._goes_on(institution, stream):
                        return
                    yield parcel
                    after = parcel.sequence
                if batch:
                    continue
                if not (is_there() and self._goes_on(institution, stream)):
                    return
                with self._news:
                    if self._posted == seen:
                        self._news.wait(LOOK_EVERY_S)
        finally:
            self._close(institution, stream)

    def connected(self) -> frozenset[InstitutionId]:
        """Return who is connected."""
        with self._news:
            return frozenset(self._streams)

    def ready(self, agreement: Digest) -> Mapping[InstitutionId, int]:
        """Return who is connected and ready for an agreement, with the number of its stream."""
        with self._news:
            return {
                who: stream for who, (stream, ready) in self._streams.items() if ready == agreement
            }

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        self.announce()

    def _open(self, institution: InstitutionId, ready: str) -> int:
        with self._news:
            self._last_stream += 1
            stream = self._last_stream
            self._streams[institution] = stream, ready
            self._posted += 1
            self._news.notify_all()
        self._changed()
        return stream

    def _close(self, institution: InstitutionId, stream: int) -> None:
        with self._news:
            if self._is_newest(institution, stream):
                del self._streams[institution]
        self._changed()

    def _goes_on(self, institution: InstitutionId, stream: int) -> bool:
        with self._news:
            return not self._closed and self._is_newest(institution, stream)

    def _is_newest(self, institution: InstitutionId, stream: int) -> bool:
        return self._streams.get(institution, (0, ""))[0] == stream

    def _read(self, institution: InstitutionId, after: int) -> list[pb.Parcel]:
        query = (
            select(mailbox.c.parcel)
            .where(mailbox.c.institution == institution, mailbox.c.sequence > after)
            .order_by(mailbox.c.sequence)
            .limit(BATCH)
        )
        with self._store.read() as tx:
            return [pb.Parcel.FromString(raw) for raw in tx.execute(query).scalars()]
