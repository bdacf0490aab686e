"""Adam in the vault (Kingma & Ba 2015, algorithm 1), on flat vectors.

It sees only noised gradients, so its moments are post-processing and may be kept from round to
round; without them the first steps of every round would be blind.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from comity_common.errors import LocalError
from comity_common.vectors import Vector

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8
BLOCK = 1 << 15  # coordinates

MAGIC = b"comity-adam/1\0\0\0"  # 16 bytes
COUNTER_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdamMoments:
    """What Adam remembers between steps.

    Attributes:
        first: m, shape (d,), float32.
        second: v, shape (d,), float32, not negative.
        steps: t, how many gradients went in.
    """

    first: Vector
    second: Vector
    steps: int

    @classmethod
    def zero(cls, size: int) -> Self:
        """Begin: nothing remembered of d = `size` parameters."""
        return cls(first=np.zeros(size, np.float32), second=np.zeros(size, np.float32), steps=0)

    def to_bytes(self) -> bytes:
        """Write as magic, steps and the two vectors, little-endian: 24 + 8 d bytes."""
        head = MAGIC + self.steps.to_bytes(COUNTER_BYTES, "little")
        return head + self.first.astype("<f4").tobytes() + self.second.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes, size: int) -> Self:
        """Read what `to_bytes` wrote for d = `size` parameters.

        Raises:
            LocalError: anything else, a value that is not finite, or a negative second moment.
        """
        start = len(MAGIC) + COUNTER_BYTES
        if len(raw) != start + 8 * size or not raw.startswith(MAGIC):
            raise LocalError(f"expected the stored moments of {size} parameters")
        first, second = np.frombuffer(raw, "<f4", offset=start).astype(np.float32).reshape(2, -1)
        if not np.isfinite(first).all() or not np.isfinite(second).all() or (second < 0).any():
            raise LocalError("expected finite moments, the second not negative")
        steps = int.from_bytes(raw[len(MAGIC) : start], "little")
        return cls(first=first, second=second, steps=steps)

    def step(
        self, parameters: Vector, gradient: npt.NDArray[np.floating], learning_rate: float
    ) -> tuple[Vector, Self]:
        """Take one step.

        Args:
            parameters: shape (d,), float32; left as it is.
            gradient: shape (d,), the noised mean.

        Returns:
            the new parameters and the moments after the step.
        """
        moved, moments = parameters.copy(), self.copy()
        return moved, moments.advance(moved, gradient, learning_rate)

    def copy(self) -> Self:
        """Copy the vectors, which `advance` then may change."""
        return type(self)(first=self.first.copy(), second=self.second.copy(), steps=self.steps)

    def advance(
        self, parameters: Vector, gradient: npt.NDArray[np.floating], learning_rate: float
    ) -> Self:
        """Take one step in place, in pieces that stay in the cache, and in no further memory.

        Args:
            parameters: as for `step`; changed, and so are the vectors of these moments.

        Returns:
            the moments after the step, in the same vectors.
        """
        steps = self.steps + 1
        rate = np.float32(learning_rate / (1 - BETA_1**steps))
        correction = np.float32(1 - BETA_2**steps)
        for start in range(0, parameters.size, BLOCK):
            piece = slice(start, start + BLOCK)
            first, second = self.first[piece], self.second[piece]
            g = gradient[piece].astype(np.float32)
            first *= np.float32(BETA_1)
            first += np.float32(1 - BETA_1) * g
            second *= np.float32(BETA_2)
            second += np.float32(1 - BETA_2) * g * g
            root = np.sqrt(second / correction) + np.float32(EPSILON)
            parameters[piece] -= rate * first / root
        return type(self)(first=self.first, second=self.second, steps=steps)
