"""When a masked vector may leave: in the next of the slots that are counted from the plan.

How long training takes follows the size of the random batches, and that the number of rows, which
ε does not cover if it can be read off a clock. So a vector that is ready is not spoken of, neither
on the ledger nor to witnesses, before a slot begins, and then uploaded as soon as they have
cosigned (design note, "Numbers": send at a fixed slot after the plan). What still shows is in which
slot, and that is one and the same for all rounds if a slot is longer than a round trains.

A vault that was started again knows no plan's time. One that had announced its vector sends at
once, as restarts follow no rows; one that had not has spent the round.
"""

import math
import time
from collections.abc import Callable


class Slots:
    """The slots of the round at work.

    Args:
        length: of a slot in seconds; 0: everything leaves when it is ready.
        clock: seconds on a clock that never goes back.
    """

    def __init__(self, length: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._length = length
        self._clock = clock
        self._began: float | None = None
        self._due: float | None = None

    def begin(self) -> None:
        """Count from now: a plan was accepted."""
        self._began, self._due = self._clock(), None

    def choose(self) -> None:
        """Choose the slot of a vector that is ready now: the next that begins."""
        if self._began is not None and self._length > 0:
            over = math.floor((self._clock() - self._began) / self._length)
            self._due = self._began + (over + 1) * self._length

    def wait(self) -> float:
        """Return for how many seconds the vector has to wait; 0 if it may leave."""
        return 0.0 if self._due is None else max(0.0, self._due - self._clock())
