"""A model state as bytes: what vaults and the operator keep on disk, in one form."""

from dataclasses import dataclass

import numpy as np

from comity_common.errors import LocalError
from comity_common.optimizer import ModelState

MAGIC = b"comity-state/1\0\0"  # 16 bytes
HEAD_BYTES = len(MAGIC) + 8 + 8 + 8
_MAX_COUNTER = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class StateHead:
    """What stands before the vectors.

    Attributes:
        round: how many certified sums went into the state.
        size: d, coordinates of each vector.
        vectors: 2 with momentum, else 1.
    """

    round: int
    size: int
    vectors: int

    @property
    def file_bytes(self) -> int:
        """The size of the whole file."""
        return HEAD_BYTES + 4 * self.size * self.vectors


def write_state(state: ModelState) -> bytes:
    """Write magic, round, size, whether there is momentum, then the float32 vectors."""
    vectors = [state.parameters] if state.momentum is None else [state.parameters, state.momentum]
    counters = (state.round, state.parameters.size, len(vectors))
    head = MAGIC + b"".join(counter.to_bytes(8, "little") for counter in counters)
    return head + b"".join(vector.astype("<f4").tobytes() for vector in vectors)


def read_head(raw: bytes) -> StateHead:
    """Read the first `HEAD_BYTES` of a state.

    Raises:
        LocalError: they are of something else.
    """
    round, size, vectors = (
        int.from_bytes(raw[start : start + 8], "little") for start in (16, 24, 32)
    )
    if not raw.startswith(MAGIC) or len(raw) < HEAD_BYTES or vectors not in (1, 2):
        raise LocalError("expected a stored model state")
    if max(round, size) >= _MAX_COUNTER:
        raise LocalError("expected a stored model state of a size that can be")
    return StateHead(round=round, size=size, vectors=vectors)


def read_state(raw: bytes) -> ModelState:
    """Read what `write_state` wrote.

    Raises:
        LocalError: anything else.
    """
    head = read_head(raw)
    if len(raw) != head.file_bytes:
        raise LocalError("expected a stored model state")
    values = np.frombuffer(raw, "<f4", offset=HEAD_BYTES).astype(np.float32)
    values = values.reshape(head.vectors, head.size)
    return ModelState(
        parameters=values[0],
        momentum=values[1] if head.vectors == 2 else None,
        round=head.round,
    )
