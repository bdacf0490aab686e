"""Lanes of w bits as they lie on the wire: w/8 bytes each, the lowest first, nothing between them.

Masks are streams of 32-bit lanes for every w. A lane is cut to its low w bits when it is packed:
that is a homomorphism from the ring modulo 2**32 to the ring modulo 2**w, so sums and masks may be
taken before or after it.
"""

import numpy as np
import numpy.typing as npt

from comity_common.errors import LocalError
from comity_common.fixedpoint import RING_WIDTHS, Lanes

LANE_BYTES = 4  # of a lane in memory
LANE_DTYPE = np.dtype("<u4")


def lane_bytes(width: int) -> int:
    """Return how many bytes a lane takes on the wire.

    Raises:
        LocalError: another width than 24 or 32.
    """
    if width not in RING_WIDTHS:
        raise LocalError(f"expected ring width {' or '.join(map(str, RING_WIDTHS))}, got {width}")
    return width // 8


def pack(lanes: Lanes, width: int, into: memoryview) -> None:
    """Write the low w bits of each lane.

    Args:
        lanes: shape (k,), uint32.
        into: k · w/8 writable bytes.
    """
    packed = np.frombuffer(into, np.uint8)
    apart = lanes.astype(LANE_DTYPE, copy=False).view(np.uint8)
    step = lane_bytes(width)
    if step == LANE_BYTES:
        packed[:] = apart
        return
    for byte in range(step):  # twice as fast as one copy of shape (k, 3)
        packed[byte::step] = apart[byte::LANE_BYTES]


def packed_view(lanes: Lanes, width: int, space: memoryview) -> memoryview:
    """Return lanes as they lie on the wire: for w = 32 a view of them, else packed into a space.

    Args:
        lanes: shape (k,), uint32, contiguous.
        space: at least k · w/8 writable bytes.
    """
    if lane_bytes(width) == LANE_BYTES:
        return lanes.astype(LANE_DTYPE, copy=False).view(np.uint8).data
    packed = space[: len(lanes) * lane_bytes(width)]
    pack(lanes, width, packed)
    return packed


def packed_lanes(raw: bytes | bytearray | memoryview, width: int) -> npt.NDArray[np.uint32]:
    """View packed lanes as 32-bit words whose low w bits are the lanes.

    Args:
        raw: k · w/8 bytes and, for w < 32, at least one byte more, which belongs to no lane.

    Returns:
        shape (k,), uint32; above the low w bits lies what follows in `raw`.
    """
    step = lane_bytes(width)
    behind = LANE_BYTES - step
    count = (len(raw) - behind) // step
    return np.ndarray((count,), LANE_DTYPE, buffer=raw, strides=(step,))


def unpack(raw: bytes | bytearray | memoryview, width: int) -> Lanes:
    """Read packed lanes.

    Args:
        raw: k · w/8 bytes.

    Returns:
        shape (k,), uint32, below 2**w; for w = 32 a view of `raw`.
    """
    if lane_bytes(width) == LANE_BYTES:
        return packed_lanes(raw, width)
    lanes: Lanes = packed_lanes(b"".join((raw, bytes(1))), width) & np.uint32((1 << width) - 1)
    return lanes
