"""Masks: what hides a vector before it leaves, and what is taken off the sum.

A masked vector is q, d + 4 lanes of w bits (24 or 32), followed by z, lanes of 64 bits. The last
four lanes of q and the only lane of z are canaries: every institution puts 1 there, so after
unmasking each must equal the number of survivors, or some mask is still on.

Each seed gives one stream per section, under a key of its own: with a shared key, a lane of z that
is known would expose lanes of q. Institution i adds the stream of a pair for every j above it and
subtracts it for every j below (Bonawitz et al. 2017, §4.0.1), so pairs cancel in the sum.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from comity_common.crypto.derive import digest, expand
from comity_common.crypto.stream import CHUNK_BYTES, Keystream
from comity_common.errors import LocalError
from comity_common.fixedpoint import Lanes
from comity_common.ids import InstitutionId
from comity_common.secagg.packing import LANE_DTYPE, lane_bytes, packed_view, unpack

CANARIES = 4
SEED_BYTES = 32
Q_DTYPE = LANE_DTYPE  # in memory; on the wire w/8 bytes of it
Z_DTYPE = np.dtype("<u8")
WINDOW_LANES = CHUNK_BYTES // Q_DTYPE.itemsize


def vector_bytes(lanes: int, width: int) -> int:
    """Return the size of a masked vector of `lanes` summed coordinates, in bytes."""
    return q_bytes(lanes, width) + Z_DTYPE.itemsize


def q_bytes(lanes: int, width: int) -> int:
    """Return how many of these bytes are the section q."""
    return (lanes + CANARIES) * lane_bytes(width)


def sections(
    vector: bytes | bytearray | memoryview, lanes: int, width: int
) -> tuple[Lanes, npt.NDArray[np.uint64]]:
    """Read a vector's bytes as q, shape (d + 4,) uint32 below 2**w, and z, shape (1,) uint64.

    Both are views, but for a q of 24 bits, which is unpacked.
    """
    split = q_bytes(lanes, width)
    q = unpack(memoryview(vector)[:split], width)
    return q, np.frombuffer(vector, Z_DTYPE, offset=split)


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

    def __init__(
        self, section: str, *, added: Iterable[bytes] = (), subtracted: Iterable[bytes] = ()
    ) -> None:
        self._dtype = Q_DTYPE if section == "q" else Z_DTYPE
        self._added = [_stream(seed, section) for seed in added]
        self._subtracted = [_stream(seed, section) for seed in subtracted]
        self._window = np.empty(CHUNK_BYTES // self._dtype.itemsize, dtype=self._dtype)

    def apply(
        self,
        lanes: npt.NDArray[np.unsignedinteger],
        into: npt.NDArray[np.unsignedinteger] | None = None,
    ) -> None:
        """Mask the next lanes, modulo 2³² or 2⁶⁴.

        Args:
            into: where they are written, as many; None: in place.
        """
        into = lanes if into is None else into
        for start in range(0, len(lanes), len(self._window)):
            part = lanes[start : start + len(self._window)]
            masked = into[start : start + len(self._window)]
            mask = self._window[: len(part)]
            for stream in self._added:
                stream.fill(mask)
                np.add(part, mask, out=masked)
                part = masked
            for stream in self._subtracted:
                stream.fill(mask)
                np.subtract(part, mask, out=masked)
                part = masked


def _stream(seed: bytes, section: str) -> Keystream:
    return Keystream(expand(seed, "ctr", section.encode()))


def masked_windows(
    windows: Iterable[Lanes],
    lanes: int,
    width: int,
    *,
    me: InstitutionId,
    self_seed: bytes,
    pair_seeds: Sequence[tuple[InstitutionId, bytes]],
) -> Iterator[memoryview]:
    """Mask a vector: y = (q, z) + PRG(b) + Σ_{j>i} PRG(s_ij) − Σ_{j<i} PRG(s_ij).

    One window after the other is masked and packed while it lies in the cache, so that no vector
    is ever whole in memory (Bonawitz et al. 2017, fig. 4 round 2).

    Args:
        windows: the quantised delta in order, uint32, in pieces of any size; they stay as they are.
        lanes: d, how many they are together.
        pair_seeds: every other participant with the seed shared with it.

    Yields:
        the `vector_bytes(lanes, width)` bytes in order; each piece is there until the next.

    Raises:
        LocalError: more or fewer lanes, or others than uint32.
    """
    added = [self_seed, *(seed for peer, seed in pair_seeds if peer > me)]
    subtracted = [seed for peer, seed in pair_seeds if peer < me]
    q_masks = Masks("q", added=added, subtracted=subtracted)
    z_masks = Masks("z", added=added, subtracted=subtracted)
    words = np.empty(WINDOW_LANES, Q_DTYPE)
    packed = memoryview(bytearray(WINDOW_LANES * lane_bytes(width)))
    left = lanes + CANARIES
    for window in _cut(chain(windows, (np.ones(CANARIES, np.uint32),))):
        left -= len(window)
        if window.dtype != np.uint32 or window.ndim != 1 or left < 0:
            raise LocalError(f"expected windows of uint32[{lanes}], got {window.dtype}")
        masked = words[: len(window)]
        q_masks.apply(window, masked)
        yield packed_view(masked, width, packed)
    if left:
        raise LocalError(f"expected {lanes} lanes, got {lanes - left}")
    z = np.ones(1, Z_DTYPE)
    z_masks.apply(z)
    yield memoryview(z.tobytes())


def _cut(windows: Iterable[Lanes]) -> Iterator[Lanes]:
    for window in windows:
        for start in range(0, len(window), WINDOW_LANES):
            yield window[start : start + WINDOW_LANES]
