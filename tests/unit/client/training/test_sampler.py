"""Statistics of the sampler; every bound is six standard deviations, one false alarm in 10⁸."""

from decimal import Decimal

import numpy as np
import pytest

from comity_client.training.sampler import PoissonSampler
from comity_common.errors import LocalError

RECORDS, DRAWS, Q = 400, 1000, Decimal("0.2")


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """Which records were in which draw: shape (draws, records), bool."""
    sampler = PoissonSampler(RECORDS, Q)
    included = np.zeros((DRAWS, RECORDS), dtype=bool)
    for draw in included:
        draw[sampler.draw()] = True
    return included


def test_each_record_is_drawn_with_its_probability(drawn: np.ndarray) -> None:
    error = np.sqrt(0.2 * 0.8 / DRAWS)
    assert np.abs(drawn.mean(axis=0) - 0.2).max() < 6 * error
    assert abs(drawn.mean() - 0.2) < 6 * error / np.sqrt(RECORDS)


def test_batch_sizes_vary_as_a_binomial_and_are_not_of_one_size(drawn: np.ndarray) -> None:
    sizes = drawn.sum(axis=1)
    variance = RECORDS * 0.2 * 0.8
    assert abs(sizes.var(ddof=1) / variance - 1) < 6 * np.sqrt(2 / DRAWS)


def test_how_often_a_record_is_drawn_varies_as_a_binomial(drawn: np.ndarray) -> None:
    """Shuffled epochs would draw each record equally often: a dispersion of zero."""
    counts = drawn.sum(axis=0)
    dispersion = counts.var(ddof=1) / (DRAWS * 0.2 * 0.8)
    assert abs(dispersion - 1) < 6 * np.sqrt(2 / RECORDS)


def test_records_and_draws_are_independent(drawn: np.ndarray) -> None:
    centred = drawn - 0.2
    within = np.corrcoef(drawn.T.astype(float)) - np.eye(RECORDS)
    assert np.abs(within).max() < 7 / np.sqrt(DRAWS)  # over 80,000 pairs
    across = (centred[1:] * centred[:-1]).mean() / 0.16
    assert abs(across) < 6 / np.sqrt((DRAWS - 1) * RECORDS)


def test_two_samplers_draw_differently() -> None:
    one, two = (PoissonSampler(1000, Decimal("0.5")).draw() for _ in range(2))
    assert not np.array_equal(one, two)


def test_a_probability_of_one_draws_all_and_a_tiny_one_none() -> None:
    assert PoissonSampler(9, Decimal(1)).draw().tolist() == list(range(9))
    assert PoissonSampler(9, Decimal("1e-19")).draw().size == 0  # below 2⁻⁶³: the threshold is 1
    assert PoissonSampler(0, Decimal("0.5")).draw().size == 0


def test_the_threshold_is_rounded_to_the_private_side() -> None:
    third = Decimal("0.3333333333333333333333333333")
    assert PoissonSampler(1, third)._threshold <= third * 2**64
    assert PoissonSampler(1, Decimal("0.5"))._threshold == 2**63


@pytest.mark.parametrize("q", ["0", "-0.1", "1.0001"])
def test_a_probability_outside_its_range_is_refused(q: str) -> None:
    with pytest.raises(LocalError, match="sampling probability"):
        PoissonSampler(9, Decimal(q))
