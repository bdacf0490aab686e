"""What kind of round comes next, by what has become of those before.

A score comes as soon as it is due, before the model moves on. One that could not be had, its
attempts used up or the agreement over, is no reason to stop: training goes on without it.

    kind = next_kind(agreement, head, today)  # None: the schedule is done
"""

from datetime import date

from comity_common.agreement import Agreement
from comity_common.secagg.kinds import RoundKind
from comity_server.history import Head
from comity_server.waiting import Stopped


def next_kind(agreement: Agreement, head: Head, today: date) -> RoundKind | None:
    """Choose what the next round sums.

    Args:
        today: in UTC.

    Returns:
        None when all training rounds are certified and no score can be had any more.

    Raises:
        Stopped: training has not come to its end, and all its attempts are used or the agreement
            has expired.
    """
    schedule, scores = agreement.schedule, agreement.private_evaluation
    is_over = today > schedule.last_day
    can_score = scores is not None and head.begun_scores < scores.attempts and not is_over
    if can_score and agreement.owes_score(head.certified, head.scored):
        return RoundKind.EVALUATE
    if head.certified >= schedule.rounds:
        return None
    if head.begun - head.begun_scores >= schedule.attempts:
        raise Stopped(
            f"{head.certified} of {schedule.rounds} rounds are certified "
            f"and all {schedule.attempts} attempts are used"
        )
    if is_over:
        raise Stopped(f"the agreement expired on {schedule.expires}")
    return RoundKind.TRAIN
