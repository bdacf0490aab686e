"""Loss distributions: between the bounds of an independent accountant, and never the smaller."""

import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity_common.dp import accountant, pld
from comity_common.dp.losses import sampled_gaussian
from comity_common.dp.terms import SampledGaussian
from comity_common.errors import LocalError

SETTINGS = [  # q, σ, T, δ
    (1, 1, 1, 1e-5),
    (1, 0.5, 1, 1e-5),
    (1, 0.5, 20, 1e-5),
    (1, 2, 10, 1e-6),
    (1, 20, 100, 1e-10),
    (0.9, 3, 50, 1e-5),
    (0.5, 5, 10, 1e-3),
    (0.5, 20, 1000, 1e-10),
    (0.2, 1.444, 100, 1e-5),
    (0.2, 1.6579, 120, 1e-5),
    (0.2, 8, 100, 1e-3),
    (0.1, 1, 200, 1e-6),
    (0.05, 10, 10_000, 1e-8),
    (0.03, 0.8, 300, 1e-10),
    (0.03, 0.5, 20, 1e-5),
    (0.01, 1, 1000, 1e-5),
    (0.01, 0.5, 100, 1e-5),
    (0.003, 0.6, 3000, 1e-7),
    (0.001, 0.7, 10_000, 1e-6),
    (0.001, 0.5, 1000, 1e-8),
    (0.0001, 0.5, 100_000, 1e-5),
    (0.0001, 50, 100_000, 1e-5),
]


def event(q, sigma, steps, **more) -> SampledGaussian:
    return SampledGaussian(
        sampling_probability=Decimal(str(q)),
        noise_multiplier=Decimal(str(sigma)),
        steps=steps,
        **more,
    )


def renyi(events, delta) -> float:
    return min(accountant.epsilon_of(events, order, delta) for order in range(2, 257))


def theirs(q, sigma, steps, pessimistic):
    library = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    return library.from_gaussian_mechanism(
        sigma,
        sampling_prob=q,
        value_discretization_interval=1e-3 if sigma < 10 else 1e-4,
        pessimistic_estimate=pessimistic,
        use_connect_dots=pessimistic,
    ).self_compose(steps)


@pytest.mark.parametrize(("q", "sigma", "steps", "delta"), SETTINGS)
def test_epsilon_lies_between_the_bounds_of_dp_accounting(q, sigma, steps, delta):
    least, most = (
        theirs(q, sigma, steps, pessimistic).get_epsilon_for_delta(delta)
        for pessimistic in (False, True)
    )

    ours = pld.epsilon([event(q, sigma, steps)], delta)

    assert least <= ours <= max(most * 1.01, most + 0.005)


@pytest.mark.parametrize(("q", "sigma", "steps", "delta"), SETTINGS)
def test_epsilon_is_at_most_that_of_any_renyi_order(q, sigma, steps, delta):
    events = [event(q, sigma, steps)]

    assert 0 < pld.check_consistent(events, delta) <= renyi(events, delta)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Balle & Wang 2018, thm. 8: the Gaussian mechanism with sensitivity over σ of μ."""

    def above(x: float) -> float:
        return math.erfc(x / math.sqrt(2)) / 2

    half, ratio = mu / 2, epsilon / mu
    return above(ratio - half) - math.exp(epsilon) * above(ratio + half)


@pytest.mark.parametrize(("sigma", "steps"), [(0.5, 1), (2, 1), (2, 100), (50, 1), (50, 100_000)])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.5])
def test_without_sampling_delta_is_that_of_the_gaussian_mechanism(sigma, steps, shift):
    mu = math.sqrt(steps) / sigma
    epsilon = mu**2 / 2 + shift * mu
    true = gaussian_delta(mu, epsilon)

    ours = pld.delta([event(1, sigma, steps)], epsilon)

    assert true <= ours <= true * 1.03


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "delta"), [each for each in SETTINGS if each[0] >= 0.01]
)
def test_delta_undoes_epsilon(q, sigma, steps, delta):
    events = [event(q, sigma, steps)]

    assert pld.delta(events, pld.epsilon(events, delta)) == pytest.approx(delta, rel=0.02)


@pytest.mark.parametrize(("q", "sigma", "steps", "delta"), SETTINGS[:20:4])
def test_more_steps_more_sampling_and_less_noise_cost_more(q, sigma, steps, delta):
    base = pld.epsilon([event(q, sigma, steps)], delta)

    assert pld.epsilon([event(q, sigma, steps + max(1, steps // 20))], delta) > base
    assert pld.epsilon([event(q * 0.95, sigma, steps)], delta) < base
    assert pld.epsilon([event(q, sigma * 0.95, steps)], delta) > base
    assert pld.epsilon([event(q, sigma, steps)], delta * 2) < base


def test_segments_are_one_schedule():
    whole = pld.epsilon([event(0.2, 1.5, 100)], 1e-5)
    parts = pld.epsilon([event(0.2, 1.5, 40), event(0.2, 1.5, 59), event(0.2, 1.5, 1)], 1e-5)
    mixed = pld.epsilon([event(0.2, 1.5, 50), event(0.05, 0.9, 50)], 1e-5)

    assert parts == pytest.approx(whole, rel=1e-3)
    assert mixed < pld.epsilon([event(0.2, 1.5, 50)], 5e-6) + pld.epsilon(
        [event(0.05, 0.9, 50)], 5e-6
    )
    assert mixed > pld.epsilon([event(0.2, 1.5, 50)], 1e-5)


def test_a_discrete_gaussian_is_added_and_never_forgotten():
    training = event(0.2, 1.5, 100)
    score = event(1, 20, 2, mechanism="discrete-gaussian")
    both = pld.check_consistent([training, score], 1e-5)

    assert both > pld.epsilon([training], 1e-5)
    assert both <= pld.epsilon([training], 5e-6) + pld.epsilon([score], 5e-6)
    assert both >= pld.epsilon([training, event(1, 20, 2)], 1e-5)  # the Gaussian's is no larger
    assert pld.epsilon([score], 1e-5) == renyi([score], 1e-5)
    assert pld.delta([score], 5) == 1.0
    assert pld.epsilon([score, None], 1e-5) == math.inf


def test_segments_of_other_noise_equal_those_of_dp_accounting():
    one, other = theirs(0.2, 1.5, 50, True), theirs(0.05, 0.9, 50, True)

    ours = pld.epsilon([event(0.2, 1.5, 50), event(0.05, 0.9, 50)], 1e-5)

    assert ours == pytest.approx(one.compose(other).get_epsilon_for_delta(1e-5), rel=2e-3)


@settings(deadline=None, max_examples=25)
@given(
    q=st.floats(1e-4, 1),
    sigma=st.floats(0.5, 50),
    width=st.floats(1e-3, 0.05),
    epsilon=st.floats(-3, 10),
)
def test_a_step_on_the_grid_bounds_the_step_in_both_directions(q, sigma, width, epsilon):
    step = event(round(q, 4), round(sigma, 3), 1)
    q, sigma = float(step.sampling_probability), float(step.noise_multiplier)

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    def exact(sign: int) -> float:
        """∫ max(0, P − exp(ε)·Q): the loss is above ε from one x on, or up to one."""
        inside = (math.exp(sign * epsilon) - (1 - q)) / q
        x = sigma**2 * math.log(inside) + 0.5 if inside > 0 else -math.inf
        null, shifted = (
            phi(sign * (mean - x) / sigma) if math.isfinite(x) else (1.0 if sign > 0 else 0.0)
            for mean in (0, 1)
        )
        mixture = (1 - q) * null + q * shifted
        p, other = (mixture, null) if sign > 0 else (null, mixture)
        return p - math.exp(epsilon) * other

    for losses, sign in zip(sampled_gaussian(step, width), (1, -1), strict=True):
        assert losses.masses.sum() + losses.infinite == pytest.approx(1, abs=1e-12)
        over = losses.points > epsilon
        gains = -losses.masses[over] * [math.expm1(epsilon - x) for x in losses.points[over]]
        on_grid = gains.sum() + losses.infinite

        assert on_grid >= exact(sign) - 1e-12
        assert on_grid <= exact(sign) + width


UNKNOWN = [None, "gaussian", event(0.1, 100, 1, mechanism="shuffled-gaussian")]


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_an_unknown_event_costs_infinity(unknown):
    known = event(0.1, 100, 1)

    assert pld.epsilon([known, unknown], 1e-5) == math.inf
    assert pld.delta([known, unknown], 5) == 1.0
    assert pld.check_consistent([known, unknown], 1e-5) == math.inf


def test_nothing_costs_nothing():
    assert pld.epsilon([], 1e-5) == 0.0
    assert pld.delta([], 0) == 0.0


@pytest.mark.parametrize(
    ("q", "sigma", "steps"),
    [
        (1, "1e-40", 1),
        (1, "1e-40", 2**53 - 1),
        (1, "1e-40", 10**8),
        (1, "0.01", 100),
        (1, "0.05", 100),
        ("1e-40", "1e40", 10**8),
        ("1e-40", "1e-40", 10**8),
    ],
)
def test_extreme_terms_stay_on_the_private_side(q, sigma, steps):
    found = pld.epsilon([event(q, sigma, steps)], 1e-5)

    assert found >= (600 if q == 1 else 0)
    assert 0 <= pld.delta([event(q, sigma, steps)], 1) <= 1


@pytest.mark.parametrize(
    ("q", "steps", "epsilon", "expected"),
    [("0.2", 100, 8, "1.4439"), ("0.2", 120, 8, "1.5432"), ("1", 10, 0.5, "22.2415")],
)
def test_calibrated_noise_is_the_least_that_keeps_the_promise(q, steps, epsilon, expected):
    sigma = pld.calibrate(Decimal(q), steps, epsilon, 1e-5)

    assert sigma == Decimal(expected)
    assert pld.epsilon([event(q, sigma, steps)], 1e-5) <= epsilon
    assert pld.epsilon([event(q, sigma - Decimal("0.0001"), steps)], 1e-5) > epsilon


def test_calibrated_noise_pays_for_what_is_beside_it():
    score = event(1, 20, 1, mechanism="discrete-gaussian")

    sigma = pld.calibrate(Decimal("0.2"), 100, 8, 1e-5, beside=[score])

    assert sigma > Decimal("1.4439")
    assert pld.check_consistent([event(0.2, sigma, 100), score], 1e-5) <= 8
    less = event(0.2, sigma - Decimal("0.0001"), 100)
    assert pld.epsilon([less, score], 1e-5) > 8


def test_calibration_gives_up_when_no_noise_is_enough():
    with pytest.raises(LocalError):
        pld.calibrate(Decimal(1), 2**53 - 1, Decimal("0.1"), Decimal("1e-9"))


def test_a_bound_above_that_of_renyi_orders_fails_closed(monkeypatch):
    events = [event(0.2, 1.5, 100)]
    slightly_less = pld.epsilon(events, 1e-5) * 0.99
    monkeypatch.setattr(pld.accountant, "epsilon_of", lambda *_: slightly_less)

    with pytest.raises(LocalError, match="Rényi ε"):
        pld.check_consistent(events, 1e-5)
