"""The sum of a score's lanes as what it says: for whoever holds a total, and for people.

counts = score_sum(lanes, ring_width)
told = in_words(agreement.private_evaluation.score.read(counts, vaults=4))
"""

from comity_common.errors import LocalError
from comity_common.fixedpoint import Lanes, signed
from comity_common.privatescore import LANES, Counts, Estimate


def score_sum(total: Lanes, width: int) -> Counts:
    """Read the unmasked sum of a round of scores.

    Args:
        total: shape (3,), uint32; only the low w bits of a lane count.
        width: w, bits of a lane; 24 or 32.

    Returns:
        right, wrong and loss of all vaults together, in parts, with their noise; any may be
        below 0.
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
