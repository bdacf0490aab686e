"""The chunks of an upload on their way, over several connections at once.

One TCP connection that backs off at every loss is slow over a long way; several share the losses.

* Every stream has a connection of its own and sends one chunk at a time: the next one only when the
  operator has the one before. So a connection that is cut costs no more than the chunk at hand.
* A chunk whose fate is unknown is sent again, by the same stream; the same bytes again
  change nothing at the operator.
* A stream that fails again and again ends, and leaves its chunk to the others. What the operator
  refuses ends all of them.

    send([0, 1, 2], streams=2, connect=connect, chunk=read)
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable

import grpc

from comity.v1 import transfer_pb2 as pb
from comity.v1.transfer_pb2_grpc import TransferStub
from comity_client.failures import Unreachable, understood
from comity_common.errors import PeerError

# After the first failure of a chunk, the second, …; then its stream ends. The first one lets gRPC
# notice that its connection is gone.
PAUSES_S = (0.1, 0.5, 1.0, 2.0)
CHUNK_TIMEOUT_S = 120.0  # 1 MiB at 70 kbit/s; a dead connection is noticed by its pings


def send(
    places: Iterable[int],
    *,
    streams: int,
    connect: Callable[[], grpc.Channel],
    chunk: Callable[[int], pb.Chunk],
) -> None:
    """Send chunks over so many connections at once, until the operator has them all.

    Args:
        places: of the chunks, each once.
        streams: at least 1; not more are opened than there are chunks.
        connect: opens a connection of its own; it is closed here.
        chunk: reads the chunk at a place; called by several threads.

    Raises:
        Unreachable: no stream gets through any more; some chunks may have arrived.
        PeerError: the operator refuses a chunk, for good.
    """
    waiting = deque(places)
    sending = _Sending(waiting, connect, chunk)
    threads = [
        threading.Thread(target=sending.work, name=f"upload-{k}", daemon=True)
        for k in range(min(streams, len(waiting)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sending.check()


class _Sending:
    """What the streams of one upload share."""

    def __init__(
        self,
        waiting: deque[int],
        connect: Callable[[], grpc.Channel],
        chunk: Callable[[int], pb.Chunk],
    ) -> None:
        self._waiting = waiting
        self._connect = connect
        self._chunk = chunk
        self._over = threading.Event()
        self._failures: list[Exception] = []

    def work(self) -> None:
        """Send chunk after chunk over one connection."""
        try:
            with self._connect() as channel:
                while (place := self._next()) is not None:
                    self._deliver(TransferStub(channel), place)
        except Unreachable as error:
            self._failures.append(error)
        except Exception as error:  # a refusal, or a file that cannot be read
            self._failures.insert(0, error)
            self._over.set()

    def check(self) -> None:
        """Raise what ended the streams, if chunks were left."""
        if self._failures and (self._waiting or self._over.is_set()):
            raise self._failures[0]

    def _next(self) -> int | None:
        if self._over.is_set():
            return None
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _deliver(self, stub: TransferStub, place: int) -> None:
        for pause in (*PAUSES_S, None):
            try:
                stub.PutChunks(iter([self._chunk(place)]), timeout=CHUNK_TIMEOUT_S)
                return
            except grpc.RpcError as error:
                failure = understood(error)
            if isinstance(failure, PeerError):
                raise failure
            if pause is None or self._over.wait(pause):
                self._waiting.append(place)
                raise failure
