"""Book-keeping on single layers: every rule against autograd, and what must be refused."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from comity_client.model.examples import FEATURE_ROWS
from comity_client.training import rules
from comity_client.training.bookkeeping import BookKeeping
from comity_client.training.gradients import Loss
from comity_common.errors import LocalError

ROWS, RECORDS, TOKENS, WIDTH = 5, 4, 6, 8


class Layers(nn.Module):
    """Every kind of layer that has a rule, one after the other."""

    def __init__(self, padding: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, WIDTH, padding_idx=padding)
        self.norm = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, 3 * WIDTH)
        self.score = nn.Linear(3 * WIDTH, 3, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        tokens = torch.nn.functional.gelu(self.wide(self.norm(self.embed(ids))))
        output: torch.Tensor = self.score(tokens[:, 0] + tokens.mean(dim=1))
        return output


def random_weights(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return network.double()


def summed(output: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(output, dim=-1).pow(2).sum()


def loss_of(ids: torch.Tensor, records: int = RECORDS) -> Loss:
    return lambda module: summed(module(ids)[:records])


def both_ways(
    network: nn.Module, loss: Callable[[int | None], Loss], factors: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Norms and sum by book-keeping, and by autograd of one record after the other."""
    trained = dict(network.named_parameters())
    kept = BookKeeping(network, trained)
    norms = kept.take(loss(None), rows=ROWS, records=len(factors))
    totals = [torch.zeros(p.numel(), dtype=torch.float64) for p in trained.values()]
    kept.add(factors, totals)
    each = []
    for record in range(len(factors)):
        gradients = torch.autograd.grad(loss(record)(network), list(trained.values()))
        each.append(torch.cat([g.flatten() for g in gradients]))
    wanted = torch.stack(each)
    return norms, wanted.norm(dim=1), torch.cat(totals), factors @ wanted


@pytest.mark.parametrize("padding", [None, 0, 3])
@pytest.mark.parametrize("instantiate", [False, True])
def test_norms_and_sums_are_those_of_autograd(padding, instantiate, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    network = random_weights(Layers(padding))
    ids = torch.randint(0, 7, (ROWS, TOKENS))  # seven ids for six tokens: some come twice
    if instantiate:  # as for texts so long that Gram matrices cost more
        monkeypatch.setattr(rules, "gram_is_cheaper", lambda *_: False)

    def loss(record: int | None) -> Loss:
        if record is None:
            return loss_of(ids)
        return lambda module: summed(module(ids[record : record + 1]))

    norms, wanted_norms, total, wanted = both_ways(
        network, loss, torch.rand(RECORDS, dtype=torch.float64)
    )
    assert torch.allclose(norms, wanted_norms, rtol=1e-12)
    assert torch.allclose(total, wanted, rtol=1e-11, atol=1e-11)


def test_the_cheaper_way_to_a_norm_is_chosen_by_the_sizes() -> None:
    assert rules.gram_is_cheaper(16, 384, 1536)
    assert not rules.gram_is_cheaper(512, 384, 384)


def test_a_factor_of_zero_keeps_even_a_nan_out() -> None:
    network = random_weights(Layers())
    ids = torch.tensor([[1, 2], [3, 4], [5, 6]])
    with torch.no_grad():
        network.get_parameter("embed.weight")[3] = float("nan")
    kept = BookKeeping(network, dict(network.named_parameters()))
    norms = kept.take(loss_of(ids, 3), rows=3, records=3)
    assert torch.isfinite(norms).tolist() == [True, False, True]
    totals = [torch.zeros(p.numel(), dtype=torch.float64) for p in network.parameters()]
    kept.add(torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), totals)
    assert all(torch.isfinite(total).all() and total.any() for total in totals)


def test_no_gradient_of_a_parameter_is_computed_and_no_hook_stays() -> None:
    network = random_weights(Layers())
    kept = BookKeeping(network, dict(network.named_parameters()))
    kept.take(loss_of(torch.randint(0, 7, (ROWS, TOKENS))), rows=ROWS, records=RECORDS)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_there_is_one_backward_pass(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    passes = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: passes.append(1) or grad(*a, **k))
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_: passes.append(2))
    network = random_weights(Layers())
    kept = BookKeeping(network, dict(network.named_parameters()))
    kept.take(loss_of(torch.randint(0, 7, (ROWS, TOKENS))), rows=ROWS, records=RECORDS)
    kept.add(
        torch.ones(RECORDS, dtype=torch.float64),
        [torch.zeros(p.numel(), dtype=torch.float64) for p in network.parameters()],
    )
    assert passes == [1]


class Scaled(nn.Module):
    """Holds a parameter that no rule covers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.embed = nn.Embedding(7, WIDTH)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = (self.embed(ids) * self.scale).mean(dim=1)
        return output


class Twice(Layers):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids) + super().forward(ids)


class Idle(Layers):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.embed(ids).mean(dim=1)
        return output


class Beside(Layers):
    """Uses a weight once more, past its module."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids) + self.norm.bias.sum()


class InPlace(Layers):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        tokens = self.wide(self.norm(self.embed(ids)))
        tokens.relu_()  # what the module returned is no longer what it computed
        output: torch.Tensor = self.score(tokens.mean(dim=1))
        return output


class Flat(Layers):
    """Loses the axis of records on the way."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        tokens = self.wide(self.norm(self.embed(ids)).flatten(0, 1))
        output: torch.Tensor = self.score(tokens).reshape(*ids.shape, -1).mean(dim=1)
        return output


class Widened(nn.Linear):
    """A layer of another type, which may compute anything."""


class Other(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.wide = Widened(WIDTH, 3 * WIDTH)


class Shared(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.norm.bias = self.wide.register_parameter("other", self.norm.bias) or self.norm.bias


class Bounded(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, WIDTH, max_norm=1.0)


class Planes(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm((TOKENS, WIDTH))


REFUSED = [
    (Scaled, "expected scale in a layer with a rule, got Scaled"),
    (Other, "in a layer with a rule, got Widened"),
    (Shared, "expected one module with norm.bias, got 2"),
    (Bounded, "a plain embedding"),
    (Planes, "over one axis"),
    (Twice, "run once in a pass"),
    (Idle, "every trained module to run in a pass"),
    (Beside, "use each trained parameter once, got 2"),
    (InPlace, "change in place"),
    (Flat, "one gradient for each record"),
]


@pytest.mark.parametrize(("kind", "why"), REFUSED, ids=lambda case: getattr(case, "__name__", ""))
def test_what_no_rule_covers_is_refused(kind: type[nn.Module], why: str) -> None:
    network = kind()

    def take() -> None:
        kept = BookKeeping(network, dict(network.named_parameters()))
        kept.take(loss_of(torch.randint(0, 7, (ROWS, TOKENS))), rows=ROWS, records=RECORDS)

    with pytest.raises(LocalError, match=why):
        take()


def test_a_frozen_part_may_be_anything() -> None:
    """Only trained parameters need a rule."""
    network = Scaled()
    network.scale.requires_grad = False
    kept = BookKeeping(network, {"embed.weight": network.embed.weight})
    norms = kept.take(loss_of(torch.randint(0, 7, (ROWS, TOKENS))), rows=ROWS, records=RECORDS)
    assert (norms > 0).all()


def test_no_tensor_is_as_large_as_the_gradients_of_all_records() -> None:
    """A layer's gradients for every record would be the largest thing by far."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.numel = max(self.numel, result.numel())
            return result

    rows, tokens, width = 16, 4, 64
    network = nn.Linear(width, width)
    x = torch.randn(rows, tokens, width)
    kept = BookKeeping(network, dict(network.named_parameters()))
    totals = [torch.zeros(p.numel(), dtype=torch.float64) for p in network.parameters()]
    with Largest() as largest, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept.take(lambda module: summed(module(x)), rows=rows, records=rows)
        kept.add(torch.ones(rows, dtype=torch.float64), totals)
    assert 0 < largest.numel < rows * width * width / 4
    assert np.isfinite(totals[0].numpy()).all()


def test_a_row_of_a_head_of_real_size_has_the_same_gradient_in_any_company() -> None:
    torch.set_num_threads(1)
    head, labels = nn.Linear(384, 77), torch.randint(77, (FEATURE_ROWS,))
    vectors = torch.tanh(torch.randn(FEATURE_ROWS, 384))
    trained = dict(head.named_parameters())
    kept = BookKeeping(head, trained)

    def alone(place: int, others: int) -> tuple[torch.Tensor, ...]:
        """Put row 0 at a place among as many others, and take its norm and gradient."""
        order = 1 + torch.randperm(FEATURE_ROWS - 1)[:others]
        order = torch.cat([order[:place], torch.zeros(1, dtype=torch.int64), order[place:]])
        inputs = torch.zeros(FEATURE_ROWS, 384)
        inputs[: len(order)] = vectors[order]

        def loss(module: nn.Module) -> torch.Tensor:
            output = module(inputs)[: len(order)]
            return nn.functional.cross_entropy(output, labels[order], reduction="sum")

        norms = kept.take(loss, FEATURE_ROWS, len(order))
        factors = torch.zeros(len(order), dtype=torch.float64)
        factors[place] = 1.0
        totals = [torch.zeros(p.numel(), dtype=torch.float64) for p in trained.values()]
        kept.add(factors, totals)
        return norms[place], *totals

    wanted = alone(0, 0)
    for others in (1, 5, 31, 64, FEATURE_ROWS - 1):
        for place in (0, others // 2, others):
            got = alone(place, others)
            assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
