"""Reads a certified score from its sum on disk, whenever somebody wants to see it."""

from pathlib import Path

from comity_common.agreement import Agreement
from comity_common.privatescore import LANES
from comity_common.scoresum import Score, read_score
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.packing import lane_bytes, unpack
from comity_server.history import RoundRecord


def score_of(agreement: Agreement, record: RoundRecord, total: Path) -> Score | None:
    """Read the score of a round.

    Args:
        total: the sum's file, q first.

    Returns:
        None where the round is no certified score, or its sum is not on this disk any more.
    """
    body, width = record.certificate, agreement.aggregation.ring_width
    if record.kind is not RoundKind.EVALUATE or body is None or body.void:
        return None
    try:
        with total.open("rb") as file:
            raw = file.read(LANES * lane_bytes(width))
    except FileNotFoundError:
        return None
    return read_score(agreement, unpack(raw, width), len(body.survivors))
