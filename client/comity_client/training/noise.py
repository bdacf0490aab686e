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
deviations. Logarithms, sines and cosines are PyTorch's, which takes several at a time.
"""

import math

import numpy as np
import numpy.typing as npt
import torch

from comity_common.crypto.stream import Keystream
from comity_common.errors import LocalError

GRID_BITS = 20  # of the standard deviation
CHUNK = 1 << 15  # pairs of normals at a time: fewer, and calls outweigh their work
UNIFORM = 2.0**-53  # the unit of a uniform


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
            normals = _normals(stream, len(window))
            normals *= self._std
            window += normals
            window *= 1 / self.grid  # exact, as every product with a power of two is
            np.rint(window, out=window)
            window *= self.grid


def _normals(stream: Keystream, count: int) -> npt.NDArray[np.float64]:
    """Draw standard normals, shape (count,), two from each pair of uniforms (Box–Muller 1958)."""
    pairs = math.ceil(count / 2)
    words = stream.uint64(2 * pairs)
    words >>= np.uint64(11)
    whole = words.view(np.int64)  # the same below 2⁵³, and signed ones are converted faster
    radius, angle = torch.from_numpy(whole.astype(np.float64)).view(2, pairs)
    radius += 1.0  # (0, 1] of uniforms, for the logarithm
    radius.mul_(UNIFORM).log_().mul_(-2.0).sqrt_()
    angle.mul_(2.0 * math.pi * UNIFORM)
    normals = torch.empty(2, pairs, dtype=torch.float64)
    torch.cos(angle, out=normals[0])
    torch.sin(angle, out=normals[1])
    normals *= radius
    return normals.numpy().reshape(-1)[:count]
