"""Unmasking: from t reveals to the integer sum, never to one vector.

In the sum over the survivors the masks of surviving pairs have cancelled. What is left are the
survivors' self masks and the masks of pairs whose other half was dropped; reveals hold the shares
of exactly these seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import numpy.typing as npt

from comity_common.crypto.shamir import combine
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_common.secagg.masking import CANARIES, SEED_BYTES, Masks, commitment
from comity_common.secagg.messages import Header, Plan, Reveal

MAX_SUBSETS = 1024  # of reveals tried, when one holds a false share


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


def residue(
    plan: Plan,
    plan_digest: bytes,
    survivors: Sequence[InstitutionId],
    headers: Mapping[InstitutionId, Header],
    reveals: Mapping[InstitutionId, Reveal],
) -> Residue:
    """Interpolate every seed that still masks the sum and check it against its commitment.

    Raises:
        PeerError: fewer than t reveals, or no t of them agree with the commitments.
    """
    dropped = [party for party in plan.participants if party not in survivors]
    given = _whole(reveals, (1 + len(dropped)) * SEED_BYTES)
    for chosen in _subsets(sorted(given), plan.threshold):
        joined = combine({plan.participants.index(helper): given[helper] for helper in chosen})
        seeds = dict(zip(survivors, _cut(joined, 1 + len(dropped)), strict=True))
        if all(
            _matches(plan, plan_digest, headers[dealer], dealer, dropped, slots)
            for dealer, slots in seeds.items()
        ):
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
    raise PeerError(f"expected {plan.threshold} reveals that fit the commitments")


def check_canaries(
    q_tail: npt.NDArray[np.uint32], z: npt.NDArray[np.uint64], survivors: int
) -> None:
    """Check that every canary lane of an unmasked sum counts the survivors.

    Raises:
        PeerError: one does not: some upload or reveal was false.
    """
    if len(q_tail) != CANARIES or np.any(q_tail != survivors) or np.any(z != survivors):
        raise PeerError(f"expected every canary lane to count {survivors} survivors")


def _subsets(helpers: list[InstitutionId], size: int) -> Iterator[tuple[InstitutionId, ...]]:
    return islice(combinations(helpers, size), MAX_SUBSETS)


def _whole(reveals: Mapping[InstitutionId, Reveal], size: int) -> dict[InstitutionId, bytes]:
    """Join the shares of every helper that gave one of the right size for every dealer.

    All dealers' seeds are interpolated at once: what costs is the weights, not the bytes.
    """
    return {
        helper: b"".join(reveal.shares)
        for helper, reveal in reveals.items()
        if all(len(share) == size for share in reveal.shares)
    }


def _cut(joined: bytes, count: int) -> list[list[bytes]]:
    """Cut into seeds, so many for each dealer."""
    seeds = [joined[at : at + SEED_BYTES] for at in range(0, len(joined), SEED_BYTES)]
    return [seeds[at : at + count] for at in range(0, len(seeds), count)]


def _matches(
    plan: Plan,
    plan_digest: bytes,
    header: Header,
    dealer: InstitutionId,
    dropped: Sequence[InstitutionId],
    slots: Sequence[bytes],
) -> bool:
    expected = [header.commitments[plan.participants.index(party)] for party in (dealer, *dropped)]
    return expected == [commitment(plan_digest, seed) for seed in slots]
