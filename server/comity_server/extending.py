"""The operator waits longer for the uploads of the round that is going on.

A plan has no deadline inside, so nothing that was agreed changes. The new time is on disk, and in
the mailbox of everyone whose upload is not here, before the operator's terminal says so.

    extending.extend(agreement, seconds=3600)
"""

from collections.abc import Callable
from dataclasses import dataclass

from comity_common.crypto.sign import SigningKeys
from comity_common.ids import Digest, InstitutionId
from comity_server.desk import Desk
from comity_server.errors import WrongTime
from comity_server.mailbox import Mailbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Until when the uploads of a round are waited for at least.

    Attributes:
        until: seconds since 1970.
        told: who was told, in order.
    """

    round: int
    until: int
    told: tuple[InstitutionId, ...]


class Extending:
    """Extends the time for uploads.

    Args:
        now: seconds since 1970.
    """

    def __init__(
        self, desk: Desk, mailbox: Mailbox, keys: SigningKeys, now: Callable[[], float]
    ) -> None:
        self._desk = desk
        self._mailbox = mailbox
        self._keys = keys
        self._now = now

    def extend(self, agreement: Digest, seconds: int) -> Extension:
        """Wait for uploads for so many seconds from now at least; never less than was said before.

        Raises:
            WrongTime: no round of this agreement waits for uploads.
        """
        with self._desk.moved:
            round = self._desk.round
            if round is None or round.agreement.digest != agreement:
                raise WrongTime("expected a round of this agreement to be going on")
            told = round.extend(self._mailbox, self._keys, int(self._now()) + seconds)
            self._desk.moved.notify_all()
            return Extension(
                round=round.plan.round, until=int(round.until), told=tuple(sorted(told))
            )
