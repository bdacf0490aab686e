"""How what a self-test sees is distributed when nothing is wrong: a p-value for each question.

Noise is asked as standard normals, z = noise / (σC), shape (steps, coordinates). Every null
distribution is exact, or bounded from above (a union over pairs, two tails of a discrete law), so
that a family of tests keeps its rate of false alarms. None rests on a limit. Two-sided: too much
noise is a mistake as well.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

REACH = 40  # standard deviations to which the law of a sum is computed


def scale(z: Floats) -> float:
    """Ask whether the noise has its variance: Σz² is χ² with as many degrees as values."""
    return _chi_square(float(np.sum(z**2)), z.size)


def shape(z: Floats) -> float:
    """Ask whether the noise is Gaussian, by the largest distance D of the distribution functions.

    P(D > d) ≤ 2 exp(−2nd²) for every n (Massart 1990); where p is small it is as good as equal.
    """
    n = z.size
    levels = special.ndtr(np.sort(z, axis=None))
    above = np.max(np.arange(1, n + 1) / n - levels)
    below = np.max(levels - np.arange(n) / n)
    return min(1.0, 2 * math.exp(-2 * n * float(max(above, below)) ** 2))


def repeats(z: Floats) -> float:
    """Ask whether two steps, any two, had noise alike.

    The cosine u of two independent vectors of n coordinates makes u √(n−1) / √(1−u²) Student's t
    with n−1 degrees; the largest of all pairs is bounded by their sum.
    """
    steps, n = z.shape
    norms: Floats = np.linalg.norm(z, axis=1)
    if not norms.all():
        return 0.0  # no noise at all repeats itself
    cosines: Floats = (z @ z.T) / np.outer(norms, norms)
    u = min(1.0, float(np.abs(cosines[np.triu_indices(steps, 1)]).max()))
    if u == 1.0:
        return 0.0
    t = u * math.sqrt((n - 1) / (1 - u**2))
    of_a_pair = 2 * float(special.stdtr(n - 1, -t))
    return float(min(1.0, steps * (steps - 1) / 2 * of_a_pair))


def neighbours(z: Floats) -> float:
    """Ask whether a step's noise goes with that of the step before.

    Over disjoint pairs: given the first of each, the sum of products is a Gaussian.
    """
    pairs = len(z) // 2
    first, second = z[0 : 2 * pairs : 2], z[1 : 2 * pairs : 2]
    length = float(np.linalg.norm(first))
    return _normal(float(np.sum(first * second)) / length) if length else 0.0


def added(z: Floats) -> float:
    """Ask whether the noise of all steps adds up as that of independent ones: Σ(Σz)² is χ²."""
    return _chi_square(float(np.sum(z.sum(axis=0) ** 2)) / len(z), z.shape[1])


def slope(included: Counts, z: Floats, wanted: float) -> float:
    """Ask whether each inclusion adds `wanted` to a coordinate that is noise otherwise.

    Least squares on the inclusions that happened: given them the slope is a Gaussian.

    Args:
        included: how often each canary was in each step, shape (steps, canaries).
        z: their coordinates in units of the noise, of the same shape.
    """
    weight = float(np.sum(included**2))
    if not weight:
        return 0.0  # there is nothing to see
    found = float(np.sum(included * z)) / weight
    return _normal((found - wanted) * math.sqrt(weight))


def rate(hits: int, trials: int, probability: float) -> float:
    """Ask whether so many inclusions of so many are binomial."""
    if hits > trials:
        return 0.0
    at_most = float(special.bdtr(hits, trials, probability))
    at_least = float(special.bdtrc(hits - 1, trials, probability)) if hits else 1.0
    return min(1.0, 2 * min(at_most, at_least))


def spread(counts: Counts, trials: int, probability: float) -> float:
    """Ask whether counts vary as independent binomials of so many trials.

    Shuffled batches of one size give counts that are all but equal. The statistic is the sum of
    squared distances to the whole number next to the mean: whole numbers, so that its law is a
    convolution of one with itself, taken exactly by Fourier transform.
    """
    middle = round(trials * probability)
    squares = (np.arange(trials + 1) - middle) ** 2
    weights = _binomial(trials, probability)
    mean = float(weights @ squares)
    deviation = math.sqrt(max(0.0, float(weights @ squares**2) - mean**2))
    reach = math.ceil(len(counts) * mean + REACH * (math.sqrt(len(counts)) * deviation + 1))
    length = 1 << max(reach, int(squares.max())).bit_length()
    single = np.bincount(squares, weights, minlength=length)
    law = np.fft.irfft(np.fft.rfft(single) ** len(counts), length).clip(min=0.0)
    seen = int(np.sum((counts - middle) ** 2))
    if seen >= length:
        return 0.0
    return min(1.0, 2 * float(min(law[: seen + 1].sum(), law[seen:].sum())))


def _chi_square(statistic: float, degrees: int) -> float:
    tails = special.chdtr(degrees, statistic), special.chdtrc(degrees, statistic)
    return min(1.0, 2 * float(min(tails)))


def _normal(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def _binomial(trials: int, probability: float) -> Floats:
    k = np.arange(trials + 1)
    ways = special.gammaln(trials + 1) - special.gammaln(k + 1) - special.gammaln(trials - k + 1)
    chance = special.xlogy(k, probability) + special.xlog1py(trials - k, -probability)
    weights: Floats = np.exp(ways + chance)
    return weights
