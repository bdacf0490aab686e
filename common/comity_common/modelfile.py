"""A model state as bytes: what vaults and the operator keep on disk, in one form."""

import numpy as np

from comity_common.errors import LocalError
from comity_common.optimizer import ModelState

MAGIC = b"comity-state/1\0\0"  # 16 bytes
_HEAD = len(MAGIC) + 8 + 8 + 8


def write_state(state: ModelState) -> bytes:
    """Write magic, round, size, whether there is momentum, then the float32 vectors."""
    vectors = [state.parameters] if state.momentum is None else [state.parameters, state.momentum]
    counters = (state.round, state.parameters.size, len(vectors))
    head = MAGIC + b"".join(counter.to_bytes(8, "little") for counter in counters)
    return head + b"".join(vector.astype("<f4").tobytes() for vector in vectors)


def read_state(raw: bytes) -> ModelState:
    """Read what `write_state` wrote.

    Raises:
        LocalError: anything else.
    """
    round, size, vectors = (
        int.from_bytes(raw[start : start + 8], "little") for start in (16, 24, 32)
    )
    if not raw.startswith(MAGIC) or vectors not in (1, 2) or len(raw) != _HEAD + 4 * size * vectors:
        raise LocalError("expected a stored model state")
    values = np.frombuffer(raw, "<f4", offset=_HEAD).astype(np.float32).reshape(vectors, size)
    return ModelState(
        parameters=values[0], momentum=values[1] if vectors == 2 else None, round=round
    )
