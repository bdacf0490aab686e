"""The sum of a round as it passes by: windows of the masked vectors in, windows of the total out.

The operator and whoever recomputes a round call the same code. Memory grows neither with the number
of institutions nor with the length of a vector, and the sum of the ring is exact, so it does not
matter in which order it is taken. Lanes of 24 bits are summed in words of 32, whose upper bits mean
nothing. Nobody is told a sum before `finish` has checked two things (design note, "A round",
finish):

* every canary lane counts the survivors, or some mask is still on;
* no lane is larger than that many vectors of bounded lanes can make it, or no vault would take it.

    running = RunningSum(plan, survivors, residue)
    for window in windows(plan.lanes, plan.ring_width):
        total.write(running.add(window, sources))
    root = running.finish()
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comity_common import chunks
from comity_common.fixedpoint import check_sum, signed
from comity_common.secagg.masking import (
    Q_DTYPE,
    WINDOW_LANES,
    Z_DTYPE,
    q_bytes,
    vector_bytes,
)
from comity_common.secagg.messages import Plan
from comity_common.secagg.packing import LANE_BYTES, lane_bytes, packed_lanes, packed_view
from comity_common.secagg.unmasking import Residue, check_canaries


@dataclass(frozen=True, slots=True)
class Window:
    """Some bytes of a vector, all of one section, a whole number of lanes.

    Attributes:
        section: "q" or "z".
        start, length: in bytes.
    """

    section: str
    start: int
    length: int


Source = Callable[[Window, memoryview], None]
"""Writes a window's bytes of one vector into memory of just that length."""


def windows(lanes: int, width: int) -> Iterator[Window]:
    """Cut a vector of `lanes` summed coordinates of `width` bits into windows, without a gap."""
    split, size = q_bytes(lanes, width), vector_bytes(lanes, width)
    most = WINDOW_LANES * lane_bytes(width)
    for start in range(0, split, most):
        yield Window("q", start, min(most, split - start))
    yield Window("z", split, size - split)


class RunningSum:
    """The sum of the survivors' masked vectors, less the residue.

    Args:
        survivors: how many vectors there are.
        residue: what still masks their sum.
    """

    def __init__(self, plan: Plan, survivors: int, residue: Residue) -> None:
        width = plan.ring_width
        self._plan = plan
        self._survivors = survivors
        self._lane_bytes = lane_bytes(width)
        self._masks = {"q": residue.masks("q"), "z": residue.masks("z")}
        self._root = chunks.RunningRoot(vector_bytes(plan.lanes, width))
        self._raw = memoryview(bytearray(WINDOW_LANES * LANE_BYTES))
        self._packed = memoryview(bytearray(WINDOW_LANES * self._lane_bytes))
        self._words = np.empty(WINDOW_LANES, Q_DTYPE)
        self._canaries = np.empty(0, np.int32)
        self._z = np.empty(0, Z_DTYPE)
        self._extremes = np.zeros(2, np.int32)

    def add(self, window: Window, sources: Iterable[Source]) -> memoryview:
        """Sum one window of all vectors.

        Args:
            sources: of each survivor's vector, in any order; asked one by one.

        Returns:
            the window's bytes of the total, there until the next window is added.
        """
        add = self._add_q if window.section == "q" else self._add_z
        total = add(window, sources)
        self._root.update(total)
        return total

    def finish(self) -> bytes:
        """Check the sum that has passed by.

        Returns:
            the root of the total's chunks, 32 bytes.

        Raises:
            PeerError: a canary or a lane says that this is not the sum of so many vectors.
        """
        check_canaries(self._canaries.view(np.uint32), self._z.view(np.uint64), self._survivors)
        check_sum(self._extremes, self._survivors * self._plan.lane_bound)
        return self._root.finish()

    def _add_q(self, window: Window, sources: Iterable[Source]) -> memoryview:
        width, count = self._plan.ring_width, window.length // self._lane_bytes
        raw = self._raw[: window.length]
        addend = packed_lanes(self._raw[: window.length + LANE_BYTES - self._lane_bytes], width)
        lanes = self._words[:count]
        lanes[:] = 0
        for source in sources:
            source(window, raw)
            np.add(lanes, addend, out=lanes)
        self._masks["q"].apply(lanes)
        self._look(window.start // self._lane_bytes, signed(lanes, width))
        return packed_view(lanes, width, self._packed)

    def _add_z(self, window: Window, sources: Iterable[Source]) -> memoryview:
        raw = self._raw[: window.length]
        self._z = np.zeros(window.length // Z_DTYPE.itemsize, Z_DTYPE)
        for source in sources:
            source(window, raw)
            np.add(self._z, np.frombuffer(raw, Z_DTYPE), out=self._z)
        self._masks["z"].apply(self._z)
        return memoryview(self._z.tobytes())

    def _look(self, first: int, integers: npt.NDArray[np.int32]) -> None:
        """Remember what the checks at the end need.

        Args:
            first: place of the first of these lanes.
        """
        inside = integers[: max(0, self._plan.lanes - first)]
        if inside.size:
            self._extremes[0] = max(self._extremes[0], inside.max())
            self._extremes[1] = min(self._extremes[1], inside.min())
        self._canaries = np.concatenate([self._canaries, integers[inside.size :]])
