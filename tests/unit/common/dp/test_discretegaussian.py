"""The discrete Gaussian has its own distribution, not a rounded one, and draws integers alone."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from comity_common.crypto.stream import Keystream
from comity_common.dp import discretegaussian
from comity_common.dp.discretegaussian import DiscreteGaussian
from comity_common.errors import LocalError

MANY = 4000
SIGNIFICANCE = 1e-8  # of all tests here; fresh randomness each time


def masses(variance: float) -> dict[int, float]:
    reach = math.ceil(12 * math.sqrt(variance)) + 3
    weights = {x: math.exp(-x * x / 2 / variance) for x in range(-reach, reach + 1)}
    total = math.fsum(weights.values())
    return {x: weight / total for x, weight in weights.items()}


def p_value(draws: list[int], chances: dict[int, float]) -> float:
    """Pearson's test; values expected fewer than 10 times are put together."""
    seen = Counter(draws)
    common = [x for x, chance in chances.items() if chance * len(draws) >= 10]
    counts, expected = (
        [*(of.get(x, 0) * scale for x in common), 0.0] for of, scale in ((seen, 1), (chances, MANY))
    )
    counts[-1], expected[-1] = len(draws) - sum(counts), len(draws) - sum(expected)
    return float(stats.chisquare(counts, expected, sum_check=False).pvalue)


@pytest.mark.parametrize("variance", [Fraction(1, 9), Fraction(1, 2), 1, Fraction(7, 3), 40])
def test_draws_have_exactly_the_masses_of_the_definition(variance):
    noise = DiscreteGaussian(variance)
    draws = [noise.draw() for _ in range(MANY)]

    assert p_value(draws, masses(float(variance))) > SIGNIFICANCE


def test_the_test_would_notice_a_rounded_gaussian():
    rounded = np.rint(np.random.default_rng().normal(0, math.sqrt(0.5), 20 * MANY)).astype(int)

    assert p_value(rounded.tolist(), masses(0.5)) < SIGNIFICANCE


@pytest.mark.parametrize("sigma", [2**10, 2**20, 2**40 + 1])
def test_wide_noise_has_the_moments_and_the_shape_of_a_gaussian(sigma):
    noise = DiscreteGaussian(sigma**2)
    draws = np.array([noise.draw() / sigma for _ in range(MANY)])

    assert abs(draws.mean()) < 6 / math.sqrt(MANY)
    assert abs(draws.std() - 1) < 6 / math.sqrt(2 * MANY)
    assert stats.kstest(draws, "norm").pvalue > SIGNIFICANCE


def test_every_chance_is_the_quotient_that_the_paper_says():
    """All outcomes of the coin exp(−2/3), by exhausting its first uniform draws."""

    class Scripted:
        def __init__(self, script):
            self.script, self.chance = iter(script), Fraction(1)

        def below(self, bound):
            self.chance /= bound
            return next(self.script)

    true = Fraction(0)
    noise = DiscreteGaussian(1)
    for length in range(1, 6):
        for script in itertools.product(*(range(3 * k) for k in range(1, length + 1))):
            if any(drawn >= 2 for drawn in script[:-1]) or script[-1] < 2:
                continue  # it goes on, or has ended before
            noise._uniform = Scripted(script)
            if noise._small_exp_coin(2, 3):
                true += noise._uniform.chance

    series = sum(Fraction(-2, 3) ** k / math.factorial(k) for k in range(6))
    assert true == series


@pytest.mark.parametrize("bound", [1, 2, 3, 5, 2**63 + 1, 3 * 2**64, 10**30])
def test_uniform_integers_are_below_their_bound_and_even(bound):
    uniform = discretegaussian._Uniform(Keystream.fresh())
    draws = [uniform.below(bound) for _ in range(MANY)]

    assert all(0 <= each < bound for each in draws)
    parts = min(bound, 10)
    counts = Counter(each * parts // bound for each in draws)
    sizes = [(bound * (k + 1) - 1) // parts - (bound * k - 1) // parts for k in range(parts)]
    if parts > 1:
        seen = [counts[k] for k in range(parts)]
        expected = [MANY * size / bound for size in sizes]
        assert stats.chisquare(seen, expected).pvalue > SIGNIFICANCE


def test_no_two_sources_draw_the_same_and_a_known_key_repeats():
    first, second = DiscreteGaussian(2**80), DiscreteGaussian(2**80)
    assert [first.draw() for _ in range(4)] != [second.draw() for _ in range(4)]

    key = bytes(range(32))
    known, again = (DiscreteGaussian(2**80, Keystream(key)) for _ in range(2))
    assert [known.draw() for _ in range(4)] == [again.draw() for _ in range(4)]
    assert "range" not in repr(known)


@pytest.mark.parametrize("variance", [0, -1, Fraction(-1, 3)])
def test_a_variance_is_positive(variance):
    with pytest.raises(LocalError):
        DiscreteGaussian(variance)
