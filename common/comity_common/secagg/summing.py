"""The sum of a round as it passes by: windows of the masked vectors in, windows of the total out.

The operator and whoever recomputes a round call the same code. Memory grows neither with the number
of institutions nor with the length of a vector, and the sum of the ring is exact, so it does not
matter in which order it is taken. Nobody is told a sum before `finish` has checked two things
(design note, "A round", finish):

* every canary lane counts the survivors, or some mask is still on;
* no lane is larger than that many vectors of bounded lanes can make it, or no vault would take it.

    running = RunningSum(plan, survivors, residue)
    for window in windows(plan.lanes):
        total.write(running.add(window, (vector.read(window.length) for vector in vectors)))
    root = running.finish()
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comity_common import chunks
from comity_common.errors import PeerError
from comity_common.secagg.masking import CANARIES, Q_DTYPE, Z_DTYPE, q_bytes, vector_bytes
from comity_common.secagg.messages import Plan
from comity_common.secagg.unmasking import Residue, check_canaries

WINDOW_BYTES = chunks.CHUNK_BYTES  # a whole number of lanes of both kinds


@dataclass(frozen=True, slots=True)
class Window:
    """Some bytes of a vector, all of one section.

    Attributes:
        section: "q" or "z".
        start, length: in bytes.
    """

    section: str
    start: int
    length: int


def windows(lanes: int) -> Iterator[Window]:
    """Cut a vector of `lanes` summed coordinates into windows, in order and without a gap."""
    split, size = q_bytes(lanes), vector_bytes(lanes)
    for section, start, end in (("q", 0, split), ("z", split, size)):
        for offset in range(start, end, WINDOW_BYTES):
            yield Window(section, offset, min(WINDOW_BYTES, end - offset))


class RunningSum:
    """The sum of the survivors' masked vectors, less the residue.

    Args:
        survivors: how many vectors there are.
        residue: what still masks their sum.
    """

    def __init__(self, plan: Plan, survivors: int, residue: Residue) -> None:
        self._plan = plan
        self._survivors = survivors
        self._masks = {"q": residue.masks("q"), "z": residue.masks("z")}
        self._root = chunks.RunningRoot(vector_bytes(plan.lanes))
        self._q_tail = np.empty(0, Q_DTYPE)
        self._z = np.empty(0, Z_DTYPE)
        self._least = self._most = 0

    def add(self, window: Window, parts: Iterable[bytes]) -> memoryview:
        """Sum one window of all vectors.

        Args:
            parts: the window's bytes of each survivor's vector, in any order; read one by one.

        Returns:
            the window's bytes of the total.
        """
        dtype = Q_DTYPE if window.section == "q" else Z_DTYPE
        lanes: npt.NDArray[np.unsignedinteger] = np.zeros(window.length // dtype.itemsize, dtype)
        for part in parts:
            np.add(lanes, np.frombuffer(part, dtype), out=lanes)
        self._masks[window.section].apply(lanes)
        self._look(window, lanes)
        self._root.update(lanes.data)
        return lanes.data

    def finish(self) -> bytes:
        """Check the sum that has passed by.

        Returns:
            the root of the total's chunks, 32 bytes.

        Raises:
            PeerError: a canary or a lane says that this is not the sum of so many vectors.
        """
        check_canaries(self._q_tail.view(np.uint32), self._z.view(np.uint64), self._survivors)
        most = self._survivors * self._plan.lane_bound
        if self._most > most or self._least < -most:
            raise PeerError(f"expected a sum of at most {most} in size in each coordinate")
        return self._root.finish()

    def _look(self, window: Window, lanes: npt.NDArray[np.unsignedinteger]) -> None:
        """Remember what the checks at the end need."""
        if window.section == "z":
            self._z = np.concatenate([self._z, lanes])
            return
        self._q_tail = np.concatenate([self._q_tail, lanes[-CANARIES:]])[-CANARIES:]
        coordinates = lanes[: max(0, self._plan.lanes - window.start // Q_DTYPE.itemsize)]
        if coordinates.size:
            signed = coordinates.view("<i4")
            self._least = min(self._least, int(signed.min()))
            self._most = max(self._most, int(signed.max()))
