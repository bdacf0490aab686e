"""The loss of a whole schedule: the sum of its steps' losses, convolved by FFT.

The steps' masses are tilted by exp(λl) before they are transformed (Koskela et al. 2020 use λ = 0).
With a λ that puts the tail in question into the middle, rounding errors are relative to that tail,
so that a δ of 1e-10 is as exact as one of 1e-3; and only a window around it has to be kept.

What is cut, wrapped around or rounded is bounded and added to δ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comity_common.dp.losses import Floats, Losses

LEAST_DEVIATION = 1e-12  # nats
CUT = 1e-11  # of the tilted distribution; what may lie outside the window at each end
EPS = 2.0**-52
TILTS = 48  # how many are looked at
WINDOW_TILTS = 10
TILT_SLACK = 4.0  # nats; what a lighter tilt, whose tails are lighter too, may cost in exactness
FADED = 40.0  # nats; beyond, what the tilt takes away again leaves too little to be summed
LARGEST_EXPONENT = 700.0
BISECTIONS = 32

Segments = Sequence[tuple[Losses, int]]
"""The losses of one step and how often it is taken."""


@dataclass(frozen=True, slots=True)
class LossSum:
    """The tilted distribution of a schedule's loss, in one direction, on a window.

    Attributes:
        tilt: λ, above 0.
        log_moment: ln E exp(λl).
        points: shape (n,), float64, the losses in nats, rising.
        masses: shape (n,), float64, none negative; times exp(log_moment − λl), the true ones.
        noise: bounds what rounding may have taken from any of the masses.
        missing: bounds the tilted mass outside the window.
        infinite: bounds the true mass of an infinite loss.
        shift: nats by which rounding may have moved the losses.
    """

    tilt: float
    log_moment: float
    points: Floats
    masses: Floats
    noise: float
    missing: float
    infinite: float
    shift: float

    def delta(self, epsilon: float) -> float:
        """Bound δ(ε) = E max(0, 1 − exp(ε − l)), for an ε up to the last point."""
        epsilon -= self.shift
        start = int(np.searchsorted(self.points, epsilon, side="right"))
        end = int(np.searchsorted(self.points, epsilon + FADED / self.tilt, side="right"))
        over = self.points[start:end] - epsilon
        weights = np.exp(-self.tilt * over) * -np.expm1(-over)
        faded = math.exp(-FADED) * (1 + self.noise * len(self.points))
        tilted = weights @ self.masses[start:end] + self.noise * weights.sum()
        if not (scale := self.log_moment - self.tilt * epsilon) <= LARGEST_EXPONENT:
            return 1.0
        return min(1.0, math.exp(scale) * (float(tilted) + faded + self.missing) + self.infinite)

    def epsilon(self, delta: float) -> float:
        """Bound the least ε of 0 or more with δ(ε) ≤ δ; ∞ if there is none."""
        too_little, enough = (max(float(self.points[end]), 0.0) for end in (0, -1))
        if not self.delta(enough) <= delta:
            return math.inf
        if self.delta(too_little) <= delta:
            return too_little
        for _ in range(BISECTIONS):
            middle = (too_little + enough) / 2
            if self.delta(middle) <= delta:
                enough = middle
            else:
                too_little = middle
        return enough


@dataclass(frozen=True, slots=True)
class Window:
    """What is kept of a tilted distribution, with the tilts by which to bound the rest (Chernoff).

    Attributes:
        low, high: losses in nats.
        down, up: what to take from the tilt and what to add to it.
    """

    low: float
    high: float
    down: float
    up: float

    def wider(self, by: float) -> "Window":
        """Return the window with so many nats more at each end."""
        return replace(self, low=self.low - by, high=self.high + by)


def tilt_for(segments: Segments, *, epsilon: float | None = None, delta: float = 1.0) -> float:
    """Choose λ such that the tail at ε is in the middle; any choice gives a bound.

    Args:
        segments: sketches are good enough.
        epsilon: where it is not known, Chernoff's bound on it at `delta` stands for it.
    """
    spread = deviation(segments, 0.0)
    # Rare large losses show at a tilt near 1, many small ones at some units of 1/spread.
    tilts = np.geomspace(0.01 * min(1.0, 1 / spread), 300 / spread, TILTS)
    moments = np.array([_log_moment(segments, tilt) for tilt in tilts.tolist()])
    if epsilon is None:
        epsilon = float(((moments - math.log(delta)) / tilts).min())
    chernoff = moments - tilts * epsilon
    return float(tilts[np.argmax(chernoff <= chernoff.min() + TILT_SLACK)])


def window(segments: Segments, tilt: float) -> Window:
    """Find losses outside which about `CUT` of the tilted mass lies on each side."""
    whole, spread = _log_moment(segments, tilt), deviation(segments, tilt)
    tilts = np.geomspace(min(0.5, 1 / spread), 20 / spread, WINDOW_TILTS).tolist()
    high, up = min(
        ((_log_moment(segments, tilt + by) - whole - math.log(CUT)) / by, by) for by in tilts
    )
    low, down = min(
        ((_log_moment(segments, tilt - by) - whole - math.log(CUT)) / by, by) for by in tilts
    )
    return Window(-low, high, down, up)


def deviation(segments: Segments, tilt: float) -> float:
    """Compute the standard deviation of the tilted sum, in nats; never 0."""
    variance = math.fsum(steps * losses.variance(tilt) for losses, steps in segments)
    return max(math.sqrt(variance), LEAST_DEVIATION)


def convolve(segments: Segments, width: float, tilt: float, window: Window) -> LossSum:
    """Compute the distribution of the whole loss around the tail in question.

    Args:
        segments: their points are multiples of `width`, one apart.
        tilt: λ.
        window: any gives a bound; a close one if it is of about the same distribution and tilt.
    """
    first, last = math.floor(window.low / width), math.ceil(window.high / width)
    whole = _log_moment(segments, tilt)
    above = _log_moment(segments, tilt + window.up) - whole - window.up * last * width
    below = _log_moment(segments, tilt - window.down) - whole + window.down * first * width
    size = 1 << (last - first).bit_length()
    transform = np.ones(size // 2 + 1, dtype=np.complex128)
    for losses, steps in segments:
        places = np.rint(losses.points / width).astype(np.int64) % size
        transform *= np.fft.rfft(np.bincount(places, losses.tilted(tilt), size)) ** steps
    steps = sum(steps for _, steps in segments)
    return LossSum(
        tilt=tilt,
        log_moment=whole,
        points=np.arange(first, first + size, dtype=np.float64) * np.float64(width),
        masses=np.maximum(np.roll(np.fft.irfft(transform, size), -(first % size)), 0.0),
        noise=16 * EPS * (steps + math.log2(size)),
        missing=math.exp(min(above, 0.0)) + math.exp(min(below, 0.0)),
        infinite=min(1.0, math.fsum(steps * losses.infinite for losses, steps in segments)),
        shift=EPS * steps * max(len(losses.masses) for losses, _ in segments),
    )


def _log_moment(segments: Segments, tilt: float) -> float:
    return math.fsum(steps * losses.log_moment(tilt) for losses, steps in segments)
