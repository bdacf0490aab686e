"""What the gradient of one record is in each kind of layer, from the layer's input and the gradient
of its output; never written out for all records at once.

    weight of a linear layer      Σ over tokens of gradient ⊗ input
    rows of an embedding          Σ over the tokens with this id of gradient
    weight of a layer norm        Σ over tokens of gradient · standardised input
    every bias                    Σ over tokens of gradient

Norms and sums over records are in float64 throughout, whatever the layers compute in: a sum in
float32 would cost a little less, and its rounding would depend on the company of a record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from comity_common.errors import LocalError

Gram = Callable[[torch.Tensor], torch.Tensor]
"""Takes the inner products of every record's tokens: (n, s, h) to (n, s, s), float64."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Seen:
    """One module in one pass.

    Attributes:
        inputs: shape (n, …): what went in, a row for each record.
        gradient: shape (n, …, out): of the loss with respect to what came out.
    """

    module: Any
    inputs: torch.Tensor
    gradient: torch.Tensor

    def only(self, records: torch.Tensor | slice) -> "Seen":
        """Keep some of the records."""
        return Seen(self.module, self.inputs[records], self.gradient[records])


class Rule(Protocol):
    """Knows the gradients of one kind of module, by the names of its parameters."""

    def check(self, module: Any) -> None:
        """Raise LocalError if the module is set up in a way that the rule does not know."""
        ...

    def squares(self, seen: Seen, name: str, gram: Gram) -> torch.Tensor:
        """Take the squared 2-norm of each record's gradient: shape (n,), float64."""
        ...

    def add(self, seen: Seen, name: str, factors: torch.Tensor, total: torch.Tensor) -> None:
        """Add Σ factor × gradient over the records.

        Args:
            factors: shape (n,), float64.
            total: the parameter's shape, float64.
        """
        ...


class LinearRule:
    """y = x Wᵀ + b."""

    def check(self, module: nn.Linear) -> None:
        """Accept any."""

    def squares(self, seen: Seen, name: str, gram: Gram) -> torch.Tensor:
        """Take squared norms, the weight's by the cheaper of two ways."""
        inputs, gradient = _by_token(seen.inputs), _by_token(seen.gradient)
        if name == "bias":
            return _squares(_over_tokens(gradient))
        if gram_is_cheaper(inputs.shape[1], inputs.shape[2], gradient.shape[2]):
            return (gram(inputs) * gram(gradient)).sum(dim=(1, 2))
        each = zip(_at_least_float32(gradient), _at_least_float32(inputs), strict=True)
        return torch.cat([_squares((g.T @ x).reshape(1, -1)) for g, x in each])

    def add(self, seen: Seen, name: str, factors: torch.Tensor, total: torch.Tensor) -> None:
        """Add the scaled sum: one product over the tokens of all records."""
        inputs, gradient = _by_token(seen.inputs), _by_token(seen.gradient)
        if name == "bias":
            total += factors @ _over_tokens(gradient)
            return
        scaled = gradient.double() * factors[:, None, None]
        total.addmm_(scaled.flatten(0, 1).T, inputs.double().flatten(0, 1))


class EmbeddingRule:
    """y = W[id]. Two tokens with one id share a row, so their gradients meet in the norm."""

    def check(self, module: nn.Embedding) -> None:
        """Refuse what makes a gradient depend on other records, or is not a plain look-up."""
        if module.max_norm is not None or module.scale_grad_by_freq or module.sparse:
            raise LocalError("expected a plain embedding, without max_norm, scaling or sparsity")

    def squares(self, seen: Seen, name: str, gram: Gram) -> torch.Tensor:
        """Take squared norms from the inner products of tokens with the same id."""
        ids = seen.inputs.flatten(1)
        same = ids[:, :, None] == ids[:, None, :]
        if seen.module.padding_idx is not None:
            same &= (ids != seen.module.padding_idx)[:, :, None]
        products = gram(_by_token(seen.gradient))
        return torch.where(same, products, products.new_zeros(())).sum(dim=(1, 2))

    def add(self, seen: Seen, name: str, factors: torch.Tensor, total: torch.Tensor) -> None:
        """Add every token's scaled gradient to the row of its id."""
        ids = seen.inputs.flatten()
        scaled = _by_token(seen.gradient).double() * factors[:, None, None]
        if seen.module.padding_idx is not None:  # such tokens have no gradient
            scaled = scaled * (seen.inputs.flatten(1) != seen.module.padding_idx)[:, :, None]
        total.index_add_(0, ids, scaled.flatten(0, 1))


class LayerNormRule:
    """y = x̂ · w + b, x̂ the standardised input."""

    def check(self, module: nn.LayerNorm) -> None:
        """Refuse more than one axis."""
        if len(module.normalized_shape) != 1:
            raise LocalError("expected a layer norm over one axis")

    def squares(self, seen: Seen, name: str, gram: Gram) -> torch.Tensor:
        """Take squared norms of gradients that are as short as a token."""
        return _squares(self._gradients(seen, name))

    def add(self, seen: Seen, name: str, factors: torch.Tensor, total: torch.Tensor) -> None:
        """Add the scaled gradients."""
        total += factors @ self._gradients(seen, name)

    def _gradients(self, seen: Seen, name: str) -> torch.Tensor:
        gradient = _by_token(seen.gradient)
        if name == "weight":
            inputs = _at_least_float32(_by_token(seen.inputs))
            module = seen.module
            gradient = gradient * nn.functional.layer_norm(
                inputs, module.normalized_shape, eps=module.eps
            )
        return _over_tokens(gradient)


def gram_is_cheaper(tokens: int, fan_in: int, fan_out: int) -> bool:
    """Compare the products for a linear layer's norm: two Gram matrices, or the gradient itself."""
    return tokens * (fan_in + fan_out) <= fan_in * fan_out


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: LinearRule(),
    nn.Embedding: EmbeddingRule(),
    nn.LayerNorm: LayerNormRule(),
}


def rule_for(module: nn.Module) -> Rule | None:
    """Find the rule of a module's exact type: a subclass may compute something else."""
    return RULES.get(type(module))


class Grams:
    """Takes inner products of tokens, once for what several modules have in common.

    Query, key and value of a layer have one input.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, torch.Size], tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return XXᵀ of every record: (n, s, h) to (n, s, s), float64."""
        key = tokens.data_ptr(), tokens.shape
        if key not in self._known:  # with the tokens, so that no other takes their place
            wide = tokens.double()
            self._known[key] = tokens, wide @ wide.transpose(1, 2)
        return self._known[key][1]


def _by_token(array: torch.Tensor) -> torch.Tensor:
    """View (n, h) and (n, …, h) as (n, s, h)."""
    return array[:, None] if array.dim() == 2 else array.flatten(1, -2)


def _over_tokens(array: torch.Tensor) -> torch.Tensor:
    """Sum (n, s, h) to (n, h), float64."""
    return array.sum(dim=1, dtype=torch.float64)


def _squares(array: torch.Tensor) -> torch.Tensor:
    return array.double().square().sum(dim=1)


def _at_least_float32(array: torch.Tensor) -> torch.Tensor:
    return array if array.dtype in (torch.float32, torch.float64) else array.float()
