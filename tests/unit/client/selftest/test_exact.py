"""A real step of every kind of model equals the loop, and does not when something is wrong."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch
from tests.injected import injected

from comity_client.model.classifier import Classifier
from comity_client.selftest import exact
from comity_client.selftest.examination import STANDARD
from comity_client.training import step, trainer
from comity_common.tuning import Tune

VISIBLE = 100 * exact.TOLERANCE


@pytest.fixture(params=[Tune.HEAD, Tune.LORA, Tune.FULL])
def classifier(request, build_tiny) -> Classifier:  # type: ignore[no-untyped-def]
    return build_tiny(request.param)


def test_a_step_is_what_the_loop_says_and_the_model_is_left_as_it_was(
    classifier: Classifier,
) -> None:
    before = classifier.vector()
    assert exact.difference(classifier, STANDARD, 1) <= exact.TOLERANCE
    assert np.array_equal(classifier.vector(), before)


@pytest.mark.parametrize("mistake", ["clip × 2", "canaries counted twice"])
def test_a_mistake_is_seen_with_any_model(classifier: Classifier, mistake: str) -> None:
    if mistake == "canaries counted twice":
        factors = step.clip_factors
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(step, "clip_factors", lambda norms, norm: 2 * factors(norms, norm))
            assert exact.difference(classifier, STANDARD, 1) > VISIBLE
        return
    with injected(mistake):
        assert exact.difference(classifier, STANDARD, 1) > VISIBLE


def test_a_loss_that_couples_records_is_seen(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    entropy = torch.nn.functional.cross_entropy

    def mean(output: Any, target: Any, reduction: str = "mean") -> Any:
        return entropy(output, target, reduction="mean")

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", mean)
    assert exact.difference(classifier, STANDARD, 1) > VISIBLE


def test_the_terms_of_the_agreement_do_not_matter_to_the_comparison(build_tiny) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    odd = replace(
        STANDARD, clip_norm=Decimal("1e-3"), divisor=Decimal(7000), learning_rate=Decimal(1)
    )
    assert exact.difference(build_tiny(Tune.LORA), odd, 1) <= exact.TOLERANCE


def test_a_step_over_persons_is_what_the_loop_says(classifier: Classifier) -> None:
    for rows_each in (2, 3):
        assert exact.difference(classifier, STANDARD, 1, rows_each) <= exact.TOLERANCE


def test_persons_of_whom_each_row_is_clipped_are_seen(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_rows(clipped_sum: Any, examples: Any, targets: Any, units: Any, drawn: Any) -> Any:
        rows = np.concatenate([units.rows_of(unit) for unit in drawn.tolist()])
        return clipped_sum(examples, targets, rows)

    monkeypatch.setattr(trainer, "sum_over_units", by_rows)
    assert exact.difference(classifier, STANDARD, 1, 3) > VISIBLE
