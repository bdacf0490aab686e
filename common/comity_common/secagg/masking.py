"""Masks: what hides a vector before it leaves, and what is taken off the sum.

A masked vector is q, d + 4 lanes of 32 bits, followed by z, lanes of 64 bits. The last four lanes
of q and the only lane of z are canaries: every institution puts 1 there, so after unmasking each
must equal the number of survivors, or some mask is still on.

Each seed gives one stream per section, under a key of its own: with a shared key, a lane of z that
is known would expose lanes of q. Institution i adds the stream of a pair for every j above it and
subtracts it for every j below (Bonawitz et al. 2017, §4.0.1), so pairs cancel in the sum.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from comity_common.crypto.derive import digest, expand
from comity_common.crypto.stream import CHUNK_BYTES, Keystream
from comity_common.ids import InstitutionId

CANARIES = 4
SEED_BYTES = 32
Q_DTYPE = np.dtype("<u4")
Z_DTYPE = np.dtype("<u8")


def vector_bytes(lanes: int) -> int:
    """Return the size of a masked vector of `lanes` summed coordinates, in bytes."""
    return (lanes + CANARIES) * Q_DTYPE.itemsize + Z_DTYPE.itemsize


def q_bytes(lanes: int) -> int:
    """Return how many of these bytes are the section q."""
    return (lanes + CANARIES) * Q_DTYPE.itemsize


def with_canaries(quantised: npt.NDArray[np.uint32]) -> bytearray:
    """Lay out a vector, still in the clear: q with its canaries, then z.

    Args:
        quantised: shape (d,), uint32.
    """
    vector = bytearray(vector_bytes(len(quantised)))
    q, z = sections(vector, len(quantised))
    q[: len(quantised)] = quantised
    q[len(quantised) :] = 1
    z[:] = 1
    return vector


def sections(
    vector: bytearray, lanes: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    """View a vector's bytes as q, shape (d + 4,) uint32, and z, shape (1,) uint64."""
    split = q_bytes(lanes)
    return np.frombuffer(vector, Q_DTYPE, offset=0, count=split // 4), np.frombuffer(
        vector, Z_DTYPE, offset=split
    )


def commitment(plan: bytes, seed: bytes) -> bytes:
    """Commit to a seed of 32 random bytes within one plan."""
    return digest("commit", plan, seed)


def pair_seed(round_key: bytes, a: InstitutionId, b: InstitutionId) -> bytes:
    """Derive the seed that a pair shares in one round: the same on both sides."""
    low, high = sorted((a, b))
    return expand(round_key, "pair-mask", low.encode(), high.encode())


class Masks:
    """The masks of one section, added to or taken from a vector that passes by in order.

    Args:
        section: "q" or "z".
        added, subtracted: seeds of 32 bytes.
    """

    def __init__(self, section: str, *, added: Iterable[bytes], subtracted: Iterable[bytes]):
        self._dtype = Q_DTYPE if section == "q" else Z_DTYPE
        self._added = [_stream(seed, section) for seed in added]
        self._subtracted = [_stream(seed, section) for seed in subtracted]
        self._window = np.empty(CHUNK_BYTES // self._dtype.itemsize, dtype=self._dtype)

    def apply(self, lanes: npt.NDArray[np.unsignedinteger]) -> None:
        """Mask the next lanes in place, modulo 2³² or 2⁶⁴."""
        for start in range(0, len(lanes), len(self._window)):
            part = lanes[start : start + len(self._window)]
            mask = self._window[: len(part)]
            for stream in self._added:
                stream.fill(mask)
                np.add(part, mask, out=part)
            for stream in self._subtracted:
                stream.fill(mask)
                np.subtract(part, mask, out=part)


def _stream(seed: bytes, section: str) -> Keystream:
    return Keystream(expand(seed, "ctr", section.encode()))


def mask(
    vector: bytearray,
    lanes: int,
    *,
    me: InstitutionId,
    self_seed: bytes,
    pair_seeds: Sequence[tuple[InstitutionId, bytes]],
) -> None:
    """Mask a laid-out vector in place: y = (q, z) + PRG(b) + Σ_{j>i} PRG(s_ij) − Σ_{j<i} PRG(s_ij).

    Args:
        pair_seeds: every other participant with the seed shared with it.
    """
    added = [self_seed, *(seed for peer, seed in pair_seeds if peer > me)]
    subtracted = [seed for peer, seed in pair_seeds if peer < me]
    q, z = sections(vector, lanes)
    Masks("q", added=added, subtracted=subtracted).apply(q)
    Masks("z", added=added, subtracted=subtracted).apply(z)
