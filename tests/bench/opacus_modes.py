"""Beside it: Opacus itself, by hooks and by ghost clipping, in its own loop for large batches.

Its clipping and its optimiser, without noise, on physical batches that are given: ours, so that
only the clipping differs, or all padded to one length as by a loader without buckets.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

from comity_client.model.examples import Batch

Pass = Callable[[Iterable[Batch]], None]
"""Clips and sums the gradients of a logical batch."""


@contextmanager
def hooks(
    network: torch.nn.Module, parameters: Sequence[torch.nn.Parameter], targets: torch.Tensor
) -> Iterator[Pass]:
    """Opacus's default mode: every record's gradient in memory."""
    hooked = GradSampleModule(network.train(), loss_reduction="sum")
    optimizer = DPOptimizer(_plain(parameters), **_terms())

    def one(batches: Iterable[Batch]) -> None:
        for batch in batches:
            output, chosen = _forward(hooked, batch, targets)
            torch.nn.functional.cross_entropy(output, chosen, reduction="sum").backward()
            _add(optimizer)
        _forget(parameters)

    yield one
    hooked.cleanup()
    network.eval()


@contextmanager
def ghost(
    network: torch.nn.Module, parameters: Sequence[torch.nn.Parameter], targets: torch.Tensor
) -> Iterator[Pass]:
    """Ghost clipping: norms alone in a first backward pass, the clipped sum in a second."""
    hooked = GradSampleModuleFastGradientClipping(
        network.train(), max_grad_norm=1.0, use_ghost_clipping=True, loss_reduction="sum"
    )
    optimizer = DPOptimizerFastGradientClipping(_plain(parameters), **_terms())
    criterion = DPLossFastGradientClipping(
        hooked, optimizer, torch.nn.CrossEntropyLoss(reduction="sum"), loss_reduction="sum"
    )

    def one(batches: Iterable[Batch]) -> None:
        for batch in batches:
            output, chosen = _forward(hooked, batch, targets, whole=True)
            criterion(output, chosen).backward()
            _add(optimizer)
        _forget(parameters)

    yield one
    hooked.cleanup()
    network.eval()


def _plain(parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.0)


def _terms() -> dict[str, object]:
    return {
        "noise_multiplier": 0.0,
        "max_grad_norm": 1.0,
        "expected_batch_size": None,
        "loss_reduction": "sum",
    }


def _forward(
    module: torch.nn.Module, batch: Batch, targets: torch.Tensor, *, whole: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a batch; `whole` keeps the filler rows, as ghost clipping wants a loss of every row."""
    chosen = targets[torch.from_numpy(batch.records)]
    output = module(*batch.inputs).logits
    if not whole:
        return output[: len(chosen)], chosen
    filler = chosen.new_zeros(len(output) - len(chosen))
    return output, torch.cat([chosen, filler])


def _add(optimizer: DPOptimizer) -> None:
    """Clip a physical batch into the sum, as `BatchMemoryManager` does for all but the last."""
    optimizer.signal_skip_step(do_skip=True)
    optimizer.step()
    optimizer.zero_grad()


def _forget(parameters: Sequence[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = parameter.grad_sample = parameter.summed_grad = None  # type: ignore[attr-defined]
