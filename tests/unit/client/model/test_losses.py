"""A record's loss is its own, whoever else is in the batch."""

import pytest
import torch

from comity_client.model.losses import IGNORED, record_losses


def test_the_loss_of_a_text_is_its_cross_entropy() -> None:
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
    probabilities = torch.softmax(logits, dim=1)
    wanted = torch.stack([-probabilities[row, k].log() for row, k in enumerate(targets)])
    assert torch.allclose(record_losses(logits, targets), wanted, rtol=1e-12)


def test_the_loss_of_tokens_is_the_mean_over_the_labelled_ones_of_the_record() -> None:
    logits = torch.randn(3, 4, 2, dtype=torch.float64)
    targets = torch.tensor([[0, IGNORED, 1, 1], [IGNORED] * 3 + [1], [1, 0, 1, 0]])
    surprises = -torch.log_softmax(logits, dim=2)
    first = (surprises[0, 0, 0] + surprises[0, 2, 1] + surprises[0, 3, 1]) / 3
    losses = record_losses(logits, targets)
    assert losses[0].item() == pytest.approx(first.item(), rel=1e-12)
    assert losses[1].item() == pytest.approx(surprises[1, 3, 1].item(), rel=1e-12)


def test_no_record_weighs_anothers_tokens() -> None:
    logits = torch.randn(4, 6, 3, requires_grad=True)
    targets = torch.randint(0, 3, (4, 6))
    targets[1, 2:] = IGNORED
    (together,) = torch.autograd.grad(record_losses(logits, targets).sum(), logits)
    for record in range(4):
        one = logits[record : record + 1]
        (alone,) = torch.autograd.grad(record_losses(one, targets[record : record + 1]).sum(), one)
        assert torch.equal(together[record], alone[0])


def test_a_record_without_a_labelled_token_has_no_loss_and_no_gradient() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    targets = torch.tensor([[IGNORED] * 3, [1, 2, IGNORED]])
    losses = record_losses(logits, targets)
    losses.sum().backward()
    assert losses[0] == 0
    assert not logits.grad[0].any()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, :2].any()


def test_targets_may_be_wider_than_the_batch() -> None:
    logits = torch.randn(2, 3, 4)
    targets = torch.tensor([[1, 2, 3], [0, IGNORED, 1]])
    wider = torch.nn.functional.pad(targets, (0, 5), value=IGNORED)
    assert torch.equal(record_losses(logits, targets), record_losses(logits, wider))
