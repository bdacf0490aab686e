"""What was done to private rows, in terms from which its cost follows.

*What happened* and *what it costs* are different things: the ledger stores mechanisms, never
epsilons, so a better accountant can cost history again. Decimals stay decimals from the agreement
to the auditor; nobody rounds them on the way.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from enum import StrEnum

from comity_common.errors import LocalError

MIN_ORDER = 2
MAX_ORDER = 256  # the best order for ε = 0.1 at δ = 1e-5 lies below

LEAST, MOST = Decimal("1e-40"), Decimal("1e40")  # what has a canonical form and fits a double
MAX_STEPS = 2**53 - 1
UPWARDS = Context(prec=6, rounding=ROUND_CEILING)

SAMPLED_GAUSSIAN = "poisson-sampled-gaussian"
DISCRETE_GAUSSIAN = "discrete-gaussian"
NON_PRIVATE = "non-private"


class Unit(StrEnum):
    """What is protected: neighbouring data sets differ by one of it."""

    RECORD = "record"
    PERSON = "person"


class Noise(StrEnum):
    """Who adds the noise of a mechanism."""

    FULL = "full-in-each-vault"
    NONE = "none"


class Gate(StrEnum):
    """The accountant that decides whether a mechanism may still run."""

    RENYI = "renyi"
    FIXED_SCHEDULE = "fixed-schedule"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledGaussian:
    """Gaussian noise on sums of bounded contributions, T times.

    Under the name `poisson-sampled-gaussian`, steps of DP-SGD: Poisson sampling, then Gaussian
    noise on a clipped sum. In the vocabulary of dp-accounting:
    `SelfComposed(PoissonSampled(sampling_probability, Gaussian(noise_multiplier)), steps)`.

    Under the name `discrete-gaussian`, releases of whole-number sums over all units, with a
    discrete Gaussian on each coordinate; nothing is sampled, q = 1.

    Attributes:
        sampling_probability: q, above 0 and at most 1.
        noise_multiplier: σ over the sum's sensitivity in the 2-norm (C for DP-SGD), no unit,
            above 0; 0 for `non-private` alone.
        steps: T, at least 1.
        mechanism: its name. `non-private` (dp-accounting's `NonPrivateDpEvent`) costs ε = ∞, and
            so does one under a name that this version does not know.
    """

    sampling_probability: Decimal
    noise_multiplier: Decimal
    steps: int
    mechanism: str = SAMPLED_GAUSSIAN

    def __post_init__(self) -> None:
        if not _within(LEAST, self.sampling_probability, Decimal(1)):
            raise LocalError("expected a sampling probability above 0 and at most 1")
        if self.mechanism == NON_PRIVATE:
            if self.noise_multiplier != 0:
                raise LocalError("expected no noise in a mechanism without privacy")
        elif not _within(LEAST, self.noise_multiplier, MOST):
            raise LocalError("expected a positive noise multiplier")
        if not 1 <= self.steps <= MAX_STEPS:
            raise LocalError(f"expected at least 1 step, got {self.steps}")
        if self.mechanism == DISCRETE_GAUSSIAN and self.sampling_probability != 1:
            raise LocalError("expected a discrete Gaussian without sampling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """(ε, δ)-differential privacy.

    Attributes:
        epsilon: above 0.
        delta: above 0, below 1.
    """

    epsilon: Decimal
    delta: Decimal

    def __post_init__(self) -> None:
        if not _within(LEAST, self.epsilon, MOST):
            raise LocalError("expected a positive epsilon")
        if not _within(LEAST, self.delta, Decimal(1)) or self.delta == 1:
            raise LocalError("expected a delta above 0 and below 1")

    @classmethod
    def covering(cls, epsilon: float, delta: Decimal) -> "Guarantee":
        """Write a computed ε, above 0, to six digits so that it is not less.

        Raises:
            LocalError: it is infinite, or not within bounds.
        """
        return cls(epsilon=UPWARDS.create_decimal_from_float(epsilon), delta=delta)


def check_order(order: int) -> None:
    """Check the order of a Rényi divergence.

    Raises:
        LocalError: not an integer from 2 to 256.
    """
    if not MIN_ORDER <= order <= MAX_ORDER:
        raise LocalError(f"expected an order from {MIN_ORDER} to {MAX_ORDER}, got {order}")


def _within(least: Decimal, value: Decimal, most: Decimal) -> bool:
    return value.is_finite() and least <= value <= most
