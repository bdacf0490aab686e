"""Where nothing is wrong a p-value is below x in a share x of cases at most; wrongs are seen."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats

from comity_client.selftest import statistics
from comity_client.selftest.examination import FALSE_ALARMS

CASES = 400
STEPS, WIDTH = 12, 30
LIMIT = FALSE_ALARMS / 11  # of one test of a family


def standard(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((STEPS, WIDTH))


def regressed(rng: np.random.Generator) -> float:
    included = (rng.random((STEPS, WIDTH)) < 0.3).astype(np.int64)
    return statistics.slope(included, 0.4 * included + standard(rng), 0.4)


OF_NOISE = (
    statistics.scale,
    statistics.shape,
    statistics.repeats,
    statistics.neighbours,
    statistics.added,
)
UNDER_NULL: dict[str, Callable[[np.random.Generator], float]] = {
    **{test.__name__: lambda rng, test=test: test(standard(rng)) for test in OF_NOISE},
    "slope": regressed,
    "rate": lambda rng: statistics.rate(int(rng.binomial(90, 0.2)), 90, 0.2),
    "spread": lambda rng: statistics.spread(rng.binomial(40, 0.3, 25), 40, 0.3),
}


@pytest.mark.parametrize("test", UNDER_NULL)
def test_a_clean_case_alarms_no_more_often_than_its_level(test: str) -> None:
    rng = np.random.default_rng()
    ps = np.array([UNDER_NULL[test](rng) for _ in range(CASES)])
    assert ((ps >= 0) & (ps <= 1)).all()
    for level in (0.05, 0.2):
        assert (ps < level).mean() < level + 6 * np.sqrt(level * (1 - level) / CASES)


@pytest.mark.parametrize("test", [name for name in UNDER_NULL if name not in ("repeats", "rate")])
def test_and_not_much_less_often_so_that_it_can_fail(test: str) -> None:
    rng = np.random.default_rng()
    ps = np.array([UNDER_NULL[test](rng) for _ in range(CASES)])
    assert (ps < 0.2).mean() > 0.2 - 6 * np.sqrt(0.2 * 0.8 / CASES) - 0.03


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.5, 0.97])
def test_the_law_of_a_spread_is_that_of_every_case_counted_out(probability: float) -> None:
    trials, n = 4, 3
    middle = round(trials * probability)
    law: dict[int, float] = {}
    for counts in product(range(trials + 1), repeat=n):
        squares = sum((count - middle) ** 2 for count in counts)
        chance = float(np.prod(stats.binom.pmf(counts, trials, probability)))
        law[squares] = law.get(squares, 0.0) + chance
    for counts in product(range(trials + 1), repeat=n):
        seen = sum((count - middle) ** 2 for count in counts)
        at_most = sum(chance for squares, chance in law.items() if squares <= seen)
        at_least = sum(chance for squares, chance in law.items() if squares >= seen)
        found = statistics.spread(np.array(counts), trials, probability)
        assert found == pytest.approx(min(1.0, 2 * min(at_most, at_least)), abs=1e-12)


def test_a_rate_is_that_of_the_exact_binomial_test() -> None:
    for hits in range(31):
        tails = stats.binom.cdf(hits, 30, 0.2), stats.binom.sf(hits - 1, 30, 0.2)
        assert statistics.rate(hits, 30, 0.2) == pytest.approx(min(1.0, 2 * min(tails)))
    assert statistics.rate(31, 30, 0.2) == 0.0


@pytest.mark.parametrize(("trials", "probability"), [(1000, 0.02), (1000, 0.2), (150_000, 0.05)])
def test_a_rate_alarms_at_its_limit_no_more_often_than_it_may(
    trials: int, probability: float
) -> None:
    middle, reach = trials * probability, 9 * np.sqrt(trials * probability)
    hits = np.arange(max(0, int(middle - reach)), int(middle + reach))
    ps = np.array([statistics.rate(int(one), trials, probability) for one in hits])
    chances = stats.binom.pmf(hits, trials, probability)
    outside = 1 - chances.sum()
    assert LIMIT / 2 < chances[ps < LIMIT].sum() + outside <= LIMIT


@pytest.mark.parametrize("n", [5, 360, 10_000, 50_000])
@pytest.mark.parametrize("roots", [1.5, 2.236, 3.0])
def test_a_shape_is_never_stranger_than_the_exact_law_of_so_many_values_says(
    n: int, roots: float
) -> None:
    even = (np.arange(n) + 0.5) / n
    z = stats.norm.ppf(even * max(0.1, 1 - roots / np.sqrt(n)))
    exact = stats.kstest(z, "norm", method="exact").pvalue
    found = statistics.shape(z)
    assert exact <= found * (1 + 1e-9)
    if n == 50_000:
        assert found <= 1.02 * exact


def test_full_batches_have_no_spread_and_anything_else_is_seen() -> None:
    assert statistics.spread(np.full(9, 40), 40, 1.0) == 1.0
    assert statistics.spread(np.array([40] * 8 + [39]), 40, 1.0) == 0.0
    assert statistics.rate(360, 360, 1.0) == 1.0
    assert statistics.rate(359, 360, 1.0) == 0.0


def test_equal_counts_are_no_binomials_and_neither_are_all_or_nothing() -> None:
    assert statistics.spread(np.full(500, 60), 300, 0.2) < 1e-12
    assert statistics.spread(np.array([300] * 100 + [0] * 400), 300, 0.2) == 0.0


def test_noise_that_is_wrong_is_seen() -> None:
    rng = np.random.default_rng()
    z = rng.standard_normal((100, 400))
    assert statistics.scale(0.95 * z) < 1e-6
    assert statistics.shape(rng.uniform(-np.sqrt(3), np.sqrt(3), (100, 400))) < 1e-6
    repeated = z.copy()
    repeated[70] = -z[3]
    assert statistics.repeats(repeated) == 0.0 < 1e-3 < statistics.repeats(z)
    carried = 0.8 * z + 0.6 * np.roll(z, 1, axis=0)
    assert statistics.scale(carried) > 1e-6
    assert statistics.neighbours(carried) < 1e-6
    common = 0.9 * z + np.sqrt(1 - 0.81) * rng.standard_normal(400)
    assert statistics.added(common) < 1e-6


@pytest.mark.parametrize("test", OF_NOISE)
def test_no_noise_at_all_is_seen_by_every_test_of_noise(test: Callable[..., float]) -> None:
    assert test(np.zeros((300, 100))) < 1e-6


def test_a_slope_needs_something_that_was_included() -> None:
    assert statistics.slope(np.zeros((3, 4), np.int64), np.zeros((3, 4)), 1.0) == 0.0
