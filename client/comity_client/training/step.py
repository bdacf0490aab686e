"""The clipped sum of one step: each record's gradient, held to norm C, added up.

This is the whole of DP-SGD's sensitivity (Abadi et al. 2016, algorithm 1): adding or removing one
record moves the sum by at most C, because

* `hooks` and `bookkeeping` know the gradient of each record of the summed loss, and a loss that is
  a sum over records couples none of them;
* each gradient is taken whole, over all trained parameters, its norm in float64, and is clipped
  with a margin of 1e-5 for what float64 still rounds;
* a record whose gradient is not finite counts as zero, the others as usual;
* physical batches have fixed shapes, so a record's gradient is bit for bit the same in any company
  (see `examples`).

Clipping is written out here, instead of Opacus's optimiser, because that one adds in float32, lets
one NaN spread over the sum, and draws its noise from a generator that a seed reproduces.
An empty batch is an ordinary one: its sum is zero, and the noise comes all the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from comity_client.model.classifier import Classifier
from comity_client.model.examples import Batch, Examples, Indices
from comity_client.model.losses import record_losses
from comity_client.training.bookkeeping import BookKeeping
from comity_client.training.gradients import RecordGradients, add_scaled, norms
from comity_client.training.hardware import PLAIN, Hardware
from comity_client.training.hooks import hooks
from comity_common.tuning import Tune

CLIP_MARGIN = 1e-5
KEEPS_BOOKS = (Tune.HEAD, Tune.LORA, Tune.FULL)
ALIGNED = 8  # float64 in 64 bytes; a product's last bit may depend on where its result lies


class ClippedSum:
    """Computes clipped sums; made by `clipping`."""

    def __init__(
        self,
        gradients: RecordGradients,
        classifier: Classifier,
        clip_norm: float,
        hardware: Hardware,
    ) -> None:
        self._gradients = gradients
        self._classifier = classifier
        self._hardware = hardware
        self._sizes = [parameter.numel() for parameter in classifier.trained.values()]
        self._clip_norm = clip_norm

    def __call__(
        self, examples: Examples, targets: torch.Tensor, records: Indices
    ) -> npt.NDArray[np.float64]:
        """Sum the clipped gradients of the chosen records at the current parameters.

        Args:
            targets: of every example, as `examples.targets` returns them: int64, shape (n,), or
                (n, length) with a class for each token.
            records: which of them make up the logical batch, possibly none.

        Returns:
            shape (d,), float64, in the order of the classifier's layout.
        """
        total = self.zeros(1)[0]
        parts = torch.split_with_sizes(total, self._sizes)
        for batch in examples.batches(records):
            factors = clip_factors(self._norms(batch, targets), self._clip_norm)
            self._gradients.add(factors, parts)
            self._gradients.forget()
        return total.cpu().numpy()

    def zeros(self, count: int) -> torch.Tensor:
        """Make room for so many units' gradients: shape (count, d), float64, where the model is."""
        size = sum(self._sizes)
        width = -(-size // ALIGNED) * ALIGNED
        room = torch.zeros(count, width, dtype=torch.float64, device=self._hardware.device)
        return room[:, :size]

    def add_each(
        self, batch: Batch, targets: torch.Tensor, owners: Sequence[int], gradients: torch.Tensor
    ) -> None:
        """Add every record's gradient, unclipped, to that of the unit that it belongs to.

        One record after the other, each in an addition of its own, so that a unit's gradient is bit
        for bit the same in any company.

        Args:
            owners: for each record of the batch the place of its unit in `gradients`.
            gradients: as `zeros` makes them.
        """
        finite = torch.isfinite(self._norms(batch, targets))
        for record, owner in enumerate(owners):
            if not finite[record]:
                gradients[owner] = torch.nan  # the unit counts as zero, whatever else it has
                continue
            alone = torch.zeros(len(owners), dtype=torch.float64, device=gradients.device)
            alone[record] = 1.0
            parts = torch.split_with_sizes(gradients[owner], self._sizes)
            self._gradients.add(alone, parts)
        self._gradients.forget()

    def clipped(self, gradients: torch.Tensor) -> npt.NDArray[np.float64]:
        """Sum the gradients of units, each held to the clipping norm.

        Args:
            gradients: shape (n, d), float64; a unit's that is not finite counts as zero.

        Returns:
            shape (d,), float64.
        """
        total = self.zeros(1)[0]
        add_scaled([gradients], clip_factors(norms([gradients]), self._clip_norm), [total])
        return total.cpu().numpy()

    def _norms(self, batch: Batch, targets: torch.Tensor) -> torch.Tensor:
        """Run a physical batch: each record's norm, shape (n,), float64."""
        count = len(batch.records)
        chosen = self._hardware.here(targets[torch.from_numpy(batch.records)])

        def loss(module: torch.nn.Module) -> torch.Tensor:
            output = self._hardware.logits(self._classifier, module, batch.inputs)
            return record_losses(output[:count], chosen).sum()  # what is after them is filler

        return self._gradients.take(loss, rows=len(batch.inputs[0]), records=count)


@contextmanager
def clipping(
    classifier: Classifier, clip_norm: float, hardware: Hardware = PLAIN
) -> Iterator[ClippedSum]:
    """Prepare the trained module for per-record gradients for as long as the context lasts.

    The parameters must not be trained otherwise meanwhile; evaluating in between does no harm.
    """
    with _record_gradients(classifier) as gradients:
        yield ClippedSum(gradients, classifier, clip_norm, hardware)


@contextmanager
def _record_gradients(classifier: Classifier) -> Iterator[RecordGradients]:
    """Choose the way: book-keeping for the head, B of low-rank updates or all, else Opacus."""
    module, trained = classifier.trained_module, classifier.trained
    try:
        if classifier.tune in KEEPS_BOOKS:
            yield BookKeeping(module.train(), trained)
        else:
            with hooks(module, list(trained.values())) as hooked:
                yield hooked
    finally:
        module.eval()


def clip_factors(norms: torch.Tensor, clip_norm: float) -> torch.Tensor:
    """Return what to multiply gradients of such norms with: shape (n,), float64, 0 to 1.

    0 where the norm is not finite: such a record adds nothing.
    """
    factors = (clip_norm / (norms * (1 + CLIP_MARGIN))).clamp(max=1.0)
    return torch.where(torch.isfinite(norms), factors, torch.zeros_like(factors))
