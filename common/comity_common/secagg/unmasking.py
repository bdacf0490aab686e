"""Unmasking: from t reveals to the integer sum, never to one vector.

In the sum over the survivors the masks of surviving pairs have cancelled. What is left are the
survivors' self masks and the masks of pairs whose other half was dropped; reveals hold the shares
of exactly these seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import numpy.typing as npt

from comity_common.crypto.shamir import combine
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_common.secagg.masking import CANARIES, SEED_BYTES, Masks, commitment
from comity_common.secagg.messages import Header, Plan, Reveal

MAX_SUBSETS = 1024  # of t shares tried for one dealer, when some are false
MAX_CLOSED = 4  # dealers named whose seeds stay closed; the search for more ends there


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue:
    """The seeds whose masks are still on the sum."""

    self_seeds: tuple[bytes, ...]
    added_pairs: tuple[bytes, ...]
    subtracted_pairs: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"Residue({len(self.self_seeds)} self seeds, {len(self.added_pairs)} + pairs)"

    def masks(self, section: str) -> Masks:
        """Return what takes the residue off a section: the signs are turned."""
        return Masks(
            section,
            added=self.subtracted_pairs,
            subtracted=(*self.self_seeds, *self.added_pairs),
        )


class ClosedSeeds(PeerError):
    """No t reveals open the seeds of some dealers.

    Attributes:
        dealers: they, in order, up to `MAX_CLOSED`.
    """

    def __init__(self, dealers: Sequence[InstitutionId], threshold: int) -> None:
        super().__init__(
            f"expected {threshold} reveals that fit the commitments of {', '.join(dealers)}"
        )
        self.dealers = tuple(dealers)


def residue(
    plan: Plan,
    plan_digest: bytes,
    survivors: Sequence[InstitutionId],
    headers: Mapping[InstitutionId, Header],
    reveals: Mapping[InstitutionId, Reveal],
) -> Residue:
    """Interpolate every seed that still masks the sum and check it against its commitment.

    Each dealer's seeds are opened by any t reveals that fit them, not all by the same t: whoever
    holds a false share of one dealer still helps with the others.

    Raises:
        PeerError: fewer than t reveals.
        ClosedSeeds: no t of them agree with the commitments of some dealers.
    """
    if len(reveals) < plan.threshold:
        raise PeerError(f"expected {plan.threshold} reveals, got {len(reveals)}")
    dropped = [party for party in plan.participants if party not in survivors]
    helpers = sorted(reveals)
    seeds: dict[InstitutionId, list[bytes]] = {}
    closed: list[InstitutionId] = []
    for position, dealer in enumerate(survivors):
        shares = {helper: reveals[helper].shares[position] for helper in helpers}
        slots = [plan.participants.index(party) for party in (dealer, *dropped)]
        expected = [headers[dealer].commitments[slot] for slot in slots]
        chosen, opened = _opened(plan, plan_digest, shares, expected)
        if opened:
            seeds[dealer] = opened
            helpers.sort(key=lambda helper: helper not in chosen)  # who was right comes first
        elif len(closed := [*closed, dealer]) == MAX_CLOSED:
            break
    if closed:
        raise ClosedSeeds(closed, plan.threshold)
    pairs = [
        (dealer < other, seed)
        for dealer, slots in seeds.items()
        for other, seed in zip(dropped, slots[1:], strict=True)
    ]
    return Residue(
        self_seeds=tuple(slots[0] for slots in seeds.values()),
        added_pairs=tuple(seed for added, seed in pairs if added),
        subtracted_pairs=tuple(seed for added, seed in pairs if not added),
    )


def check_canaries(
    q_tail: npt.NDArray[np.uint32], z: npt.NDArray[np.uint64], survivors: int
) -> None:
    """Check that every canary lane of an unmasked sum counts the survivors.

    Raises:
        PeerError: one does not: some upload or reveal was false.
    """
    if len(q_tail) != CANARIES or np.any(q_tail != survivors) or np.any(z != survivors):
        raise PeerError(f"expected every canary lane to count {survivors} survivors")


def _opened(
    plan: Plan,
    plan_digest: bytes,
    shares: Mapping[InstitutionId, bytes],
    expected: Sequence[bytes],
) -> tuple[tuple[InstitutionId, ...], list[bytes]]:
    """Find t shares of one dealer whose seeds have the expected commitments.

    Returns:
        whose shares they are, and the seeds; nobody and none if no t of them fit.
    """
    size = len(expected) * SEED_BYTES
    usable = [helper for helper, share in shares.items() if len(share) == size]
    for chosen in islice(combinations(usable, plan.threshold), MAX_SUBSETS):
        joined = combine({plan.participants.index(helper): shares[helper] for helper in chosen})
        seeds = [joined[start : start + SEED_BYTES] for start in range(0, size, SEED_BYTES)]
        if [commitment(plan_digest, seed) for seed in seeds] == list(expected):
            return chosen, seeds
    return (), []
