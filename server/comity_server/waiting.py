"""How one waits at the desk: for something, or for enough institutions; never for ever."""

from collections.abc import Callable

from comity_common.agreement import Agreement
from comity_common.errors import LocalError
from comity_common.ids import InstitutionId
from comity_common.secagg.thresholds import thresholds
from comity_server.config import Deadlines
from comity_server.desk import Desk

LOOK_EVERY_S = 1.0


class Closing(Exception):
    """The daemon ends."""


class Stopped(Exception):
    """The run cannot go on now; the message says why."""


class Waiting:
    """Waits at the desk.

    Args:
        clock: seconds, never going back.
        check: called again and again while something is waited for; may raise `Stopped`.
    """

    def __init__(
        self,
        desk: Desk,
        deadlines: Deadlines,
        clock: Callable[[], float],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._desk = desk
        self._check = check
        self._deadlines = deadlines
        self._clock = clock
        self._closing = False

    def close(self) -> None:
        """Let every wait, now and later, raise `Closing`."""
        with self._desk.moved:
            self._closing = True
            self._desk.moved.notify_all()

    def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is true, for so many seconds at most; return whether it is.

        Raises:
            Stopped: the run was ended.
            Closing: the daemon ends.
        """
        end = self._clock() + seconds
        with self._desk.moved:
            while True:
                if self._closing:
                    raise Closing
                self._check()
                if true():
                    return True
                left = end - self._clock()
                if left <= 0:
                    return False
                self._desk.moved.wait(min(left, LOOK_EVERY_S))

    def pause(self, seconds: float) -> None:
        """Do nothing for a while.

        Raises:
            Closing: the daemon ends.
        """
        self.until(lambda: False, seconds)

    def for_enough(
        self,
        agreement: Agreement,
        expected: frozenset[InstitutionId],
        here: Callable[[], frozenset[InstitutionId]],
        how: str,
        grace_s: float,
        give_up: Callable[[], bool] = lambda: False,
    ) -> frozenset[InstitutionId]:
        """Wait for all that are expected; after a time of grace, for enough of them.

        Args:
            here: those of them who are here now.
            how: what they are when they are here, in words.
            grace_s: how long to wait for all.

        Returns:
            who is here; nobody if `give_up` came true.

        Raises:
            Stopped: there were too few until the patience was over.
            Closing: the daemon ends.
        """
        settled = self._clock() + grace_s

        def decided() -> bool:
            present = here()
            if give_up() or present == expected:
                return True
            return self._clock() >= settled and _is_enough(agreement, len(present))

        self.until(decided, max(self._deadlines.patience_s, grace_s))
        if give_up():
            return frozenset()
        present = here()
        if not _is_enough(agreement, len(present)):
            raise Stopped(
                f"{len(present)} institutions are {how}, "
                f"{agreement.aggregation.min_participants} are needed"
            )
        return present


def _is_enough(agreement: Agreement, present: int) -> bool:
    try:
        thresholds(present, agreement.aggregation.collusion)
    except LocalError:
        return False
    return present >= agreement.aggregation.min_participants
