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

RING_WIDTH = 32  # w: bits of a lane
CHUNK_VALUES = 16 << 10  # the scratch of one chunk stays in the second-level cache
DITHER_STEPS = 2.0**32  # of one lane unit


def lane_bound(width: int, participants: int) -> int:
    """Compute L, the largest size of one institution's lane.

    Args:
        width: w, bits of a lane; 32.
        participants: n = |U| of the plan, all of whom may survive.

    Raises:
        LocalError: another width, or no participants.
    """
    if width != RING_WIDTH:
        raise LocalError(f"expected ring width {RING_WIDTH}, got {width}")
    if not 1 <= participants < 1 << 16:
        raise LocalError(f"expected 1 to 65535 participants, got {participants}")
    return int((2 ** (width - 1) - 1) // participants)


def scale(range: Decimal, lane_bound: int) -> float:
    """Compute (L − 1)/R: how many lane units a coordinate of size 1 has.

    Raises:
        LocalError: a range that is not positive, or a bound that leaves no room.
    """
    if range <= 0 or lane_bound < 2:
        raise LocalError("expected a positive range and a lane bound of at least 2")
    return (lane_bound - 1) / float(range)


def quantise(delta: Vector, range: Decimal, lane_bound: int, keystream: Keystream) -> Lanes:
    """Encode a delta for the masked sum, rounding at random to one of the two nearest lanes.

    Args:
        delta: shape (d,), float32, finite; coordinates beyond ±range saturate.
        range: R, the agreement's largest size of a coordinate.
        lane_bound: L of this round.
        keystream: fresh, for the dither alone; 4 bytes a coordinate are used.

    Returns:
        shape (d,), uint32: two's complement integers of at most L − 1 in size. Their mean over
        the dither is delta × scale to within 2**-32 of a lane unit.

    Raises:
        LocalError: `delta` is not a finite float32 vector.
    """
    if delta.ndim != 1 or delta.dtype != np.float32:
        raise LocalError(f"expected a float32 vector, got {delta.dtype}{list(delta.shape)}")
    factor = np.float64(scale(range, lane_bound))
    limit = np.float64(lane_bound - 1)
    lanes = np.empty(delta.size, dtype=np.uint32)
    for part in _chunks(delta.size):
        exact = np.multiply(delta[part], factor, dtype=np.float64)
        if not np.isfinite(exact).all():
            raise LocalError("expected a finite delta")
        np.clip(exact, -limit, limit, out=exact)
        lanes[part] = _round_at_random(exact, keystream).astype(np.int32).view(np.uint32)
    return lanes


def decode_sum(total: Lanes, survivors: int, range: Decimal, lane_bound: int) -> Vector:
    """Decode the sum of the survivors' lanes to their mean delta, alike on every machine.

    Args:
        total: shape (d,), uint32, the unmasked sum.
        survivors: |S|, at least 1.
        range: R.
        lane_bound: L of this round.

    Returns:
        shape (d,), float32: total / (|S| × scale), divided in float64 and rounded once more.

    Raises:
        PeerError: a coordinate is larger than |S| institutions can make it.
    """
    if total.ndim != 1 or total.dtype != np.uint32:
        raise LocalError(f"expected a uint32 vector, got {total.dtype}{list(total.shape)}")
    if survivors < 1 or survivors * lane_bound >= 1 << (RING_WIDTH - 1):
        raise LocalError(f"expected at least 1 survivor and a sum in the ring, got {survivors}")
    signed = total.view(np.int32)
    most = survivors * lane_bound
    if total.size and (int(signed.max()) > most or int(signed.min()) < -most):
        raise PeerError(f"expected a sum of at most {most} in size in each coordinate")
    unit = np.float64(scale(range, lane_bound) * survivors)
    mean = np.empty(total.size, dtype=np.float32)
    for part in _chunks(total.size):
        mean[part] = np.divide(signed[part], unit, dtype=np.float64)
    return mean


def _round_at_random(
    exact: npt.NDArray[np.float64], keystream: Keystream
) -> npt.NDArray[np.float64]:
    """Round up with the probability of the fraction; the fraction is exact, unlike x + dither."""
    dither = np.empty(exact.size, dtype="<u4")
    keystream.fill(dither)
    floor = np.floor(exact)
    fraction = np.subtract(exact, floor, out=exact)
    floor += dither < np.multiply(fraction, DITHER_STEPS, out=fraction)
    return floor


def _chunks(size: int) -> Iterator[slice]:
    start = 0
    while start < size:
        yield slice(start, start + CHUNK_VALUES)
        start += CHUNK_VALUES
