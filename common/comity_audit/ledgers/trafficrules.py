"""Rules about what left: the budget covers it, or it is a control message of the closed list."""

from collections.abc import Iterator
from typing import NamedTuple

from comity_audit.ledgers.entries import AuditedLedger
from comity_common.agreement import Agreement
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetRefund,
    BudgetReserve,
    Egress,
    Outcome,
    SelfTest,
    Traffic,
    Verdict,
)
from comity_common.ledger.controls import CONTROLS, HEAD, UPLOAD, is_greeting
from comity_common.ledger.crossings import upload_sizes
from comity_common.mechanisms import kinds_of, schedule_event


class _Reserved(NamedTuple):
    """A reserve as far as the ledger has come.

    Attributes:
        place: of its entry.
        closed: by the outcome of its charge or refund.
        is_shown: whether a head with it had left for the witnesses by then.
    """

    body: BudgetReserve
    place: int
    closed: str = ""
    is_shown: bool = False


def crossing(ledger: AuditedLedger) -> Iterator[str]:
    """What left is covered by a reserve that was charged as released, once; or is control.

    Noise is drawn between reserve and charge, so a head must have left for the witnesses there.
    """
    reserves: dict[bytes, _Reserved] = {}
    covered: set[bytes] = set()
    shown = -1  # the place of the last head that left
    for entry in ledger.entries:
        body, where = entry.body, f"entry {entry.sequence}"
        match body:
            case BudgetReserve(nonce=nonce):
                reserves[nonce] = _Reserved(body, entry.sequence)
            case BudgetCharge(nonce=nonce, outcome=outcome) if nonce in reserves:
                of = reserves[nonce]
                reserves[nonce] = of._replace(closed=outcome.value, is_shown=shown > of.place)
            case BudgetRefund(nonce=nonce) if nonce in reserves:
                reserves[nonce] = reserves[nonce]._replace(closed="refunded")
            case Egress(traffic=Traffic.MECHANISM, nonce=nonce):
                if nonce in covered:
                    yield f"{where}: a second message under one reserve"
                covered.add(nonce)
                if (why := _uncovered(ledger, body, reserves.get(nonce))) is not None:
                    yield f"{where}: {why}"
            case Egress():
                if body.message == HEAD:
                    shown = entry.sequence
                if (why := _no_control(ledger, body)) is not None:
                    yield f"{where}: {why}"
    for nonce, reserved in reserves.items():
        if reserved.closed == Outcome.RELEASED and nonce not in covered:
            yield f"round {reserved.body.round}: charged as released, and nothing left"


def self_tests(ledger: AuditedLedger) -> Iterator[str]:
    """Nothing ran under an agreement whose machinery had not passed its self-test.

    What was only ever counted as spent, after a backup, did not run; and where an agreement
    promises nothing, as its reserves say, there is nothing to test.
    """
    passed: dict[str, bool] = {}
    forfeited = ledger.forfeited
    for entry in ledger.entries:
        match entry.body:
            case SelfTest(agreement=agreement, verdict=verdict):
                passed[agreement] = verdict is Verdict.PASS
            case BudgetReserve(agreement=agreement, nonce=nonce) as reserve:
                is_due = nonce not in forfeited and reserve.guarantee is not None
                if is_due and not passed.get(agreement, False):
                    yield f"entry {entry.sequence}: a reserve without a self-test that passed"


def _uncovered(ledger: AuditedLedger, body: Egress, reserved: _Reserved | None) -> str | None:
    if reserved is None:
        return "it left without a reserve of the budget"
    if reserved.closed != Outcome.RELEASED:
        return "it left under a reserve that was not charged as released before"
    if not reserved.is_shown:
        return "no head with its reserve was sent to witnesses before it was charged"
    if body.message != UPLOAD or body.round != reserved.body.round:
        return f"expected the upload of round {reserved.body.round}"
    agreement = ledger.parties.agreements.get(reserved.body.agreement)
    if agreement is None:
        return "it left under an agreement that is not in the package"
    return _misfit(body, reserved.body, agreement) or _astray(body, [agreement])


def _misfit(body: Egress, reserve: BudgetReserve, agreement: Agreement) -> str | None:
    """Tell whether more or less left than the vector of the mechanism that was reserved."""
    kinds = [
        kind for kind in kinds_of(agreement) if schedule_event(agreement, 1, kind) == reserve.event
    ]
    if not any(body.size_bytes in upload_sizes(agreement, kind) for kind in kinds):
        return f"an upload of {body.size_bytes} bytes, which is not the size of a masked vector"
    return None


def _no_control(ledger: AuditedLedger, body: Egress) -> str | None:
    control = CONTROLS.get(body.message)
    if control is None:
        return f"{body.message[:40]} is no control message, and nothing covers it"
    agreements = [ledger.parties.agreements[digest] for digest in ledger.parties.signed]
    most = control.limit(max((len(one.institutions) for one in agreements), default=0))
    if body.size_bytes > most:
        return f"{body.message} of {body.size_bytes} bytes, more than the {most} it can need"
    return _astray(body, agreements)


def _astray(body: Egress, agreements: list[Agreement]) -> str | None:
    """Tell whether something went to anybody but the operator of an agreement, at its place.

    Of the first message of all, which goes to an address, only the country can be looked at.
    """
    operators = {(one.operator.id, one.operator.jurisdiction) for one in agreements}
    if is_greeting(body.message, body.receiver):
        if body.jurisdiction in {country for _, country in operators}:
            return None
    elif (body.receiver, body.jurisdiction) in operators:
        return None
    return f"it went to {body.receiver} ({body.jurisdiction}), not to the operator"
