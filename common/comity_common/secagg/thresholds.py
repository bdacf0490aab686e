"""How many shares unmask, and how few survivors a round may have.

Let n institutions take part and at most c of them stand with a malicious operator. The operator
may show different survivor lists to different institutions, so a quorum of Bonawitz et al. (2017,
§6.2) is not enough: t carries one more, which survives one institution that answers twice, and
m makes sure that any sum which can be learnt holds several honest inputs. Confirmed by exhaustive
search for n ≤ 7 (`tests/unit/common/secagg/test_thresholds.py`).
"""

from dataclasses import dataclass

from comity_common.errors import LocalError

HONEST_GOAL = 3  # inputs of others among which an honest one is hidden, where n allows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The numbers of one round.

    Attributes:
        shares: t, reveals that unmask.
        survivors: m, the fewest uploads of a valid round.
        honest_inputs: g(m), guaranteed in every sum that the adversary can learn.
    """

    shares: int
    survivors: int
    honest_inputs: int


def thresholds(participants: int, collusion: int) -> Thresholds:
    """Compute t, m and g(m) for n participants of whom c may collude.

    Raises:
        LocalError: no safe numbers exist.
    """
    n, c = participants, collusion
    if n < 3 or c < 1:
        raise LocalError(f"expected at least 3 participants and c of at least 1, got {n} and {c}")
    t = -(-(n + c) // 2) + 1
    honest = n - c
    if t > n:
        raise LocalError(f"expected fewer than {c} colluding institutions among {n}")

    def guaranteed(survivors: int) -> int:
        # one answer of every honest institution and a second of one; t − c of them to lose an input
        return honest - (honest + 1) * (n - survivors) // (t - c)

    for m in range(max(t, c + 2), n + 1):
        if guaranteed(m) >= min(HONEST_GOAL, honest):
            return Thresholds(shares=t, survivors=m, honest_inputs=guaranteed(m))
    raise LocalError(f"expected fewer than {c} colluding institutions among {n}")
