"""A vector laid out and masked as a whole: the plain way, by which the way in windows is tested."""

from collections.abc import Sequence

import numpy as np

from comity_common.fixedpoint import Lanes
from comity_common.ids import InstitutionId
from comity_common.secagg.masking import CANARIES, Masks, sections, vector_bytes
from comity_common.secagg.packing import lane_bytes


def with_canaries(quantised: Lanes, width: int = 32) -> bytearray:
    """Lay out a vector in the clear: q, its canaries, then z.

    Args:
        quantised: shape (d,), uint32.
    """
    lanes = [*quantised.tolist(), *[1] * CANARIES]
    step = lane_bytes(width)
    cut = (1 << width) - 1
    raw = b"".join((lane & cut).to_bytes(step, "little") for lane in lanes)
    vector = bytearray(raw + (1).to_bytes(8, "little"))
    assert len(vector) == vector_bytes(len(quantised), width)
    return vector


def mask(
    vector: bytearray,
    lanes: int,
    *,
    me: InstitutionId,
    self_seed: bytes,
    pair_seeds: Sequence[tuple[InstitutionId, bytes]],
) -> None:
    """Mask a laid-out vector of 32-bit lanes in place."""
    added = [self_seed, *(seed for peer, seed in pair_seeds if peer > me)]
    subtracted = [seed for peer, seed in pair_seeds if peer < me]
    for name, part in zip("qz", sections(vector, lanes, 32), strict=True):
        Masks(name, added=added, subtracted=subtracted).apply(np.asarray(part))
