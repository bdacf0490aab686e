"""What a certified round of scores says: three whole numbers out of the ring."""

from comity_common.agreement import Agreement
from comity_common.errors import LocalError
from comity_common.fixedpoint import Lanes, check_sum, signed
from comity_common.privatescore import LANES, Counts, Estimate
from comity_common.secagg.messages import Plan


def score_sum(lanes: Lanes, plan: Plan, survivors: int) -> Counts:
    """Read the sum of the survivors' scores.

    Args:
        lanes: shape (3,), uint32, the unmasked sum.
        survivors: |S|, at least 1.

    Raises:
        PeerError: a number is larger than the survivors can make it.
    """
    if lanes.shape != (LANES,):
        raise LocalError(f"expected {LANES} lanes of a score, got {lanes.shape}")
    numbers = signed(lanes, plan.ring_width)
    check_sum(numbers, survivors * plan.lane_bound)
    right, wrong, loss = numbers.tolist()
    return right, wrong, loss


def estimate(agreement: Agreement, total: Counts, survivors: int) -> Estimate | None:
    """Say what a sum of scores amounts to; None where the noise is too large to tell."""
    if agreement.private_evaluation is None:
        raise LocalError("expected an agreement with scores on private rows")
    return agreement.private_evaluation.score.read(total, survivors)
