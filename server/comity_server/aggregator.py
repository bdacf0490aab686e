"""The sum of the survivors' masked vectors, less what still masks it: a window at a time.

Memory grows neither with the number of institutions nor with the length of a vector. The sum of
the ring is exact, so it does not matter in which order it is taken. Lanes of 24 bits are summed in
words of 32, whose upper bits mean nothing. Two things are checked before anybody is told a sum:

* every canary lane counts the survivors, or some mask is still on;
* no lane is larger than that many vectors of bounded lanes can make it, or no vault would take it.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from comity_common import chunks
from comity_common.fixedpoint import check_sum, signed
from comity_common.secagg.masking import CANARIES, WINDOW_LANES, Z_DTYPE, q_bytes, vector_bytes
from comity_common.secagg.messages import Plan
from comity_common.secagg.packing import LANE_BYTES, LANE_DTYPE, lane_bytes, pack, packed_lanes
from comity_common.secagg.unmasking import Residue, check_canaries
from comity_host.files import written_durably


def write_total(plan: Plan, vectors: Sequence[Path], residue: Residue, total: Path) -> bytes:
    """Add masked vectors, take the residue off and write the sum: q with its canaries, then z.

    Args:
        vectors: one file per survivor.
        total: where the sum is written, whole or not at all, laid out as each of the vectors.

    Returns:
        the root of the sum's chunks, 32 bytes.

    Raises:
        PeerError: a canary or a lane says that this is not the sum of so many vectors.
    """
    with ExitStack() as stack:
        sources = [stack.enter_context(path.open("rb")) for path in vectors]
        file = stack.enter_context(written_durably(total))
        canaries, extremes = _add_lanes(plan, sources, residue, file)
        z = _add_z(plan, sources, residue)
        file.write(z.tobytes())
        file.flush()
        check_canaries(canaries, z, len(vectors))
        check_sum(extremes, len(vectors) * plan.lane_bound)
        return _root(file, vector_bytes(plan.lanes, plan.ring_width))


def _add_lanes(
    plan: Plan, sources: Sequence[BinaryIO], residue: Residue, file: BinaryIO
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
    """Sum section q of all sources into the file; return its canaries, and extreme lanes."""
    masks, width, step = residue.masks("q"), plan.ring_width, lane_bytes(plan.ring_width)
    count = plan.lanes + CANARIES
    raw = memoryview(bytearray(WINDOW_LANES * step + LANE_BYTES - step))
    packed = memoryview(bytearray(WINDOW_LANES * step))
    words = np.empty(WINDOW_LANES, LANE_DTYPE)
    canaries = np.empty(0, np.int32)
    extremes = np.zeros(2, np.int32)
    for start in range(0, count, WINDOW_LANES):
        lanes = words[: min(WINDOW_LANES, count - start)]
        size = lanes.size * step
        addend = packed_lanes(raw[: size + LANE_BYTES - step], width)
        lanes[:] = 0
        for source in sources:
            _fill(source, start * step, raw[:size])
            np.add(lanes, addend, out=lanes)
        masks.apply(lanes)
        pack(lanes, width, packed[:size])
        file.write(packed[:size])
        integers = signed(lanes, width)
        inside = integers[: max(0, plan.lanes - start)]
        if inside.size:
            extremes = np.array([max(extremes[0], inside.max()), min(extremes[1], inside.min())])
        canaries = np.concatenate([canaries, integers[inside.size :]])
    return canaries.view(np.uint32), extremes


def _add_z(plan: Plan, sources: Sequence[BinaryIO], residue: Residue) -> npt.NDArray[np.uint64]:
    """Sum section z of all sources."""
    split = q_bytes(plan.lanes, plan.ring_width)
    raw = bytearray(Z_DTYPE.itemsize)
    z = np.zeros(1, Z_DTYPE)
    for source in sources:
        _fill(source, split, memoryview(raw))
        np.add(z, np.frombuffer(raw, Z_DTYPE), out=z)
    residue.masks("z").apply(z)
    return z


def _root(file: BinaryIO, size: int) -> bytes:
    leaves = []
    for offset in range(0, size, chunks.CHUNK_BYTES):
        chunk = bytearray(min(chunks.CHUNK_BYTES, size - offset))
        _fill(file, offset, memoryview(chunk))
        leaves.append(chunks.leaf(memoryview(chunk)))
    return chunks.root(size, leaves)


def _fill(source: BinaryIO, offset: int, window: memoryview) -> None:
    """Read as many bytes as the window has, less than the 2 GiB that one call may bring.

    Raises:
        OSError: the file is shorter.
    """
    count = os.preadv(source.fileno(), [window], offset)
    if count != len(window):
        raise OSError(f"expected {len(window)} bytes at {offset}, got {count}")
