"""Per-record gradients by Opacus's hooks: every record's gradient in memory, one batch at a time.

For biases and both factors of low-rank updates. In evaluation mode the hooks see nothing and say
nothing, so the module is put into training mode before every pass, and what they should have left
is checked after it.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from opacus import GradSampleModule

from comity_client.training.gradients import Loss, add_scaled, norms
from comity_common.errors import LocalError


class Hooks:
    """Knows per-record gradients; made by `hooks`, which also takes them off again."""

    def __init__(self, hooked: GradSampleModule, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._hooked = hooked
        self._parameters = parameters
        self._samples: list[torch.Tensor] = []

    def take(self, loss: Loss, rows: int, records: int) -> torch.Tensor:
        """Run one pass; see `RecordGradients.take`."""
        self._hooked.train()
        loss(self._hooked).backward()  # type: ignore[no-untyped-call]
        taken = [self._take_sample(parameter, rows) for parameter in self._parameters]
        self._samples = [sample[:records].flatten(1) for sample in taken]
        return norms(self._samples)

    def add(self, factors: torch.Tensor, totals: Sequence[torch.Tensor]) -> None:
        """Add up; see `RecordGradients.add`."""
        add_scaled(self._samples, factors, totals)

    def forget(self) -> None:
        """Let go; see `RecordGradients.forget`."""
        self._samples = []

    def _take_sample(self, parameter: torch.nn.Parameter, rows: int) -> torch.Tensor:
        sample = getattr(parameter, "grad_sample", None)
        parameter.grad = parameter.grad_sample = None  # type: ignore[attr-defined]
        if not isinstance(sample, torch.Tensor) or sample.shape != (rows, *parameter.shape):
            raise LocalError("expected one gradient for each record from every trained parameter")
        return sample


@contextmanager
def hooks(module: torch.nn.Module, parameters: Sequence[torch.nn.Parameter]) -> Iterator[Hooks]:
    """Hook a module for as long as the context lasts."""
    hooked = GradSampleModule(module, loss_reduction="sum")
    try:
        with warnings.catch_warnings():
            # The classifier alone has inputs without gradient, as it should.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            yield Hooks(hooked, parameters)
    finally:
        hooked.cleanup()
        for part in module.modules():  # a step that failed half-way leaves what it remembered
            for remembered in ("activations", "max_batch_len"):
                part.__dict__.pop(remembered, None)
