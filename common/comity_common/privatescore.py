"""A noisy score of a model on private rows: what share is right, and the mean clipped loss.

Every held-out unit adds three whole numbers to its vault's sum: `grid` parts, divided between
right and wrong, and at most half as many for its loss. A person's rows are averaged first, so a
person counts like a record. The vault adds a discrete Gaussian to each of the three.

* Sensitivity. right + wrong = grid with both at least 0, so right² + wrong² ≤ grid²; and
  loss² ≤ (grid/2)². One unit more or less moves the sum by at most Δ with Δ² = 5/4·grid² in the
  2-norm, whatever a model, a row or a broken floating-point unit does: the numbers are cut to
  these bounds after they have become whole.
* No count is published. The share is right/(right + wrong): the number of units is itself noisy,
  within the same Δ. Lanes for right and for the count would have 9/4·grid².
* Everything after the noise (masks, sums, quotients, deviations) is post-processing.

    score = PrivateScore(noise_multiplier=Decimal(20), loss_clip=Decimal(4), grid=64)
    own = score.release([score.unit([True], [0.1]), score.unit([True, False], [0.3, 2.5])])
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from comity_common.crypto.stream import Keystream
from comity_common.dp.discretegaussian import DiscreteGaussian
from comity_common.dp.terms import DISCRETE_GAUSSIAN, SampledGaussian
from comity_common.errors import LocalError

LANES = 3  # right, wrong, loss
MAX_GRID = 1 << 20
CERTAIN = 5.0  # standard deviations by which the number of units must be above 0

Counts = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a noisy sum says, with standard deviations that come from the noise alone.

    Attributes:
        right, right_deviation: share of units, 0 to 1.
        loss, loss_deviation: nats; losses above the clip count as the clip.
    """

    right: float
    right_deviation: float
    loss: float
    loss_deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateScore:
    """The mechanism, by constants of the agreement.

    Attributes:
        noise_multiplier: σ/Δ, no unit, above 0.
        loss_clip: the most that one row's loss counts, in nats, above 0.
        grid: parts of a unit, even, 2 to 2²⁰.
    """

    noise_multiplier: Decimal
    loss_clip: Decimal
    grid: int

    def __post_init__(self) -> None:
        if not (self.noise_multiplier.is_finite() and self.noise_multiplier > 0):
            raise LocalError("expected a positive noise multiplier")
        if not (self.loss_clip.is_finite() and self.loss_clip > 0):
            raise LocalError("expected a positive loss clip")
        if not 2 <= self.grid <= MAX_GRID or self.grid % 2:
            raise LocalError(f"expected an even grid of 2 to {MAX_GRID}, got {self.grid}")

    @property
    def variance(self) -> Fraction:
        """σ² of one vault's noise in parts squared: exactly noise_multiplier² × 5/4·grid²."""
        return Fraction(self.noise_multiplier) ** 2 * 5 * (self.grid // 2) ** 2

    def event(self, releases: int) -> SampledGaussian:
        """Return what so many scores on the same units are to an accountant."""
        return SampledGaussian(
            sampling_probability=Decimal(1),
            noise_multiplier=self.noise_multiplier,
            steps=releases,
            mechanism=DISCRETE_GAUSSIAN,
        )

    def unit(self, right: Sequence[bool], losses: Sequence[float]) -> Counts:
        """Say what one unit adds.

        Args:
            right: of each of its rows, whether the model is right; at least one row.
            losses: of each, in nats; what is not finite counts as the clip.
        """
        rows = len(right)
        if rows < 1 or len(losses) != rows:
            raise LocalError("expected a unit with at least one row, and a loss for each")
        clip, most = float(self.loss_clip), self.grid // 2
        clipped = [min(max(loss, 0.0), clip) if math.isfinite(loss) else clip for loss in losses]
        parts = self.grid * sum(map(bool, right)) // rows
        loss = int(math.fsum(clipped) / rows / clip * most)
        return parts, self.grid - parts, min(max(loss, 0), most)

    def release(self, units: Iterable[Counts], stream: Keystream | None = None) -> Counts:
        """Add up units and add the whole noise.

        Args:
            units: from `unit`; none at all is as good as any number.
            stream: for tests; by default one under a fresh key.

        Raises:
            LocalError: a unit is out of the bounds on which the sensitivity rests.
        """
        noise = DiscreteGaussian(self.variance, stream)
        right, wrong, loss = 0, 0, 0
        for unit in units:
            self._check(unit)
            right, wrong, loss = right + unit[0], wrong + unit[1], loss + unit[2]
        return right + noise.draw(), wrong + noise.draw(), loss + noise.draw()

    def read(self, total: Counts, vaults: int) -> Estimate | None:
        """Read the sum over vaults.

        Returns:
            None where the noise is too large for the number of units to be told from 0.
        """
        right, wrong, loss = total
        sigma = self._deviation(vaults)
        units = right + wrong
        if not self._stands_out(units, vaults):
            return None
        share = min(max(right / units, 0.0), 1.0)
        each = 2 * loss / units
        return Estimate(
            right=share,
            right_deviation=sigma / units * math.hypot(share, 1 - share),
            loss=min(max(each, 0.0), 1.0) * float(self.loss_clip),
            loss_deviation=sigma / units * math.hypot(2, each) * float(self.loss_clip),
        )

    def expected_deviation(self, units: int, vaults: int, right: float = 0.8) -> float:
        """Foretell the standard deviation of the share from public numbers, before it is bought.

        Args:
            units: held out in all vaults together, as the agreement expects them.
            right: the share that is expected, 0 to 1.
        """
        if units < 1 or vaults < 1:
            raise LocalError("expected at least one unit and one vault")
        sigma = self._deviation(vaults)
        return sigma / (units * self.grid) * math.hypot(right, 1 - right)

    def is_readable(self, units: int, vaults: int) -> bool:
        """Foretell whether `read` will find more than noise, if so many units are held out."""
        return self._stands_out(units * self.grid, vaults)

    def _deviation(self, vaults: int) -> float:
        """Return the standard deviation of the noise of so many vaults on one lane, in parts."""
        return math.sqrt(float(self.variance) * vaults)

    def _stands_out(self, parts: int, vaults: int) -> bool:
        """Tell whether so many units, in parts, are told from 0: they are the sum of two lanes."""
        return parts >= CERTAIN * math.sqrt(2) * self._deviation(vaults)

    def _check(self, unit: Counts) -> None:
        right, wrong, loss = unit
        if right + wrong != self.grid or min(unit) < 0 or 2 * loss > self.grid:
            raise LocalError("expected a unit within the bounds of the mechanism")
