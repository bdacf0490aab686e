"""What a clipped sum needs of the gradients of one physical batch, however they are held.

Two ways give the same sum: `hooks` keeps every record's gradient, which is least work where few
parameters are trained; `bookkeeping` keeps none, which is least where all are.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

Loss = Callable[[torch.nn.Module], torch.Tensor]
"""Runs the trained module and returns the summed loss of the batch's records, a scalar."""


class RecordGradients(Protocol):
    """The gradients of the records of one physical batch at a time."""

    def take(self, loss: Loss, rows: int, records: int) -> torch.Tensor:
        """Run one forward and one backward pass.

        Args:
            loss: of the first `records` rows; must couple none of them.
            rows: of the physical batch, filler rows included.

        Returns:
            each record's 2-norm over all trained parameters: shape (records,), float64.

        Raises:
            LocalError: some trained parameter's gradient is not known for each record.
        """
        ...

    def add(self, factors: torch.Tensor, totals: Sequence[torch.Tensor]) -> None:
        """Add factor × gradient of every record last taken, and forget them.

        Args:
            factors: shape (records,), float64; a record with factor 0 adds nothing, even where its
                gradient is not finite.
            totals: for each trained parameter its part of the sum: shape (size,), float64.
        """
        ...
