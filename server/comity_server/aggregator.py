"""The sum of the survivors' masked vectors, less what still masks it: 1 MiB at a time.

Memory grows neither with the number of institutions nor with the length of a vector. The sum of
the ring is exact, so it does not matter in which order it is taken. Two things are checked before
anybody is told a sum:

* every canary lane counts the survivors, or some mask is still on;
* no lane is larger than that many vectors of bounded lanes can make it, or no vault would take it.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from comity_common import chunks
from comity_common.errors import PeerError
from comity_common.secagg.masking import CANARIES, Q_DTYPE, Z_DTYPE, Masks, q_bytes, vector_bytes
from comity_common.secagg.messages import Plan
from comity_common.secagg.unmasking import Residue, check_canaries
from comity_host.files import written_durably

WINDOW_BYTES = chunks.CHUNK_BYTES  # a whole number of lanes of both kinds


def write_total(plan: Plan, vectors: Sequence[Path], residue: Residue, total: Path) -> bytes:
    """Add masked vectors, take the residue off and write the sum: q with its canaries, then z.

    Args:
        vectors: one file per survivor.
        total: where the sum is written, whole or not at all.

    Returns:
        the root of the sum's chunks, 32 bytes.

    Raises:
        PeerError: a canary or a lane says that this is not the sum of so many vectors.
    """
    split = q_bytes(plan.lanes)
    size = vector_bytes(plan.lanes)
    with ExitStack() as stack:
        sources = [stack.enter_context(path.open("rb")) for path in vectors]
        file = stack.enter_context(written_durably(total))
        q_tail = _add_section(sources, file, Q_DTYPE, 0, split, residue.masks("q"))
        z = _add_section(sources, file, Z_DTYPE, split, size, residue.masks("z"))
        check_canaries(q_tail[-CANARIES:].view(np.uint32), z.view(np.uint64), len(vectors))
        _check_lanes(file, plan, len(vectors))
        return _root(file, size)


def _add_section(
    sources: Sequence[BinaryIO],
    file: BinaryIO,
    dtype: np.dtype[np.unsignedinteger],
    start: int,
    end: int,
    masks: Masks,
) -> npt.NDArray[np.unsignedinteger]:
    """Sum one section of all sources into the file; return its last lanes, canaries included."""
    last = np.empty(0, dtype)
    for offset in range(start, end, WINDOW_BYTES):
        length = min(WINDOW_BYTES, end - offset)
        lanes = np.zeros(length // dtype.itemsize, dtype)
        for source in sources:
            np.add(lanes, np.frombuffer(_read(source, offset, length), dtype), out=lanes)
        masks.apply(lanes)
        file.write(lanes.data)
        last = np.concatenate([last[-CANARIES:], lanes[-CANARIES:]])
    return last


def _check_lanes(file: BinaryIO, plan: Plan, survivors: int) -> None:
    most = survivors * plan.lane_bound
    end = plan.lanes * Q_DTYPE.itemsize
    for offset in range(0, end, WINDOW_BYTES):
        raw = _read(file, offset, min(WINDOW_BYTES, end - offset))
        lanes = np.frombuffer(raw, Q_DTYPE).view("<i4")
        if int(lanes.max()) > most or int(lanes.min()) < -most:
            raise PeerError(f"expected a sum of at most {most} in size in each coordinate")


def _root(file: BinaryIO, size: int) -> bytes:
    leaves = [
        chunks.leaf(_read(file, offset, min(chunks.CHUNK_BYTES, size - offset)))
        for offset in range(0, size, chunks.CHUNK_BYTES)
    ]
    return chunks.root(size, leaves)


def _read(source: BinaryIO, offset: int, length: int) -> bytes:
    source.seek(offset)
    data = source.read(length)
    if len(data) != length:
        raise OSError(f"expected {length} bytes at {offset}, got {len(data)}")
    return data
