"""The sum of a round of scores as what it says: for whoever holds its total, and for people.

score = read_score(agreement, lanes, vaults=4)
print(score.words)
"""

from dataclasses import asdict, dataclass
from typing import Any

from comity_common.agreement import Agreement
from comity_common.errors import LocalError
from comity_common.fixedpoint import Lanes, signed
from comity_common.privatescore import LANES, Counts, Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One certified score.

    Attributes:
        counts: right, wrong and loss of all survivors together, in parts, with their noise; any
            may be below 0.
        estimate: None where the noise is too large for the number of units to be told from 0.
    """

    counts: Counts
    estimate: Estimate | None

    @property
    def words(self) -> str:
        """What it says, for people."""
        return in_words(self.estimate)

    @property
    def data(self) -> dict[str, Any]:
        """What it says, in JSON's types."""
        estimate = None if self.estimate is None else asdict(self.estimate)
        return {"counts": list(self.counts), "estimate": estimate, "words": self.words}


def read_score(agreement: Agreement, total: Lanes, vaults: int) -> Score:
    """Read the unmasked sum of a round of scores.

    Args:
        total: as in `score_sum`.
        vaults: how many survivors it sums.

    Raises:
        LocalError: the agreement has no scores, or the sum is not one of three lanes.
    """
    return of_counts(agreement, score_sum(total, agreement.aggregation.ring_width), vaults)


def of_counts(agreement: Agreement, counts: Counts, vaults: int) -> Score:
    """Say what the sum of so many vaults' counts amounts to.

    Raises:
        LocalError: the agreement has no scores.
    """
    terms = agreement.private_evaluation
    if terms is None:
        raise LocalError("expected an agreement with scores on private rows")
    return Score(counts=counts, estimate=terms.score.read(counts, vaults))


def score_sum(total: Lanes, width: int) -> Counts:
    """Read three lanes as counts.

    Args:
        total: shape (3,), uint32; only the low w bits of a lane count.
        width: w, bits of a lane; 24 or 32.
    """
    if total.shape != (LANES,):
        raise LocalError(f"expected {LANES} lanes, got {list(total.shape)}")
    right, wrong, loss = signed(total, width).tolist()
    return right, wrong, loss


def in_words(estimate: Estimate | None) -> str:
    """Tell what `PrivateScore.read` found, with standard deviations.

    >>> in_words(None)
    'the noise is too large to tell'
    >>> in_words(Estimate(right=0.8125, right_deviation=0.024, loss=0.5, loss_deviation=0.06))
    '81.2 % ± 2.4 right, loss 0.500 ± 0.060'
    """
    if estimate is None:
        return "the noise is too large to tell"
    return (
        f"{100 * estimate.right:.1f} % ± {100 * estimate.right_deviation:.1f} right, "
        f"loss {estimate.loss:.3f} ± {estimate.loss_deviation:.3f}"
    )
