"""Gaussian noise for a sum of clipped gradients, from the operating system's randomness.

Every vector of noise opens a keystream of its own under a fresh key, which is kept nowhere: no
seed reproduces it, a restarted or forked process cannot repeat it, and a retry draws anew.

53-bit uniforms go through Box–Muller in float64, are added to the float64 sum, and the result is
rounded to a fixed grid: the power of two at or below std × 2⁻²⁰. A float64 sum with float64 noise
has low bits that depend on both in ways the ideal Gaussian has not (Mironov 2012; Haney et al.
2022, "Precision-based attacks and interval refining"). The grid is some 2³⁰ times coarser than
those bits and a millionth of the noise, so it hides them and costs nothing; it depends on
constants of the agreement alone, and rounding is post-processing. This mitigates floating-point
attacks; it is not a theorem about them. Box–Muller of 53-bit uniforms ends at 8.57 standard
deviations.
"""

import math

import numpy as np
import numpy.typing as npt

from comity_common.crypto.stream import Keystream
from comity_common.errors import LocalError

GRID_BITS = 20  # of the standard deviation
CHUNK = 1 << 13  # pairs of normals at a time: 128 KiB of words stay in the second-level cache


class GaussianNoise:
    """A source of noise vectors of one standard deviation.

    Attributes:
        grid: what results are multiples of, a power of two.
        vectors_drawn: how many vectors were drawn, to be compared with the steps reserved.
    """

    def __init__(self, std: float) -> None:
        if not (math.isfinite(std) and std > 0):
            raise LocalError("expected a positive finite standard deviation")
        self._std = std
        self.grid = 2.0 ** (math.floor(math.log2(std)) - GRID_BITS)
        self.vectors_drawn = 0

    def add(self, total: npt.NDArray[np.float64]) -> None:
        """Add one vector of fresh noise in place and round to the grid.

        Args:
            total: shape (d,), float64, contiguous: the clipped sum.
        """
        stream = Keystream.fresh()
        self.vectors_drawn += 1
        for start in range(0, len(total), 2 * CHUNK):
            window = total[start : start + 2 * CHUNK]
            window += self._std * _normals(stream, len(window))
            np.rint(window / self.grid, out=window)
            window *= self.grid


def _normals(stream: Keystream, count: int) -> npt.NDArray[np.float64]:
    """Draw standard normals, shape (count,), two from each pair of uniforms (Box–Muller 1958)."""
    words = stream.uint64(2 * math.ceil(count / 2)).reshape(2, -1) >> np.uint64(11)
    uniforms = words.astype(np.float64)
    uniforms[0] += 1.0  # (0, 1], for the logarithm
    uniforms *= 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniforms[0]))
    angle = 2.0 * math.pi * uniforms[1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
