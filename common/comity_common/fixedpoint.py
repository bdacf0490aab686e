"""Between float deltas and the ring of integers modulo 2**w in which masks cancel.

A sum in the ring is exact and does not depend on its order, so everyone who adds the same lanes
holds the same sum. Two rules make it mean what was meant:

* One lane is at most L = ⌊(2**(w−1) − 1)/n⌋ in size, for n participants: no sum of any of them
  wraps, whatever they hold. A coordinate beyond the agreement's range R saturates.
* The error of rounding has mean zero (stochastic rounding, dither from a keystream), so it
  averages out over institutions and rounds instead of adding up.

How many coordinates saturated is a function of rows and is told to nobody.
"""

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from comity_common.crypto.stream import Keystream
from comity_common.errors import LocalError, PeerError
from comity_common.vectors import Vector

Lanes = npt.NDArray[np.uint32]

RING_WIDTHS = (24, 32)  # w: bits of a lane; 24 saves a quarter of the wire
MIN_LANE_BOUND = 1 << 15  # a lane keeps 15 bits and a sign, however many take part
MIN_STEP_LANES = 16  # one step of training in lane units: rounding adds at most 1/32 of a step
CHUNK_VALUES = 32 << 10  # more spill the cache, with fewer numpy's calls outweigh their work
WINDOW_VALUES = 4 * CHUNK_VALUES  # what travels as one piece from delta to upload
DITHER_STEPS = 2.0**32  # of one lane unit


def lane_bound(width: int, participants: int) -> int:
    """Compute L, the largest size of one institution's lane.

    Args:
        width: w, bits of a lane; 24 or 32.
        participants: n = |U| of the plan, all of whom may survive.

    Returns:
        ⌊(2**(w−1) − 1)/n⌋, at least 2**15.

    Raises:
        LocalError: another width, no participants, or so many that a lane has fewer than 15 bits.
    """
    if width not in RING_WIDTHS:
        raise LocalError(f"expected ring width {' or '.join(map(str, RING_WIDTHS))}, got {width}")
    most = int((2 ** (width - 1) - 1) // MIN_LANE_BOUND)
    if not 1 <= participants <= most:
        raise LocalError(f"expected 1 to {most} participants, got {participants}")
    return int((2 ** (width - 1) - 1) // participants)


def scale(range: Decimal, lane_bound: int) -> float:
    """Compute (L − 1)/R: how many lane units a coordinate of size 1 has.

    Raises:
        LocalError: a range that is not positive, or a bound that leaves no room.
    """
    if range <= 0 or lane_bound < 2:
        raise LocalError("expected a positive range and a lane bound of at least 2")
    return (lane_bound - 1) / float(range)


def largest_range(width: int, participants: int, step: Decimal) -> Decimal:
    """Compute the largest R at which a step of training is still 16 lane units.

    Rounding moves a coordinate by at most one lane unit, R/(L − 1), with a standard deviation of
    half of one at most. At a larger R that is no longer small against what a step teaches.

    Args:
        participants: of the whole roster; fewer have finer lanes.
        step: how far one step of training moves a coordinate, above 0: Adam's learning rate.

    Raises:
        LocalError: no ring is that wide.
    """
    return step * (lane_bound(width, participants) - 1) / MIN_STEP_LANES


def quantise(delta: Vector, range: Decimal, lane_bound: int, keystream: Keystream) -> Lanes:
    """Encode a delta for the masked sum, rounding at random to one of the two nearest lanes.

    Args:
        delta: shape (d,), float32, finite; coordinates beyond ±range saturate.
        range: R, the agreement's largest size of a coordinate.
        lane_bound: L of this round.
        keystream: fresh, for the dither alone; 4 bytes a coordinate are used.

    Returns:
        shape (d,), uint32: two's complement integers of at most L − 1 in size, in 32 bits
        whatever the ring's width. Their mean over the dither is delta × scale to within 2**-32 of
        a lane unit.

    Raises:
        LocalError: `delta` is not a finite float32 vector.
    """
    lanes = np.empty(delta.size, dtype=np.uint32)
    windows = quantised(delta, range, lane_bound, keystream)
    for part, window in zip(_parts(delta.size, WINDOW_VALUES), windows, strict=True):
        lanes[part] = window
    return lanes


def quantised(
    delta: Vector, range: Decimal, lane_bound: int, keystream: Keystream
) -> Iterator[Lanes]:
    """Encode a delta as `quantise` does, window by window, so that it is never whole in lanes.

    Yields:
        the lanes in order; each window is there until the next.

    Raises:
        LocalError: `delta` is not a finite float32 vector.
    """
    if delta.ndim != 1 or delta.dtype != np.float32:
        raise LocalError(f"expected a float32 vector, got {delta.dtype}{list(delta.shape)}")
    rounding = _Rounding(scale(range, lane_bound), lane_bound - 1, keystream)
    lanes = np.empty(min(delta.size, WINDOW_VALUES), dtype=np.uint32)
    for part in _parts(delta.size, WINDOW_VALUES):
        window = delta[part]
        written = lanes[: window.size]
        for chunk in _parts(window.size, CHUNK_VALUES):
            rounding.write(window[chunk], written[chunk].view(np.int32))
        yield written


def decode_sum(total: Lanes, survivors: int, range: Decimal, lane_bound: int, width: int) -> Vector:
    """Decode the sum of the survivors' lanes to their mean delta, alike on every machine.

    Args:
        total: shape (d,), uint32, the unmasked sum; only the low w bits of a lane count.
        survivors: |S|, at least 1.
        range: R.
        lane_bound: L of this round.
        width: w.

    Returns:
        shape (d,), float32: total / (|S| × scale), divided in float64 and rounded once more.

    Raises:
        PeerError: a coordinate is larger than |S| institutions can make it.
    """
    if total.ndim != 1 or total.dtype != np.uint32:
        raise LocalError(f"expected a uint32 vector, got {total.dtype}{list(total.shape)}")
    most = survivors * lane_bound
    if survivors < 1 or most >= 1 << (width - 1):
        raise LocalError(f"expected at least 1 survivor and a sum in the ring, got {survivors}")
    unit = np.float64(scale(range, lane_bound) * survivors)
    mean = np.empty(total.size, dtype=np.float32)
    for part in _parts(total.size, CHUNK_VALUES):
        integers = signed(total[part], width)
        check_sum(integers, most)
        mean[part] = np.divide(integers, unit, dtype=np.float64)
    return mean


def signed(lanes: Lanes, width: int) -> npt.NDArray[np.int32]:
    """Read the low w bits of each lane as a two's complement integer.

    Args:
        lanes: uint32, of any shape.

    Returns:
        int32, from −2**(w−1) to 2**(w−1) − 1.
    """
    integers: npt.NDArray[np.int32] = lanes.view(np.int32)
    above = 32 - width
    return integers if above == 0 else (integers << above) >> above


def check_sum(integers: npt.NDArray[np.int32], most: int) -> None:
    """Check that a sum is not larger than its survivors can make it.

    Args:
        most: |S| × L.

    Raises:
        PeerError: a coordinate is.
    """
    if integers.size and (int(integers.max()) > most or int(integers.min()) < -most):
        raise PeerError(f"expected a sum of at most {most} in size in each coordinate")


class _Rounding:
    """Rounds up with the probability of the fraction, which is exact, unlike x + dither.

    Its buffers are used again for every chunk, for pages fresh from the system take time too.
    """

    __slots__ = ("_dither", "_exact", "_factor", "_floor", "_keystream", "_limit", "_up")

    def __init__(self, factor: float, limit: int, keystream: Keystream) -> None:
        self._factor, self._limit = np.float64(factor), np.float64(limit)
        self._exact = np.empty(CHUNK_VALUES, dtype=np.float64)
        self._floor = np.empty(CHUNK_VALUES, dtype=np.float64)
        self._dither = np.empty(CHUNK_VALUES, dtype="<u4")
        self._up = np.empty(CHUNK_VALUES, dtype=np.bool_)
        self._keystream = keystream

    def write(self, chunk: Vector, lanes: npt.NDArray[np.int32]) -> None:
        """Scale, cut and round a chunk.

        Raises:
            LocalError: a value is not finite.
        """
        size = chunk.size
        if not (np.isfinite(chunk.min()) and np.isfinite(chunk.max())):  # either is NaN if one is
            raise LocalError("expected a finite delta")
        exact, floor = self._exact[:size], self._floor[:size]
        dither, up = self._dither[:size], self._up[:size]
        self._keystream.fill(dither)
        np.multiply(chunk, self._factor, out=exact, dtype=np.float64)
        np.clip(exact, -self._limit, self._limit, out=exact)
        np.floor(exact, out=floor)
        np.subtract(exact, floor, out=exact)
        np.multiply(exact, DITHER_STEPS, out=exact)
        np.less(dither, exact, out=up)
        np.copyto(lanes, floor, casting="unsafe")
        np.add(lanes, up, out=lanes)


def _parts(size: int, values: int) -> Iterator[slice]:
    for start in range(0, size, values):
        yield slice(start, start + values)
