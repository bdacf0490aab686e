"""Whole vectors: laid out and masked in the plain way, and what comes in pieces put together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from comity_common.fixedpoint import Lanes
from comity_common.ids import InstitutionId
from comity_common.secagg import participant
from comity_common.secagg.masking import CANARIES, Masks, masked_windows, sections, vector_bytes
from comity_common.secagg.messages import Plan
from comity_common.secagg.packing import lane_bytes
from comity_common.secagg.participant import Dealt


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


def masked_vector(
    windows: Iterable[Lanes],
    lanes: int,
    width: int,
    *,
    me: InstitutionId,
    self_seed: bytes,
    pair_seeds: Sequence[tuple[InstitutionId, bytes]],
) -> bytearray:
    """Put the pieces of a masked vector together."""
    pieces = masked_windows(
        windows, lanes, width, me=me, self_seed=self_seed, pair_seeds=pair_seeds
    )
    vector = bytearray()
    for piece in pieces:
        vector += piece
    return vector


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Whole(Dealt):
    """What was dealt, with the vector that was written."""

    vector: bytearray


def deal(
    plan: Plan, me: InstitutionId, round_keys: Mapping[InstitutionId, bytes], quantised: Lanes
) -> Whole:
    """Mask a vector that is there as a whole."""
    vector = bytearray()
    dealt = participant.deal(plan, me, round_keys, [quantised], vector.extend)
    return Whole(vector=vector, **{name: getattr(dealt, name) for name in Dealt.__slots__})
