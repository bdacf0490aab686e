"""Per-record clipping without per-record gradients, in one backward pass (Bu et al. 2023,
"Differentially private optimization on large model at small cost", book-keeping).

The gradient of a linear layer is a sum over tokens of output gradient ⊗ input. So one pass that
keeps inputs and output gradients is enough: norms come from small Gram matrices of the tokens, and
the clipped sum from one product with the output gradients scaled by each record's factor. Nothing
as large as a layer is ever held for a record, and autograd computes no gradient of a parameter.

A gradient is known here only where the layer is, so this fails closed. Each trained parameter must
belong to one module, of a type that has a rule (see `rules`), which runs once in a forward pass
with a row for each record; and the graph of the loss must lead to the parameter once.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from comity_client.training.gradients import Loss
from comity_client.training.rules import Grams, Seen, rule_for
from comity_common.errors import LocalError


class BookKeeping:
    """Knows the gradients of the records last taken.

    Args:
        module: the trained module.
        trained: its trained parameters by name, in the order of the sums.

    Raises:
        LocalError: a trained parameter that no rule covers, or that two modules share.
    """

    def __init__(self, module: nn.Module, trained: Mapping[str, nn.Parameter]) -> None:
        self._module = module
        self._parameters = tuple(trained.values())
        self._owners = [_owner(module, name, parameter) for name, parameter in trained.items()]
        self._seen: dict[nn.Module, Seen] = {}

    def take(self, loss: Loss, rows: int, records: int) -> torch.Tensor:
        """Run one pass; see `RecordGradients.take`."""
        with _watching({module for module, _ in self._owners}) as runs:
            scalar = loss(self._module)
        _check_uses(scalar, self._parameters, runs, self._owners)
        gradients = torch.autograd.grad(scalar, [run.output for run in runs.values()])
        self._seen = {}
        for (module, run), gradient in zip(runs.items(), gradients, strict=True):
            _check_rows(rows, run.inputs, gradient)
            self._seen[module] = Seen(module, run.inputs, gradient).only(slice(records))
        gram = Grams()
        squares = torch.zeros(records, dtype=torch.float64, device=scalar.device)
        for module, name in self._owners:
            squares += _rule(module).squares(self._seen[module], name, gram)
        return squares.sqrt()

    def add(self, factors: torch.Tensor, totals: Sequence[torch.Tensor]) -> None:
        """Add up; see `RecordGradients.add`."""
        seen, kept = self._seen, factors != 0
        if not kept.all():  # zero times NaN would be NaN
            seen, factors = {m: one.only(kept) for m, one in seen.items()}, factors[kept]
        for (module, name), total in zip(self._owners, totals, strict=True):
            shape = getattr(module, name).shape
            _rule(module).add(seen[module], name, factors, total.view(shape))

    def forget(self) -> None:
        """Let go; see `RecordGradients.forget`."""
        self._seen = {}


@dataclass(slots=True, eq=False, repr=False)
class _Run:
    """A module's only call in a pass, and the versions by which a later change in place shows."""

    inputs: torch.Tensor
    output: torch.Tensor
    versions: tuple[int, int]

    @property
    def unchanged(self) -> bool:
        return (self.inputs._version, self.output._version) == self.versions


@contextmanager
def _watching(modules: Collection[nn.Module]) -> Iterator[dict[nn.Module, _Run]]:
    """Write down what goes into some modules and comes out."""
    runs: dict[nn.Module, _Run] = {}

    def write_down(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        if module in runs:
            raise LocalError("expected every trained module to run once in a pass, one ran twice")
        given = inputs[0].detach()
        runs[module] = _Run(given, output, (given._version, output._version))

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_hook(write_down).remove)
        yield runs


def _check_uses(
    loss: torch.Tensor,
    parameters: Sequence[nn.Parameter],
    runs: Mapping[nn.Module, _Run],
    owners: Sequence[tuple[nn.Module, str]],
) -> None:
    """Refuse a loss that a parameter enters otherwise than by its module's only call."""
    idle = [name for module, name in owners if module not in runs]
    if idle:
        raise LocalError(f"expected every trained module to run in a pass, one with {idle[0]} not")
    if not all(run.unchanged for run in runs.values()):
        raise LocalError("expected no change in place of what a trained module takes or returns")
    uses = _uses(loss)
    for parameter in parameters:
        if uses[parameter] != 1:
            raise LocalError(
                f"expected the loss to use each trained parameter once, got {uses[parameter]}"
            )


def _check_rows(rows: int, *arrays: torch.Tensor) -> None:
    """Refuse what has not a row for each record: it would have to be told apart by its values."""
    if any(len(array) != rows for array in arrays):
        raise LocalError("expected one gradient for each record from every trained module")


def _uses(loss: torch.Tensor) -> Counter[Any]:
    """Count for each leaf by how many ways the graph of a loss leads to it.

    Ways are counted where they part for the last time: one product uses a weight once, though
    there may be a transposition or a cast between.
    """
    uses: Counter[Any] = Counter()
    waiting, known = [loss.grad_fn], set()
    while waiting:
        node: Any = waiting.pop()
        for following, _ in node.next_functions:
            if hasattr(following, "variable"):
                uses[following.variable] += 1
            if following is not None and following not in known:
                known.add(following)
                waiting.append(following)
    return uses


def _owner(module: nn.Module, name: str, parameter: nn.Parameter) -> tuple[nn.Module, str]:
    """Find the one module that holds a parameter, and by what name."""
    places = [
        (part, own)
        for part in module.modules()
        for own, held in part.named_parameters(recurse=False, remove_duplicate=False)
        if held is parameter
    ]
    if len(places) != 1:
        raise LocalError(f"expected one module with {name}, got {len(places)}: is it tied?")
    owner, own = places[0]
    if rule_for(owner) is None:
        raise LocalError(f"expected {name} in a layer with a rule, got {type(owner).__name__}")
    _rule(owner).check(owner)
    return owner, own


def _rule(module: nn.Module) -> Any:
    return rule_for(module)
