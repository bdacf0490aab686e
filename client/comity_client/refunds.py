"""What becomes of a reserve whose round ends before anything was masked.

It is given back only if two things hold: no noise was drawn, which the missing `started` mark
shows, as that is on disk before the first noise; and a signed public event ended the round, which
an auditor can look up. All else is spent: noise that was drawn, training that failed, a crash.
"""

import sqlite3

from comity_client.institution import Institution
from comity_client.rounds import Round
from comity_common.ids import Digest
from comity_common.ledger.bodies import BudgetCharge, BudgetRefund, Outcome, RefundReason
from comity_common.secagg.round import Phase

UNMADE = (Phase.JOINED, Phase.STARTED)  # reserved, and nothing durable made with it


def settle(
    institution: Institution,
    tx: sqlite3.Connection,
    round: Round,
    reason: RefundReason,
    evidence: Digest,
) -> None:
    """Close the reserve of a round that somebody else has ended; a round without one stays as is.

    Args:
        reason: the kind of event that ended it.
        evidence: digest of that event, a message that its author signed.
    """
    if round.phase not in UNMADE or round.reserve is None:
        return
    if round.phase is Phase.JOINED:
        refund = BudgetRefund(nonce=round.reserve, reason=reason, evidence=evidence)
        institution.ledger.append(tx, refund)
    else:
        forfeit(institution, tx, round.reserve)


def forfeit(institution: Institution, tx: sqlite3.Connection, nonce: bytes) -> None:
    """Count a reserve as spent though nothing was released."""
    charge = BudgetCharge(nonce=nonce, outcome=Outcome.FORFEITED, released=Digest(""))
    institution.ledger.append(tx, charge)
