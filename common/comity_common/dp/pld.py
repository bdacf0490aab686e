"""What a schedule costs that is fixed before it begins: privacy loss distributions.

The least ε of all accountants, for the gate `fixed-schedule`. It holds for one schedule alone: over
runs that are chosen after a look at earlier results it is no bound (`accountant` has one that is).

* Every approximation is an upper bound: the grid (`losses`), and the tails and rounding errors of
  the convolution (`convolution`).
* Both directions of add/remove adjacency; the worse one counts.
* A discrete Gaussian has no loss distribution here. Its Rényi ε at half of δ is added to the rest's
  at the other half; where Rényi orders for all together give less, that counts.
* What this version does not know costs ε = ∞, and so do more than 10⁸ steps or a noise multiplier
  below 0.05.

    epsilon([SampledGaussian(sampling_probability=q, noise_multiplier=σ, steps=100)], 1e-5)
"""

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from comity_common.dp import accountant
from comity_common.dp.accountant import NOISE_DIGITS
from comity_common.dp.convolution import LossSum, Segments, convolve, deviation, tilt_for, window
from comity_common.dp.losses import extent, sampled_gaussian, sketch
from comity_common.dp.terms import (
    DISCRETE_GAUSSIAN,
    MAX_ORDER,
    MIN_ORDER,
    SAMPLED_GAUSSIAN,
    SampledGaussian,
)
from comity_common.errors import LocalError

FINENESS = 0.05  # width of the grid in standard deviations of a step's loss
RESOLUTION = 2e-4  # nats; of a whole schedule's loss, below which nothing needs to be told apart
MOST_POINTS = 1 << 18  # about, of a grid; bounds time and memory
MOST_TILT = 0.5  # in one over the grid's width, which a stronger tilt would magnify
GRID_DEVIATIONS = 10.0  # a grid spreads a step's loss by at most half its width
MOST_STEPS = 10**8
LEAST_NOISE = Decimal("0.05")  # with less, losses of hundreds of nats are common
LEAST_EPSILON = 1e-12


def epsilon(events: Iterable[object], delta: Decimal | float) -> float:
    """Bound the ε of a fixed schedule at δ.

    Args:
        delta: above 0 and below 1.

    Returns:
        0.0 for no events; ∞ when one of them is unknown, or when nothing can be promised at δ.
    """
    several, aim = tuple(events), float(delta)
    discrete = [event for event in several if _is_discrete(event)]
    known = _known(event for event in several if not _is_discrete(event))
    if known is None:
        return math.inf
    if not discrete:
        return _epsilon(known, aim)
    apart = _epsilon(known, aim / 2) + _renyi(discrete, aim / 2)
    return min(apart, _renyi(several, aim))


bound = epsilon  # where an argument has its name


def delta(events: Iterable[object], epsilon: Decimal | float) -> float:
    """Bound the δ of a fixed schedule at ε.

    Args:
        epsilon: 0 or more.

    Returns:
        0.0 for no events; 1.0 when one of them is unknown, or a discrete Gaussian.
    """
    known = _known(events)
    if not known:
        return 1.0 if known is None else 0.0
    aim = float(epsilon)
    sums = _both_ways(known, lambda sketches: tilt_for(sketches, epsilon=aim))
    first = max(each.delta(aim) for each in sums)
    if not 0 < first < 1:
        return first
    # A tilt made for the δ that was found is sometimes better; the smaller bound holds.
    sums = _both_ways(known, lambda sketches: tilt_for(sketches, delta=first))
    return min(first, max(each.delta(aim) for each in sums))


def calibrate(
    sampling_probability: Decimal | float,
    steps: int,
    epsilon: Decimal | float,
    delta: Decimal | float,
    beside: Iterable[object] = (),
) -> Decimal:
    """Find the least noise with which a fixed schedule keeps a guarantee.

    Args:
        beside: what else the guarantee has to pay for, with noise that is fixed already.

    Returns:
        The noise multiplier, rounded up to four decimals.

    Raises:
        LocalError: no noise multiplier up to 10,000 is enough.
    """
    q, aim, others = Decimal(str(sampling_probability)), math.log(epsilon), tuple(beside)

    def excess(grid: int) -> float:
        """How far ln ε is above what is promised; about linear in ln σ."""
        sigma = Decimal(grid).scaleb(-NOISE_DIGITS)
        event = SampledGaussian(sampling_probability=q, noise_multiplier=sigma, steps=steps)
        return math.log(max(bound((event, *others), delta), LEAST_EPSILON)) - aim

    renyi, _ = accountant.calibrate(q, steps, epsilon, delta, beside=others)
    plenty = int(renyi.scaleb(NOISE_DIGITS))
    if (over := excess(plenty)) > 0:
        raise LocalError("expected a loss distribution that needs no more noise than Rényi orders")
    too_little, under = plenty * 3 // 4, math.inf
    while too_little > 0 and (under := excess(too_little)) <= 0:
        plenty, over, too_little = too_little, under, too_little * 3 // 4
    turn = 0
    while plenty - too_little > 1:
        turn += 1
        share = under / (under - over) if turn % 3 and math.isfinite(under) else 0.5
        between = too_little + round(share * (plenty - too_little))
        between = min(max(between, too_little + 1), plenty - 1)
        if (found := excess(between)) <= 0:
            plenty, over = between, found
        else:
            too_little, under = between, found
    return Decimal(plenty).scaleb(-NOISE_DIGITS)


def check_consistent(events: Iterable[object], delta: Decimal | float) -> float:
    """Compute ε at δ and hold it against the Rényi accountant, whose bound is never lower.

    Returns:
        What `epsilon` returns.

    Raises:
        LocalError: it is above the Rényi ε at the best order, so one of the two is wrong.
    """
    several = tuple(events)
    alone = [event for event in several if not _is_discrete(event)]
    for some in (alone, several):
        found, renyi = epsilon(some, delta), _renyi(some, delta)
        if not found <= renyi:
            raise LocalError(f"expected at most the Rényi ε {renyi:.6g}, got {found:.6g}")
        if len(alone) == len(several):
            break
    return found


def _epsilon(events: Sequence[SampledGaussian], delta: float) -> float:
    if not events:
        return 0.0
    sums = _both_ways(events, lambda sketches: tilt_for(sketches, delta=delta))
    return max(each.epsilon(delta) for each in sums)


def _renyi(events: Sequence[object], delta: Decimal | float) -> float:
    orders = range(MIN_ORDER, MAX_ORDER + 1)
    return min(accountant.epsilon_of(events, order, delta) for order in orders)


def _is_discrete(event: object) -> bool:
    return isinstance(event, SampledGaussian) and event.mechanism == DISCRETE_GAUSSIAN


def _known(events: Iterable[object]) -> list[SampledGaussian] | None:
    """Return the events, or None if one of them is unknown or out of reach."""
    known: list[SampledGaussian] = []
    for event in events:
        if not isinstance(event, SampledGaussian) or event.mechanism != SAMPLED_GAUSSIAN:
            return None
        if event.noise_multiplier < LEAST_NOISE:
            return None
        known.append(event)
    return known if sum(event.steps for event in known) <= MOST_STEPS else None


def _both_ways(
    events: Sequence[SampledGaussian], tilt_of: Callable[[Segments], float]
) -> list[LossSum]:
    """Compose events in both directions, on the finest grid that is needed and affordable."""
    steps = [event.steps for event in events]
    sketches = [
        list(zip(one_way, steps, strict=True)) for one_way in zip(*map(sketch, events), strict=True)
    ]
    root = math.sqrt(sum(steps))
    spread = min(deviation(segments, 0.0) for segments in sketches) / root
    width = max(FINENESS * spread, RESOLUTION / root)
    tilts = [min(tilt_of(segments), MOST_TILT / width) for segments in sketches]
    windows = [window(*each) for each in zip(sketches, tilts, strict=True)]
    spans = [most - least for least, most in map(extent, events)]
    spans += [kept.high - kept.low for kept in windows]
    width = max(width, max(spans) / MOST_POINTS)
    windows = [kept.wider(GRID_DEVIATIONS * root * width) for kept in windows]
    pairs = zip(*(sampled_gaussian(event, width) for event in events), strict=True)
    return [
        convolve(list(zip(one_way, steps, strict=True)), width, tilt, kept)
        for one_way, tilt, kept in zip(pairs, tilts, windows, strict=True)
    ]
