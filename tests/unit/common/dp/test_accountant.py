"""Costs equal those of independent accountants, and every rounding goes to the private side."""

import math
from decimal import Decimal, localcontext
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity_common.dp.accountant import (
    allowance,
    calibrate,
    cost,
    divergence,
    epsilon_of,
    fits,
    total_cost,
)
from comity_common.dp.terms import Guarantee, SampledGaussian
from comity_common.errors import LocalError

DELTA = Decimal("1e-5")

SETTINGS = [  # q, σ, T
    (q, sigma, steps)
    for q in (0.01, 0.05, 0.2, 0.5, 1.0)
    for sigma, steps in ((0.7, 1), (1.0, 20), (1.538, 100), (4.0, 300), (8.3, 1000))
]


def event(q, sigma, steps) -> SampledGaussian:
    return SampledGaussian(
        sampling_probability=Decimal(str(q)), noise_multiplier=Decimal(str(sigma)), steps=steps
    )


def exact_divergence(q, sigma, order) -> Decimal:
    """Mironov, Talwar & Zhang 2019, §3.3, as written, with 80 digits."""
    with localcontext() as context:
        context.prec = 80
        context.Emax, context.Emin = 10**9, -(10**9)
        q, sigma = Decimal(q), Decimal(sigma)
        total = sum(
            math.comb(order, k)
            * ((1 - q) ** (order - k) if order > k else 1)
            * q**k
            * (Decimal(k * k - k) / (2 * sigma * sigma)).exp()
            for k in range(order + 1)
        )
        return total.ln() / (order - 1)


@settings(deadline=None, max_examples=60)
@given(
    q=st.floats(1e-6, 1),
    sigma=st.floats(0.3, 100),
    order=st.sampled_from([2, 3, 4, 8, 33, 128, 256]),
)
def test_the_divergence_is_exact_to_well_within_the_margin(q, sigma, order):
    true = exact_divergence(q, sigma, order)

    assert float(abs(Decimal(divergence(q, sigma, order)) - true) / true) < 2e-11


def test_without_sampling_it_is_the_gaussian_mechanism():
    assert divergence(1.0, 2.0, 8) == 8 / (2 * 2.0**2)
    assert divergence(1 - 1e-15, 2.0, 8) == pytest.approx(8 / (2 * 2.0**2))


def test_divergences_equal_those_of_dp_accounting_at_integer_orders():
    dp = pytest.importorskip("dp_accounting")
    orders = [2, 3, 4, 8, 17, 64]
    for q, sigma, steps in SETTINGS:
        theirs = dp.rdp.RdpAccountant(orders=orders)
        step = dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma))
        theirs.compose(step, steps)
        ours = [total_cost([event(q, sigma, steps)], order) for order in orders]
        assert ours == pytest.approx(list(theirs.rdp), rel=1e-9)


def test_epsilons_equal_those_of_dp_accounting_at_one_order():
    dp = pytest.importorskip("dp_accounting")
    for q, sigma, steps in SETTINGS:
        for order in (3, 17):
            theirs = dp.rdp.RdpAccountant(orders=[order])
            theirs.compose(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)), steps)
            ours = epsilon_of([event(q, sigma, steps)], order, DELTA)
            assert ours == pytest.approx(theirs.get_epsilon(1e-5), rel=1e-9)


def test_divergences_equal_those_of_opacus():
    rdp = pytest.importorskip("opacus.accountants.analysis.rdp")
    orders = [2, 3, 4, 8, 17, 64]
    for q, sigma, steps in SETTINGS:
        theirs = rdp.compute_rdp(q=q, noise_multiplier=sigma, steps=steps, orders=orders)
        ours = [total_cost([event(q, sigma, steps)], order) for order in orders]
        assert ours == pytest.approx(list(theirs), rel=1e-9)


def test_a_loss_distribution_gives_no_more_epsilon_than_ours():
    """PLD is tighter than any Rényi order; were ours below, ours would be wrong."""
    dp = pytest.importorskip("dp_accounting")
    from dp_accounting.pld import PLDAccountant

    for q, sigma, steps in SETTINGS:
        theirs = PLDAccountant(value_discretization_interval=1e-3)
        step = dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma))
        theirs.compose(dp.SelfComposedDpEvent(step, steps))
        ours = min(epsilon_of([event(q, sigma, steps)], order, DELTA) for order in range(2, 65))
        assert theirs.get_epsilon(1e-5) <= ours


@given(st.lists(st.sampled_from(SETTINGS), max_size=4), st.integers(2, 40))
def test_costs_of_events_add_up(several, order):
    events = [event(*each) for each in several]

    assert total_cost(events, order) == pytest.approx(sum(cost(each, order) for each in events))


@pytest.mark.parametrize("order", [2, 4, 16])
def test_more_steps_more_sampling_and_less_noise_cost_more(order):
    for cheaper, dearer in (
        (event(0.1, 1.5, 10), event(0.1, 1.5, 11)),
        (event(0.1, 1.5, 10), event(0.11, 1.5, 10)),
        (event(0.1, 1.5, 10), event(0.1, 1.49, 10)),
    ):
        assert cost(cheaper, order) < cost(dearer, order)


def test_nothing_costs_nothing():
    assert epsilon_of([], 4, DELTA) == 0.0
    assert total_cost([], 4) == 0.0


@pytest.mark.parametrize(
    "unknown",
    [
        None,
        "gaussian",
        SampledGaussian(
            sampling_probability=Decimal("0.1"),
            noise_multiplier=Decimal(100),
            steps=1,
            mechanism="shuffled-gaussian",
        ),
    ],
)
def test_an_unknown_event_costs_infinity_and_never_fits(unknown):
    known = event(0.1, 100, 1)
    wide = Guarantee(epsilon=Decimal("1e40"), delta=DELTA)

    assert epsilon_of([known, unknown], 4, DELTA) == math.inf
    assert fits([known], wide, 4)
    assert not fits([known, unknown], wide, 4)


@settings(deadline=None)
@given(
    q=st.decimals("0.001", "1", places=3),
    sigma=st.decimals("0.5", "50", places=2),
    steps=st.integers(1, 10**6),
    order=st.integers(2, 64),
    epsilon=st.decimals("0.01", "20", places=2),
)
def test_what_fits_a_guarantee_has_at_most_its_epsilon(q, sigma, steps, order, epsilon):
    guarantee = Guarantee(epsilon=epsilon, delta=DELTA)
    events = [event(q, sigma, steps)]

    if fits(events, guarantee, order):
        assert epsilon_of(events, order, DELTA) <= epsilon
    else:
        slightly_less = float(epsilon) * (1 - 1e-9) - 1e-11
        assert epsilon_of(events, order, DELTA) >= slightly_less


@pytest.mark.parametrize("sigma", [0.5, 1, 3.7])
@pytest.mark.parametrize("order", [2, 5, 64])
@pytest.mark.parametrize("shift", [1, 2])
def test_a_discrete_gaussian_costs_no_less_than_its_own_divergence(sigma, order, shift):
    """Σ P^α Q^(1−α), summed as it stands, for noise σ·shift on neighbours `shift` apart."""
    reach = range(-200, 201)
    wide = 2 * (sigma * shift) ** 2
    total = math.fsum(math.exp(-x * x / wide) for x in reach)
    logs = [
        (-order * (x - shift) ** 2 + (order - 1) * x * x) / wide - math.log(total)
        for x in range(-200 + order * shift, 201 + order * shift)
    ]
    largest = max(logs)
    sum_of_all = largest + math.log(math.fsum(math.exp(each - largest) for each in logs))
    exact = sum_of_all / (order - 1)
    release = SampledGaussian(
        sampling_probability=Decimal(1),
        noise_multiplier=Decimal(str(sigma)),
        steps=3,
        mechanism="discrete-gaussian",
    )

    assert cost(release, order) >= 3 * exact * (1 - 1e-12)
    assert cost(release, order) == pytest.approx(3 * order / 2 / sigma**2)


def test_a_discrete_gaussian_is_never_sampled():
    with pytest.raises(LocalError, match="without sampling"):
        SampledGaussian(
            sampling_probability=Decimal("0.5"),
            noise_multiplier=Decimal(1),
            steps=1,
            mechanism="discrete-gaussian",
        )


def test_an_order_may_afford_nothing():
    assert allowance(Guarantee(epsilon=Decimal(8), delta=DELTA), 2) < 0
    assert allowance(Guarantee(epsilon=Decimal(8), delta=DELTA), 4) > 0


@pytest.mark.parametrize(
    ("q", "steps", "epsilon"),
    [("0.2", 100, "8"), ("0.2", 100, "1"), ("0.05", 300, "3"), ("1", 10, "8"), ("0.01", 1, "0.5")],
)
def test_calibrated_noise_is_the_least_that_passes_the_gate(q, steps, epsilon):
    guarantee = Guarantee(epsilon=Decimal(epsilon), delta=DELTA)

    sigma, order = calibrate(Decimal(q), steps, guarantee.epsilon, DELTA)

    assert sigma.as_tuple().exponent == -4
    assert fits([event(q, sigma, steps)], guarantee, order)
    less = event(q, sigma - Decimal("0.0001"), steps)
    assert not any(
        total_cost([less], other) <= allowance(guarantee, other) * (1 - 1e-9)
        for other in range(2, 257)
    )


def test_calibrated_noise_at_epsilon_8():
    """At whole orders 1.5561; fractional orders would allow 1.538, loss distributions 1.444."""
    assert calibrate(Decimal("0.2"), 100, Decimal(8), DELTA) == (Decimal("1.5561"), 4)


@settings(deadline=None, max_examples=8)
@given(
    q=st.sampled_from(["0.05", "0.2"]),
    rounds=st.integers(1, 60),
    local=st.integers(1, 20),
    epsilon=st.sampled_from(["1", "8"]),
)
def test_a_calibrated_schedule_fits_round_by_round(q, rounds, local, epsilon):
    guarantee = Guarantee(epsilon=Decimal(epsilon), delta=DELTA)

    sigma, order = calibrate(Decimal(q), rounds * local, guarantee.epsilon, DELTA)

    assert fits([event(q, sigma, local)] * rounds, guarantee, order)


def test_calibrated_noise_pays_for_what_is_beside_it():
    guarantee = Guarantee(epsilon=Decimal(8), delta=DELTA)
    score = SampledGaussian(
        sampling_probability=Decimal(1),
        noise_multiplier=Decimal(20),
        steps=2,
        mechanism="discrete-gaussian",
    )

    sigma, order = calibrate(Decimal("0.2"), 100, 8, DELTA, beside=[score])

    assert sigma > Decimal("1.5561")
    assert fits([event(0.2, sigma, 100), score], guarantee, order)
    assert not fits([event(0.2, sigma - Decimal("0.0001"), 100), score], guarantee, order)
    with pytest.raises(LocalError):
        calibrate(Decimal("0.2"), 100, 8, DELTA, beside=[None])


def test_calibration_gives_up_when_no_noise_is_enough():
    with pytest.raises(LocalError):
        calibrate(Decimal(1), 2**53 - 1, Decimal("0.1"), Decimal("1e-9"))


@pytest.mark.parametrize("order", [-1, 0, 1, 257, 10**9])
def test_an_order_is_from_2_to_256(order):
    guarantee = Guarantee(epsilon=Decimal(8), delta=DELTA)
    for ask in (lambda: cost(event(0.1, 1, 1), order), lambda: allowance(guarantee, order)):
        with pytest.raises(LocalError):
            ask()


def test_extreme_terms_neither_overflow_nor_cost_nothing():
    loud, quiet = event(1, "1e40", 1), event(1, "1e-40", 2**53 - 1)
    rare = event("1e-40", "1e40", 1)

    assert 0 < cost(rare, 2) < cost(loud, 2) < cost(quiet, 2)
    assert all(a < b for a, b in pairwise([0, cost(rare, 256), cost(loud, 256), cost(quiet, 256)]))


@pytest.mark.parametrize(
    ("q", "sigma", "steps"),
    [
        ("0", "1", 1),
        ("1.01", "1", 1),
        ("-0.1", "1", 1),
        ("NaN", "1", 1),
        ("0.1", "0", 1),
        ("0.1", "-1", 1),
        ("0.1", "Infinity", 1),
        ("0.1", "NaN", 1),
        ("0.1", "1", 0),
        ("0.1", "1", 2**53),
    ],
)
def test_terms_out_of_range_are_refused(q, sigma, steps):
    with pytest.raises(LocalError):
        event(q, sigma, steps)


@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [("0", "1e-5"), ("-1", "1e-5"), ("NaN", "1e-5"), ("1", "0"), ("1", "1"), ("1", "NaN")],
)
def test_a_guarantee_out_of_range_is_refused(epsilon, delta):
    with pytest.raises(LocalError):
        Guarantee(epsilon=Decimal(epsilon), delta=Decimal(delta))
