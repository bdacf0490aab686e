"""How much one step may tell: its privacy loss as masses on a grid, never too small.

The privacy loss of an output x is l = ln(P(x)/Q(x)), where P and Q are the output's distributions
for two neighbouring data sets and x is drawn from P. What lies between two points of the grid is
divided between them so that the masses under P and under Q both stay what they are (Doroshenko et
al. 2022, "connect the dots"). The two shares, merged again, are what was divided: the pair on the
grid can be processed into the true pair, so it bounds that, however often both are composed.

* Above the grid: an infinite loss. Below it: the lowest point of the grid. Both are bounds as well.
* Both directions of add/remove adjacency; which of them is worse depends on the terms.
"""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from comity_common.dp.terms import SampledGaussian

Floats = NDArray[np.float64]

REACH = 13.0  # standard deviations; beyond lies a mass of 6e-39
SKETCH_POINTS = 4001
LARGEST_LOSS = 600.0  # nats; exp of it still fits a double


@dataclass(frozen=True, slots=True)
class Losses:
    """A distribution of losses under P.

    Attributes:
        points: shape (n,), float64, the finite losses in nats, rising.
        masses: shape (n,), float64, none negative.
        infinite: the mass of an infinite loss; all masses add up to 1, but for rounding.
    """

    points: Floats
    masses: Floats
    infinite: float = 0.0

    def log_moment(self, tilt: float) -> float:
        """Compute ln E exp(λl) over the finite losses."""
        exponents = self._exponents(tilt)
        largest = float(exponents.max())
        return largest + math.log(float(np.exp(exponents - largest).sum()))

    def tilted(self, tilt: float) -> Floats:
        """Return the masses times exp(λl), divided by their sum."""
        exponents = self._exponents(tilt)
        weights = np.exp(exponents - exponents.max())
        return cast(Floats, weights / weights.sum())

    def variance(self, tilt: float) -> float:
        """Compute the variance of a loss with the tilted masses, in nats squared."""
        weights = self.tilted(tilt)
        return float(weights @ (self.points - weights @ self.points) ** 2)

    def _exponents(self, tilt: float) -> Floats:
        with np.errstate(divide="ignore"):
            return cast(Floats, np.log(self.masses) + tilt * self.points)


def extent(event: SampledGaussian) -> tuple[float, float]:
    """Return the least and the largest loss that matter, in nats, for an added unit's removal."""
    q, sigma = float(event.sampling_probability), float(event.noise_multiplier)
    least, most = (_loss(x, q, sigma) for x in (-REACH * sigma, 1 + REACH * sigma))
    return max(least, -LARGEST_LOSS), min(most, LARGEST_LOSS)


def sketch(event: SampledGaussian) -> tuple[Losses, Losses]:
    """Describe one step in both directions by some thousand points: quick, and no bound."""
    q, sigma = float(event.sampling_probability), float(event.noise_multiplier)
    z = np.linspace(-REACH, REACH + 1 / sigma, SKETCH_POINTS)
    losses = np.clip(
        [_loss(x, q, sigma) for x in (z * sigma).tolist()], -LARGEST_LOSS, LARGEST_LOSS
    )
    null, shifted = (np.exp(-0.5 * (z - mean) ** 2) for mean in (0.0, 1 / sigma))
    mixture = (1 - q) * null + q * shifted
    return (
        Losses(losses, mixture / mixture.sum()),
        Losses(-losses[::-1], null[::-1] / null.sum()),
    )


def sampled_gaussian(event: SampledGaussian, width: float) -> tuple[Losses, Losses]:
    """Discretise one step of the Poisson-sampled Gaussian in both directions.

    P and Q are (1 − q)·N(0, σ²) + q·N(1, σ²) and N(0, σ²), and the other way round (Zhu et al.
    2022, thm. 11).

    Args:
        width: of the grid, in nats, above 0; `extent` may span at most some millions of it.

    Returns:
        The losses for a unit removed, and for a unit added.
    """
    q, sigma = float(event.sampling_probability), float(event.noise_multiplier)
    least, most = extent(event)
    first, last = math.floor(least / width), math.ceil(most / width)
    losses: Floats = np.arange(first, last + 1, dtype=np.float64) * np.float64(width)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = sigma**2 * np.log1p(np.maximum(np.expm1(losses) / q, -1.0)) + 0.5
    null, shifted = _between(x / sigma), _between((x - 1) / sigma)
    mixture = (1 - q) * null + q * shifted
    removed = _divide(mixture[1:-1], null[1:-1], losses[:-1], width)
    removed[0] += mixture[0]
    added = _divide(null[-2:0:-1], mixture[-2:0:-1], -losses[:0:-1], width)
    added[0] += null[-1]
    return (
        Losses(losses, removed, float(mixture[-1])),
        Losses(-losses[::-1], added, float(null[0])),
    )


def _divide(masses: Floats, others: Floats, lower: Floats, width: float) -> Floats:
    """Divide what is between two points: `masses` under P, `others` under Q, from `lower` on.

    Returns:
        shape (n + 1,), the masses at the n lower points and the last upper one.
    """
    upper = (masses - others * np.exp(lower)) / -math.expm1(-width)
    upper = np.clip(upper, 0.0, masses)
    return np.append(masses - upper, 0.0) + np.insert(upper, 0, 0.0)


def _between(z: Floats) -> Floats:
    """The standard normal's mass below z[0], between each two neighbours, and above z[-1]."""
    tails = np.fromiter(map(math.erfc, (np.abs(z) / math.sqrt(2)).tolist()), float, len(z)) / 2
    below, above = np.where(z < 0, tails, 1 - tails), np.where(z < 0, 1 - tails, tails)
    inner = np.where(z[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    return np.concatenate(([below[0]], np.maximum(inner, 0.0), [above[-1]]))


def _loss(x: float, q: float, sigma: float) -> float:
    """ln((1 − q) + q·exp((2x − 1)/2σ²))."""
    exponent = (2 * x - 1) / 2 / sigma**2
    if exponent < 1:
        return math.log1p(q * math.expm1(exponent)) if q < 1 else exponent
    return exponent + math.log(q) + math.log1p((1 - q) / q * math.exp(-exponent))
