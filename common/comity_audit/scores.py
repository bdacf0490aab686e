"""What a round of scores says, from a stored total that was found to be the sum."""

from comity_audit.directory import StoredRound
from comity_audit.steps import about
from comity_common.agreement import Agreement
from comity_common.privatescore import LANES
from comity_common.scoresum import Score, read_score
from comity_common.secagg.packing import lane_bytes, unpack
from comity_common.storedround import TOTAL_FILE


def stored_score(stored: StoredRound, agreement: Agreement, survivors: int) -> Score:
    """Read the score of a round.

    Args:
        survivors: |S|, how many vectors the total sums.

    Raises:
        PeerError: the total is shorter.
    """
    width = agreement.aggregation.ring_width
    with about(TOTAL_FILE), stored.opened(TOTAL_FILE) as total:
        raw = total.read(LANES * lane_bytes(width))
        return read_score(agreement, unpack(raw, width), survivors)
