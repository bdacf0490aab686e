"""A line between a victim and the process that may kill it: a call, and its answer.

The victim has `Far` in place of its `Uplink`; whoever holds the other end answers each call. With
an answer comes what other institutions said to the victim meanwhile, and it is heard at once, as a
vault's mailbox thread does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from comity_client.rounds import StoredUpload
from comity_client.uplink import Delivery
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError
from comity_common.ids import Digest


@dataclass(frozen=True, slots=True)
class Call:
    """What a victim asks or tells."""

    name: str
    words: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back.

    Attributes:
        value: the call's, or the sentence of a `PeerError` where `refused`.
        heard: what others said to the victim meanwhile.
    """

    value: Any
    refused: bool
    heard: tuple[Delivery, ...]


class Far:
    """The victim's end.

    Args:
        note: told what is about to be said, before it is.
    """

    def __init__(self, connection: Connection, note: Callable[[Call], None] | None = None) -> None:
        self._connection = connection
        self._note = note or (lambda call: None)
        self.hear: Callable[[Delivery], None] = lambda delivery: None
        self.sent = self.received = 0

    def ask(self, name: str, *words: Any) -> Any:
        """Say something and wait for the answer; a SIGKILL may come instead of it."""
        call = Call(name, words)
        self._note(call)
        self._connection.send(call)
        answer: Answer = self._connection.recv()
        for delivery in answer.heard:
            self.hear(delivery)
        if answer.refused:
            raise PeerError(answer.value)
        return answer.value

    def send(self, agreement: Digest, kind: int, message: Signed) -> None:
        """Hand over a small message."""
        self.ask("send", agreement, kind, message)

    def fetch_plan(self, agreement: Digest, plan: Digest) -> Signed:
        """Fetch a plan."""
        return self.ask("fetch_plan", agreement, plan)

    def upload(self, agreement: Digest, stored: StoredUpload, file: Path) -> Signed:
        """Hand over a whole upload."""
        return self.ask("upload", agreement, stored, file.read_bytes())

    def fetch_total(self, agreement: Digest, round: int, size: int) -> bytearray:
        """Fetch a sum."""
        return self.ask("fetch_total", agreement, round, size)
