"""The clipped sum of one step: each record's gradient, held to norm C, added up.

This is the whole of DP-SGD's sensitivity (Abadi et al. 2016, algorithm 1): adding or removing one
record moves the sum by at most C, because

* Opacus's hooks give the gradient of each record of the summed loss, and a loss that is a sum over
  records couples none of them;
* each gradient is taken whole, over all trained parameters, its norm in float64, and is clipped
  with a margin of 1e-5 for what float64 still rounds;
* a record whose gradient is not finite counts as zero, the others as usual;
* physical batches have fixed shapes, so a record's gradient is bit for bit the same in any company
  (see `examples`).

Clipping is written out here, instead of Opacus's optimiser, because that one adds in float32, lets
one NaN spread over the sum, and draws its noise from a generator that a seed reproduces.
An empty batch is an ordinary one: its sum is zero, and the noise comes all the same.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from opacus import GradSampleModule

from comity_client.model.classifier import Classifier, logits
from comity_client.model.examples import Batch, Examples, Indices
from comity_common.errors import LocalError

CLIP_MARGIN = 1e-5
BLOCK = 1 << 13  # coordinates


class ClippedSum:
    """Computes clipped sums; made by `clipping`, which also takes the hooks off again."""

    def __init__(self, hooked: GradSampleModule, classifier: Classifier, clip_norm: float) -> None:
        self._hooked = hooked
        self._parameters = list(classifier.trained.values())
        self._sizes = [parameter.numel() for parameter in self._parameters]
        self._clip_norm = clip_norm

    def __call__(
        self, examples: Examples, targets: torch.Tensor, records: Indices
    ) -> npt.NDArray[np.float64]:
        """Sum the clipped gradients of the chosen records at the current parameters.

        Args:
            targets: shape (n,), int64, the class of every example.
            records: which of them make up the logical batch, possibly none.

        Returns:
            shape (d,), float64, in the order of the classifier's layout.
        """
        total = torch.zeros(sum(self._sizes), dtype=torch.float64)
        for batch in examples.batches(records):
            self._add_clipped(total, self.record_gradients(batch, targets))
        return total.numpy()

    def clipped(self, gradients: list[torch.Tensor]) -> npt.NDArray[np.float64]:
        """Sum gradients that are put together already, each held to the clipping norm.

        Args:
            gradients: for each parameter shape (n, size), one row for each unit.
        """
        total = torch.zeros(sum(self._sizes), dtype=torch.float64)
        self._add_clipped(total, gradients)
        return total.numpy()

    def zeros(self, count: int) -> list[torch.Tensor]:
        """Make room for so many units' gradients: for each parameter float64, (count, size)."""
        return [torch.zeros(count, size, dtype=torch.float64) for size in self._sizes]

    def _add_clipped(self, total: torch.Tensor, samples: list[torch.Tensor]) -> None:
        norms = _norms(samples)
        finite = torch.isfinite(norms)
        if not finite.all():
            samples, norms = [sample[finite] for sample in samples], norms[finite]
        factors = clip_factors(norms, self._clip_norm)
        parts = torch.split_with_sizes(total, self._sizes)
        for part, sample in zip(parts, samples, strict=True):
            for coordinates, block in zip(_blocks(part), _blocks(sample), strict=True):
                coordinates += factors @ block.double()

    def record_gradients(self, batch: Batch, targets: torch.Tensor) -> list[torch.Tensor]:
        """Run a physical batch: for each parameter the records' gradients, shape (n, size)."""
        self._hooked.train()  # in evaluation mode the hooks see nothing
        count = len(batch.records)
        output = logits(self._hooked, batch.inputs)[:count]  # what is after them is filler
        chosen = targets[torch.from_numpy(batch.records)]
        loss = torch.nn.functional.cross_entropy(output, chosen, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        rows = len(batch.inputs[0])
        return [self._take_sample(p, rows)[:count].flatten(1) for p in self._parameters]

    def _take_sample(self, parameter: torch.nn.Parameter, rows: int) -> torch.Tensor:
        sample = getattr(parameter, "grad_sample", None)
        parameter.grad = parameter.grad_sample = None  # type: ignore[attr-defined]
        if not isinstance(sample, torch.Tensor) or sample.shape != (rows, *parameter.shape):
            raise LocalError("expected one gradient for each record from every trained parameter")
        return sample


@contextmanager
def clipping(classifier: Classifier, clip_norm: float) -> Iterator[ClippedSum]:
    """Hook the trained module for per-record gradients for as long as the context lasts.

    The parameters must not be trained otherwise meanwhile; evaluating in between does no harm.
    """
    module = classifier.trained_module
    hooked = GradSampleModule(module, loss_reduction="sum")
    try:
        with warnings.catch_warnings():
            # The classifier alone has inputs without gradient, as it should.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            yield ClippedSum(hooked, classifier, clip_norm)
    finally:
        hooked.cleanup()
        for part in module.modules():  # a step that failed half-way leaves what it remembered
            for remembered in ("activations", "max_batch_len"):
                part.__dict__.pop(remembered, None)
        module.eval()


def clip_factors(norms: torch.Tensor, clip_norm: float) -> torch.Tensor:
    """Return what to multiply gradients of such norms with, at most 1: shape (n,), float64."""
    return (clip_norm / (norms * (1 + CLIP_MARGIN))).clamp(max=1.0)


def _norms(samples: list[torch.Tensor]) -> torch.Tensor:
    """Take each record's 2-norm over all parameters: shape (n,), float64.

    In float64 a sum of squares of float32 cannot overflow: not finite means a NaN or infinity.
    """
    squares = torch.zeros(len(samples[0]), dtype=torch.float64)
    for sample in samples:
        for block in _blocks(sample):
            squares += block.double().square().sum(dim=1)
    return squares.sqrt()


def _blocks(array: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cut the last axis so that a float64 copy of a piece stays in the cache."""
    ends = tuple(range(BLOCK, array.shape[-1], BLOCK))
    return torch.tensor_split(array, ends, dim=-1)
