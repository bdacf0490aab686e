"""What a clipped sum needs of the gradients of one physical batch, however they are held.

Two ways give the same sum: `hooks`, which is Opacus, keeps every record's gradient; `bookkeeping`
keeps none, and is the faster one.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

BLOCK = 1 << 13  # coordinates

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
        """Add factor × gradient of every record last taken; as often as wanted.

        Args:
            factors: shape (records,), float64; a record with factor 0 adds nothing, even where its
                gradient is not finite.
            totals: for each trained parameter its part of the sum: shape (size,), float64.
        """
        ...

    def forget(self) -> None:
        """Let go of what was taken."""
        ...


def norms(samples: Sequence[torch.Tensor]) -> torch.Tensor:
    """Take the 2-norm of gradients that are written out, over all parameters: shape (n,), float64.

    In float64 a sum of squares of float32 cannot overflow: not finite means a NaN or infinity.

    Args:
        samples: for each parameter shape (n, size).
    """
    squares = samples[0].new_zeros(len(samples[0]), dtype=torch.float64)
    for sample in samples:
        for block in _blocks(sample):
            squares += block.double().square().sum(dim=1)
    return squares.sqrt()


def add_scaled(
    samples: Sequence[torch.Tensor], factors: torch.Tensor, totals: Sequence[torch.Tensor]
) -> None:
    """Add Σ factor × gradient of gradients that are written out; see `RecordGradients.add`."""
    kept = factors != 0
    if not kept.all():  # zero times NaN would be NaN
        samples, factors = [sample[kept] for sample in samples], factors[kept]
    for total, sample in zip(totals, samples, strict=True):
        for coordinates, block in zip(_blocks(total), _blocks(sample), strict=True):
            coordinates += factors @ block.double()


def _blocks(array: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cut the last axis so that a float64 copy of a piece stays in the cache."""
    ends = tuple(range(BLOCK, array.shape[-1], BLOCK))
    return torch.tensor_split(array, ends, dim=-1)
