"""The bound against its formula written out, and against a mechanism whose ε is known."""

import math
from decimal import Decimal

import numpy as np
import pytest
from scipy import stats

from comity_client.selftest.lowerbound import (
    CONFIDENCE,
    claimed,
    lower_bound,
    p_value,
    right_guesses,
)


def written_out(right: int, r: int, m: int, epsilon: float, delta: float) -> float:
    """Steinke et al. 2023, theorem 5.2, term by term."""
    law = stats.binom(r, math.exp(epsilon) / (1 + math.exp(epsilon)))
    beta = law.sf(right - 1)
    alpha, upto = 0.0, 0.0
    for i in range(1, right + 1):
        upto += law.pmf(right - i)
        alpha = max(alpha, upto / i)
    return float(min(1.0, beta + 2 * m * delta * alpha))


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_the_p_value_is_that_of_the_theorem(epsilon: float, delta: float) -> None:
    for right in (0, 1, 2, 63, 100):
        wanted = written_out(right, 100, 1000, epsilon, delta)
        assert p_value(right, 100, 1000, epsilon, delta) == pytest.approx(wanted, rel=1e-9)


def test_more_right_guesses_bound_more_and_half_of_them_nothing() -> None:
    bounds = [lower_bound(right, 100, 1000, 1e-5) for right in range(50, 101, 10)]
    assert bounds == sorted(bounds)
    assert bounds[0] == pytest.approx(0.0, abs=1e-9)
    assert 3 < bounds[-1] < 4  # all right


def test_a_bound_is_above_the_truth_in_one_of_twenty_runs_at_most() -> None:
    """Randomised response has exactly ε: each guess is right with probability e^ε / (1 + e^ε)."""
    epsilon, runs = 1.0, 300
    chance = 1 / (1 + math.exp(-epsilon))
    rights = np.random.default_rng().binomial(100, chance, runs)
    bounds = {right: lower_bound(int(right), 100, 100, 0.0) for right in set(rights.tolist())}
    above = np.mean([bounds[right] > epsilon for right in rights.tolist()])
    assert above < 1 - CONFIDENCE + 6 * np.sqrt(0.05 * 0.95 / runs)


def test_the_surest_guesses_are_counted() -> None:
    scores = np.arange(10.0)
    is_in = scores >= 5
    assert right_guesses(scores, is_in, 4) == 4
    assert right_guesses(scores, ~is_in, 4) == 0
    is_in[9] = False
    assert right_guesses(scores, is_in, 4) == 3


def test_the_claim_is_the_least_of_all_orders() -> None:
    q, sigma, delta = Decimal("0.2"), Decimal("1.6579"), Decimal("0.00001")
    assert claimed(q, sigma, 120, delta) == pytest.approx(8, abs=1e-3)
