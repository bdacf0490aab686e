"""What mechanisms cost: Rényi differential privacy at one integer order, fixed beforehand.

Costs add up: the Rényi divergences at order α of adaptively chosen mechanisms sum to that of all
(Mironov 2017, prop. 1), and one may stop at any time by a rule that looks at earlier results, as
long as the sum stays within an allowance that was fixed before the first (the Rényi filter of
Feldman & Zrnic 2021). That is why the order is chosen at the grant and never after.

* Neighbours differ by one unit added or removed; the divergence covers both directions.
* Every rounding goes to the private side: costs up, allowances down, noise up.
* What this version does not know costs ε = ∞.
"""

import math
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

from comity_common.dp.terms import (
    DISCRETE_GAUSSIAN,
    MAX_ORDER,
    MIN_ORDER,
    SAMPLED_GAUSSIAN,
    Guarantee,
    SampledGaussian,
    check_order,
)
from comity_common.errors import LocalError

KNOWN = (SAMPLED_GAUSSIAN, DISCRETE_GAUSSIAN)
COST_MARGIN = 1e-10  # relative; far above the rounding errors of a divergence (tested)
CONVERSION_MARGIN = 1e-12  # absolute; far above those of the conversion to ε
CALIBRATION_SLACK = 1e-9  # relative; so that a schedule fits in parts as well as whole

NOISE_DIGITS = 4  # decimals of a calibrated noise multiplier
MAX_NOISE_MULTIPLIER = 10_000


@lru_cache(maxsize=4096)
def divergence(sampling_probability: float, noise_multiplier: float, order: int) -> float:
    """Compute the Rényi divergence of one step of the Poisson-sampled Gaussian.

    Mironov, Talwar & Zhang 2019, §3.3, at integer α:
    A = Σ_k C(α,k) (1−q)^(α−k) q^k exp((k²−k)/2σ²), divergence = ln A / (α−1).
    The binomial weights sum to 1, so A − 1 = Σ_{k≥2} … (exp(…) − 1): all terms are positive and
    nothing cancels when the cost of a step is tiny.

    Args:
        sampling_probability: q, above 0 and at most 1.
        noise_multiplier: σ, above 0.
        order: α, 2 to 256.

    Returns:
        The divergence in nats, not yet rounded to the private side.
    """
    check_order(order)
    q, sigma = sampling_probability, noise_multiplier
    if q == 1.0:
        return order / (2 * sigma**2)
    log_q, log_not_q = math.log(q), math.log1p(-q)
    terms = [
        log_binomial + (order - k) * log_not_q + k * log_q + _log_expm1((k * k - k) / 2 / sigma**2)
        for k, log_binomial in enumerate(_log_binomials(order))
        if k >= 2
    ]
    return _log1p_exp(_log_sum_exp(terms)) / (order - 1)


def cost(event: object, order: int) -> float:
    """Compute what an event takes from an allowance at an order; ∞ for an unknown event.

    A discrete Gaussian of σ times the sensitivity is 1/2σ²-concentrated (Canonne, Kamath & Steinke
    2020, thm. 14): its divergence is at most α/2σ², what the Gaussian's without sampling is.
    """
    if not isinstance(event, SampledGaussian) or event.mechanism not in KNOWN:
        return math.inf
    q, sigma = float(event.sampling_probability), float(event.noise_multiplier)
    return event.steps * divergence(q, sigma, order) * (1 + COST_MARGIN)


def total_cost(events: Iterable[object], order: int) -> float:
    """Add up the costs of events at an order."""
    return math.fsum(cost(event, order) for event in events)


def allowance(guarantee: Guarantee, order: int) -> float:
    """Compute the largest total cost at an order that still gives the guarantee.

    Returns:
        In nats; zero or less if nothing at all can be afforded at this order.
    """
    offset = _conversion_offset(order, guarantee.delta)
    return float(guarantee.epsilon) - offset - 2 * CONVERSION_MARGIN


def fits(events: Iterable[object], guarantee: Guarantee, order: int) -> bool:
    """Tell whether events stay within a guarantee: the Rényi filter at one order."""
    return total_cost(events, order) <= allowance(guarantee, order)


def epsilon_of(events: Iterable[object], order: int, delta: Decimal | float) -> float:
    """Compute the ε that events amount to at δ, seen from one order.

    Returns:
        0.0 for no events, ∞ when one of them is unknown.
    """
    spent = total_cost(events, order)
    if spent == 0.0:
        return 0.0
    return max(0.0, spent + _conversion_offset(order, delta) + CONVERSION_MARGIN)


def calibrate(
    sampling_probability: Decimal | float,
    steps: int,
    epsilon: Decimal | float,
    delta: Decimal | float,
    order: int | None = None,
    beside: Iterable[object] = (),
) -> tuple[Decimal, int]:
    """Find the least noise with which a schedule passes the filter, and the order for it.

    Args:
        order: the only one to look at, 2 to 256, where budgets are counted at one already.
        beside: what else the guarantee has to pay for, with noise that is fixed already.

    Returns:
        The noise multiplier, rounded up to four decimals, and the integer order from 2 to 256
        that allows it (of several, the one with the most room).

    Raises:
        LocalError: no noise multiplier up to 10,000 is enough.
    """
    q = Decimal(str(sampling_probability))
    guarantee = Guarantee(epsilon=Decimal(str(epsilon)), delta=Decimal(str(delta)))
    orders = range(MIN_ORDER, MAX_ORDER + 1) if order is None else (order,)
    others = tuple(beside)
    left = {o: allowance(guarantee, o) - total_cost(others, o) for o in orders}
    affordable = [o for o in orders if left[o] > 0]

    def share(grid: int, order: int) -> float:
        sigma = Decimal(grid).scaleb(-NOISE_DIGITS)
        event = SampledGaussian(sampling_probability=q, noise_multiplier=sigma, steps=steps)
        return cost(event, order) / left[order]

    def enough(grid: int) -> bool:
        return any(share(grid, order) <= 1 - CALIBRATION_SLACK for order in affordable)

    too_little, plenty = 0, MAX_NOISE_MULTIPLIER * 10**NOISE_DIGITS
    if not enough(plenty):
        raise LocalError(f"expected a guarantee that noise up to {MAX_NOISE_MULTIPLIER} can give")
    while plenty - too_little > 1:
        middle = (too_little + plenty) // 2
        too_little, plenty = (too_little, middle) if enough(middle) else (middle, plenty)
    best = min(affordable, key=lambda order: share(plenty, order))
    return Decimal(plenty).scaleb(-NOISE_DIGITS), best


def _conversion_offset(order: int, delta: Decimal | float) -> float:
    """ε minus the divergence at order α: ln(1 − 1/α) − (ln δ + ln α)/(α − 1).

    Canonne, Kamath & Steinke 2020, prop. 12 (also Balle et al. 2020, thm. 21).
    """
    check_order(order)
    return math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)


@lru_cache(maxsize=MAX_ORDER)
def _log_binomials(order: int) -> tuple[float, ...]:
    """ln C(α, k) for k = 0 … α, each from the exact integer."""
    binomials = [1]
    for k in range(order):
        binomials.append(binomials[-1] * (order - k) // (k + 1))
    return tuple(math.log(binomial) for binomial in binomials)


def _log_expm1(x: float) -> float:
    """ln(exp(x) − 1) for x > 0, without overflow and without cancellation."""
    return x + math.log(-math.expm1(-x))


def _log_sum_exp(terms: list[float]) -> float:
    largest = max(terms)
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms))


def _log1p_exp(x: float) -> float:
    """ln(1 + exp(x)) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
