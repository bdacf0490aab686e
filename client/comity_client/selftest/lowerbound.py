"""A lower bound on ε from one run (Steinke, Nasr & Jagielski 2023, "… with one run").

Of m canaries each is in the run or not by a fair coin. Whoever sees what came out names the r of
which it is surest, half as in and half as out; under (ε, δ)-DP the number of right names is bounded
by a binomial law (their theorem 5.2). m and r are fixed beforehand.

What is bounded is the self-test's own run, with the canaries' block disclosed to the attacker. No
round discloses such a block: the bound says that the machinery is no worse than it claims, and it
is no estimate of what a round gives away.
"""

import math
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from scipy import special

from comity_common.dp.accountant import epsilon_of
from comity_common.dp.terms import MAX_ORDER, MIN_ORDER, SampledGaussian

CONFIDENCE = 0.95
MOST_EPSILON = 50.0
ROUNDS = 60  # of bisection


def right_guesses(
    scores: npt.NDArray[np.float64], is_in: npt.NDArray[np.bool_], guesses: int
) -> int:
    """Name the highest scores as in and the lowest as out, and count who was right.

    Args:
        scores: shape (m,); no two alike matter.
        guesses: r, even.
    """
    order = np.argsort(scores)
    half = guesses // 2
    return int(is_in[order[-half:]].sum() + (~is_in[order[:half]]).sum())


def p_value(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """Bound the chance of so many right guesses under (ε, δ)-DP (their theorem 5.2)."""
    chance = 1 / (1 + math.exp(-epsilon))
    beta = float(special.bdtrc(right - 1, guesses, chance)) if right else 1.0
    if not right:
        return 1.0
    below = special.bdtr(right - 1, guesses, chance) - special.bdtr(
        right - 1 - np.arange(1, right), guesses, chance
    )
    sums = np.append(below, special.bdtr(right - 1, guesses, chance))
    alpha = float(np.max(sums / np.arange(1, right + 1)))
    return min(1.0, beta + 2 * canaries * delta * alpha)


def lower_bound(right: int, guesses: int, canaries: int, delta: float) -> float:
    """Compute the largest ε that so many right guesses refute at 95 % confidence; 0 if none."""
    low, high = 0.0, MOST_EPSILON
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        if p_value(right, guesses, canaries, middle, delta) < 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return low


def claimed(
    sampling_probability: Decimal, noise_multiplier: Decimal, steps: int, delta: Decimal
) -> float:
    """Compute the ε that a run of so many steps claims, at its best Rényi order."""
    event = SampledGaussian(
        sampling_probability=sampling_probability, noise_multiplier=noise_multiplier, steps=steps
    )
    return min(epsilon_of([event], order, delta) for order in range(MIN_ORDER, MAX_ORDER + 1))
