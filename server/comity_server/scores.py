"""What a certified score says: read from its sum on disk, whenever somebody wants to see it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comity_common.agreement import Agreement
from comity_common.privatescore import LANES, Counts, Estimate
from comity_common.scoresum import in_words, score_sum
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.packing import lane_bytes, unpack
from comity_server.history import RoundRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One certified score.

    Attributes:
        counts: right, wrong and loss of all survivors together, in parts, with their noise.
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


def read_score(agreement: Agreement, record: RoundRecord, total: Path) -> Score | None:
    """Read the score of a round.

    Args:
        total: the sum's file, q first.

    Returns:
        None where the round is no certified score, or its sum is not on this disk any more.
    """
    terms, body = agreement.private_evaluation, record.certificate
    if terms is None or body is None or body.void or record.kind is not RoundKind.EVALUATE:
        return None
    width = agreement.aggregation.ring_width
    try:
        with total.open("rb") as file:
            raw = file.read(LANES * lane_bytes(width))
    except FileNotFoundError:
        return None
    counts = score_sum(unpack(raw, width), width)
    return Score(counts=counts, estimate=terms.score.read(counts, len(body.survivors)))
