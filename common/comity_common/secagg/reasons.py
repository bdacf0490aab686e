"""Why a round is void, in the words that its certificate carries.

Whoever recomputes a round compares the reason that was signed with what it sees itself, so the
words are made in one place and keep their meaning for ever.
"""

from collections.abc import Collection, Iterable, Sequence

from comity_common.ids import InstitutionId

MAX_NAMES = 8  # in one list; a certificate stays a small message


def too_few_uploads(arrived: int, participants: int, needed: int) -> str:
    """Fewer than m uploads came in time."""
    return f"{arrived} of {participants} uploads arrived, {needed} are needed"


def unlike_seeds(pairs: Sequence[tuple[InstitutionId, InstitutionId]]) -> str:
    """The two ends of some pairs committed to unlike seeds: unlike plans, models or keys.

    Which of the two is wrong shows where one is in several pairs.
    """
    return f"the seeds of {_listed([f'{a} and {b}' for a, b in pairs])} differ"


def too_few_reveals(arrived: int, needed: int) -> str:
    """Fewer than t reveals came in time."""
    return f"{arrived} of {needed} reveals arrived"


def false_share(dealer: InstitutionId, helper: InstitutionId) -> str:
    """A complaint was justified."""
    return f"{dealer} dealt a false share to {helper}"


def false_reveals(
    dealers: Collection[InstitutionId],
    complaints: Iterable[tuple[InstitutionId, InstitutionId]] = (),
) -> str:
    """No t reveals open the seeds of some dealers.

    Who is at fault is not proved: each of these dealers, or those whose reveals were needed.

    Args:
        dealers: whose seeds stay closed.
        complaints: dealer and helper of each complaint that nobody could check, because the dealer
            did not sign for the key that the helper shows.
    """
    helpers: dict[InstitutionId, set[InstitutionId]] = {}
    for dealer, helper in complaints:
        if dealer in dealers:
            helpers.setdefault(dealer, set()).add(helper)
    about = [f"{_names(helpers[dealer])} about {dealer}" for dealer in sorted(helpers)]
    without_proof = f"; complaints without proof: {_listed(about)}" if about else ""
    return f"the reveals do not fit the commitments of {_names(dealers)}{without_proof}"


def _names(parties: Iterable[InstitutionId]) -> str:
    return _listed(sorted(parties))


def _listed(items: Sequence[str]) -> str:
    more = len(items) - MAX_NAMES
    return ", ".join(items[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
