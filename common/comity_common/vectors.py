"""A model's trained arrays as one flat vector, always in the same order.

Between training and the next model everything is a vector of float32: deltas are quantised and
masked by coordinate, sums are added by coordinate, digests are taken over all coordinates. A
`Layout` is the only thing that knows which coordinate belongs to which array, and it is fixed by
the model, so that all institutions mean the same coordinate by the same index.

>>> layout = Layout((("bias", (2,)), ("weight", (2, 3))))
>>> layout.size
8
>>> sorted(layout.unflatten(np.arange(8, dtype=np.float32)))
['bias', 'weight']
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comity_common.crypto.derive import digest
from comity_common.errors import LocalError

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which arrays a vector consists of, in order.

    Attributes:
        shapes: name and shape of each array; each name once, no empty array.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.shapes]
        if not names or len(set(names)) != len(names):
            raise LocalError("expected at least one array and each name once")
        if any(extent < 1 for _, shape in self.shapes for extent in shape):
            raise LocalError("expected no empty array")

    @property
    def size(self) -> int:
        """d, the number of coordinates."""
        return sum(math.prod(shape) for _, shape in self.shapes)

    def flatten(self, arrays: Mapping[str, Vector]) -> Vector:
        """Copy the arrays into one vector.

        Args:
            arrays: exactly the arrays of the layout, float32, finite, in any order.

        Returns:
            shape (d,), float32.

        Raises:
            LocalError: an array is missing, too many, of another shape or dtype, or not finite.
        """
        if arrays.keys() != {name for name, _ in self.shapes}:
            raise LocalError(f"expected the {len(self.shapes)} arrays of the layout by name")
        for name, shape in self.shapes:
            _check_array(name, shape, arrays[name])
        return np.concatenate([arrays[name].reshape(-1) for name, _ in self.shapes])

    def unflatten(self, flat: Vector) -> dict[str, Vector]:
        """Cut a vector into its arrays.

        Args:
            flat: shape (d,), float32.

        Returns:
            Views into `flat`, in the order of the layout.

        Raises:
            LocalError: another shape or dtype.
        """
        if flat.shape != (self.size,) or flat.dtype != np.float32:
            raise LocalError(f"expected float32[{self.size}], got {_kind(flat)}")
        arrays = {}
        start = 0
        for name, shape in self.shapes:
            end = start + math.prod(shape)
            arrays[name] = flat[start:end].reshape(shape)
            start = end
        return arrays


def vector_digest(vector: Vector) -> bytes:
    """Hash a vector as little-endian IEEE 754 singles: two zeros of unlike sign differ.

    Args:
        vector: shape (d,), float32.

    Returns:
        32 bytes.

    Raises:
        LocalError: another number of dimensions or dtype.
    """
    if vector.ndim != 1 or vector.dtype != np.float32:
        raise LocalError(f"expected a float32 vector, got {_kind(vector)}")
    return digest("vector", vector.astype("<f4", copy=False).tobytes())


def _check_array(name: str, shape: tuple[int, ...], array: Vector) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise LocalError(f"expected {name} to be float32{list(shape)}, got {_kind(array)}")
    if not np.isfinite(array).all():
        raise LocalError(f"expected {name} to be finite")


def _kind(array: npt.NDArray[np.generic]) -> str:
    return f"{array.dtype}{list(array.shape)}"
