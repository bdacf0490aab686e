"""The clipped sum over persons: all gradients of a person's rows added, then held to norm C.

Clipping rows and adding them would let a person with k rows move the sum by k·C. So the whole
gradient of each person is put together before anything is clipped, wherever its rows fall:

* persons are taken some at a time, so many as their gradients fit the memory for them, and never in
  part: whoever is in a group is in it with every row;
* a group's rows run in physical batches of fixed shape like any others; each row's gradient is
  added, in float64 and in the order of the batches, to that of its person and to no other. That
  order is by length and then by place, whoever else is there, so a person's gradient is bit for
  bit the same in any company;
* a person with a gradient that is not finite counts as zero, the others as usual;
* a person with one row is a record, and goes the way of records.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from comity_client.model.examples import Examples, Indices
from comity_client.training.step import ClippedSum
from comity_client.training.units import Units

GROUP_BYTES = 1 << 28  # of float64 gradients that are put together at a time
LEAST_GROUP = 4  # persons; with 100 M parameters 3.2 GB, half of what a batch's gradients take


def sum_over_units(
    clipped_sum: ClippedSum,
    examples: Examples,
    targets: torch.Tensor,
    units: Units,
    drawn: Indices,
) -> npt.NDArray[np.float64]:
    """Sum the clipped gradients of the units that were drawn.

    Args:
        targets: of every example, as for `ClippedSum`.
        drawn: places of units, possibly none.

    Returns:
        shape (d,), float64, in the order of the classifier's layout.
    """
    if units.are_records:
        return clipped_sum(examples, targets, drawn)
    rows = [units.rows_of(unit) for unit in drawn.tolist()]
    single = [places for places in rows if len(places) == 1]
    several = [places for places in rows if len(places) > 1]
    alone = np.concatenate([np.empty(0, np.int64), *single])
    total = clipped_sum(examples, targets, alone)
    for group in _groups(several, total.size):
        total += _sum_of_group(clipped_sum, examples, targets, group)
    return total


def _groups(persons: Sequence[Indices], size: int) -> Iterator[Sequence[Indices]]:
    most = max(LEAST_GROUP, GROUP_BYTES // (8 * size))
    for start in range(0, len(persons), most):
        yield persons[start : start + most]


def _sum_of_group(
    clipped_sum: ClippedSum, examples: Examples, targets: torch.Tensor, group: Sequence[Indices]
) -> npt.NDArray[np.float64]:
    owner = {row: person for person, places in enumerate(group) for row in places.tolist()}
    gradients = clipped_sum.zeros(len(group))
    for batch in examples.batches(np.concatenate(group)):
        owners = [owner[row] for row in batch.records.tolist()]
        clipped_sum.add_each(batch, targets, owners, gradients)
    return clipped_sum.clipped(gradients)
