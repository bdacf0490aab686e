"""How often a day the operator is told something that depends on this institution's own rules.

Nobody is told a rule, but who may try terms and hears yes or no each time finds it by halving. Two
answers of a vault depend on its policy:

* **A signature, or none.** The operator chooses the terms of what it proposes. A person decides,
  and may have a script sign whatever the policy allows: then every proposal is a question. So many
  are judged in a day, and the rest waits for the next, whether the policy would allow it or not.
* **An order accepted, or refused.** Its terms are those of an agreement that was signed, so there
  is nothing to search. After so many refusals in a day the reason is not told any more, nor written
  down, so that nobody fills the disk; an order that is in order is accepted as before.

Both counts are views of the ledger, so no restart begins them anew. Days are those of UTC.
"""

from collections.abc import Iterator

from comity_client.ledger import Ledger
from comity_common.errors import Problem, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.ledger.bodies import AgreementSign, Refused

JUDGED_A_DAY = 8  # as many bits about the policy can be learnt in a day, and no more
REFUSED_ORDERS_A_DAY = 100  # far more than an honest operator brings on itself


def check_may_be_judged(ledger: Ledger, agreement: Digest) -> None:
    """Refuse to judge one more agreement today; one that was judged today may be again.

    Raises:
        Problem: as many others were judged today as may be.
    """
    judged = set(_judged(ledger))
    if agreement not in judged and len(judged) >= JUDGED_A_DAY:
        raise Problem("COM-AGREE-009", limit=JUDGED_A_DAY)


def told(ledger: Ledger, refusal: Refusal) -> Refusal:
    """Return what the operator may hear of a refused order: its reason, or no reason."""
    if may_note_refused_order(ledger):
        return refusal
    return Refusal(RefusalCode.UNAVAILABLE, f"expected fewer refused orders today: {refusal}")


def may_note_refused_order(ledger: Ledger) -> bool:
    """Tell whether one more refused order may be written to the ledger today."""
    refused = (
        isinstance(body, Refused) and body.round is None and not body.agreement
        for body in ledger.today()
    )
    return sum(refused) < REFUSED_ORDERS_A_DAY


def _judged(ledger: Ledger) -> Iterator[Digest]:
    for body in ledger.today():
        match body:
            case AgreementSign(agreement=agreement):
                yield agreement
            case Refused(code=RefusalCode.POLICY, agreement=agreement, round=None) if agreement:
                yield agreement
