"""Why a round is void, in the words that its certificate carries.

Whoever recomputes a round compares the reason that was signed with what it sees itself, so the
words are made in one place and keep their meaning for ever.
"""

from comity_common.ids import InstitutionId

FALSE_REVEALS = "the reveals do not fit the commitments"


def too_few_uploads(arrived: int, participants: int, needed: int) -> str:
    """Fewer than m uploads came in time."""
    return f"{arrived} of {participants} uploads arrived, {needed} are needed"


def unlike_seeds(a: InstitutionId, b: InstitutionId) -> str:
    """The two ends of a pair committed to unlike seeds: unlike plans, models or keys."""
    return f"the seeds of {a} and {b} differ"


def too_few_reveals(arrived: int, needed: int) -> str:
    """Fewer than t reveals came in time."""
    return f"{arrived} of {needed} reveals arrived"


def false_share(dealer: InstitutionId, helper: InstitutionId) -> str:
    """A complaint was justified."""
    return f"{dealer} dealt a false share to {helper}"
