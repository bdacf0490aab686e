"""How often a day the operator is told something that depends on what this institution keeps.

Nobody is told a rule, but who may try terms and hears yes or no each time finds it by halving. Two
answers of a vault depend on its policy, its budget or its rows:

* **A signature, or none.** The operator chooses the terms of what it proposes. A person decides,
  and may have a script sign whatever is allowed: then every proposal is a question. So many are
  judged in a day, and the rest waits for the next, whether it would be allowed or not.
* **An order accepted, or refused.** Its terms are those of an agreement that was signed, so there
  is nothing to search. After so many refusals in a day the reason is not told any more, nor written
  down, so that nobody fills the disk; an order that is in order is accepted as before.

Both counts are views of the ledger, so no restart begins them anew. Days are those of UTC.
"""

import threading
from datetime import date

from comity_client.ledger import Ledger
from comity_common.errors import Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.ledger.bodies import AgreementSign, Body, Refused

JUDGED_A_DAY = 8  # as many bits about the policy can be learnt in a day, and no more
REFUSED_ORDERS_A_DAY = 100  # far more than an honest operator brings on itself


def judged_today(ledger: Ledger) -> frozenset[Digest]:
    """Return which agreements were signed today, or kept from being signed by anything at all."""
    return frozenset(
        body.agreement
        for body in ledger.today()
        if isinstance(body, AgreementSign)
        or (isinstance(body, Refused) and body.round is None and body.agreement)
    )


class RefusedOrders:
    """The refused orders of today: read from the ledger once, and counted from there."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._day: date | None = None
        self._count = 0

    def told(self, refusal: Refusal) -> Refusal:
        """Return what the operator may hear: the reason or, after too many, no reason."""
        with self._lock:
            if self._of_today() < REFUSED_ORDERS_A_DAY:
                return refusal
        return Refusal(RefusalCode.UNAVAILABLE, f"expected fewer refused orders a day: {refusal}")

    def count(self) -> bool:
        """Count one more; return whether it may still be written down."""
        with self._lock:
            self._count = self._of_today() + 1
            return self._count <= REFUSED_ORDERS_A_DAY

    def _of_today(self) -> int:
        day = self._ledger.day()
        if day != self._day:
            self._day = day
            self._count = sum(_is_refused_order(body) for body in self._ledger.today())
        return self._count


def _is_refused_order(body: Body) -> bool:
    return isinstance(body, Refused) and body.round is None and not body.agreement
