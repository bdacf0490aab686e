"""What a declared restore leaves uncounted.

Where a person declares that a ledger goes on from a backup, all that the agreements which were
signed may still have spent is counted as spent, for nobody knows what the lost vault did. An
agreement that was over by then spends nothing any more; but who wrote the ledger is the only one to
say so, unless another agreement goes on from it.
"""

from collections.abc import Iterator
from contextlib import suppress

from comity_audit.ledgers.entries import AuditedLedger
from comity_common.agreement import Agreement
from comity_common.dp.accountant import allowance, total_cost
from comity_common.dp.budget import Budget
from comity_common.dp.tally import claimed
from comity_common.dp.terms import MAX_ORDER, Gate, Guarantee
from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    AgreementSign,
    BudgetGrant,
    BudgetReserve,
    DatasetId,
    Restore,
    RoundJoin,
)
from comity_common.mechanisms import spending_of

NOTHING = 1e-9  # of an allowance; a vault uses it up to within 10⁻¹¹


def uncounted(ledger: AuditedLedger) -> tuple[Digest, ...]:
    """List the agreements that may have spent more before a restore than the ledger counts."""
    bodies = [entry.body for entry in ledger.entries]
    if not any(isinstance(body, Restore) and body.generation for body in bodies):
        return ()
    agreements, found = ledger.parties.agreements, dict[Digest, None]()
    budget, signed, datasets = Budget(), dict[Digest, None](), dict[Digest, DatasetId]()
    for entry in ledger.entries:
        with suppress(LocalError):  # the rules tell it
            budget.apply(entry)
        match entry.body:
            case AgreementSign(agreement=agreement) if agreement in agreements:
                signed[agreement] = None
            case RoundJoin(agreement=agreement) if agreement in agreements:
                if (before := agreements[agreement].continues) is not None:
                    signed.pop(before.agreement, None)
            case BudgetReserve(agreement=agreement, dataset=dataset):
                datasets[agreement] = dataset
            case Restore(generation=generation) if generation:
                for one in signed:
                    if not _is_counted(budget, agreements[one], datasets.get(one)):
                        found[one] = None
                signed.clear()
    return tuple(found)


def _is_counted(budget: Budget, agreement: Agreement, dataset: DatasetId | None) -> bool:
    """Tell whether all that an agreement may ever run is reserved, or its grant used up."""
    with suppress(LocalError):
        spending = spending_of(agreement)
        if dataset is not None and not budget.unreserved(dataset, spending):
            return True
        grants = list(_grants(budget, spending.gate, dataset))
        return bool(grants) and all(_is_used_up(budget, grant) for grant in grants)
    return False


def _grants(budget: Budget, gate: Gate, dataset: DatasetId | None) -> Iterator[BudgetGrant]:
    """List the grants that it may have spent: without a reserve nobody knows in which namespace."""
    if dataset is not None:
        yield from budget.grants(dataset, gate)
        return
    for namespace in budget.namespaces():
        yield from (
            one.grant for one in budget.statement(namespace).grants if one.grant.gate is gate
        )


def _is_used_up(budget: Budget, grant: BudgetGrant) -> bool:
    held = budget.summed(grant.grant)
    if grant.guarantee is None:
        return bool(held)
    if grant.gate is Gate.RENYI:
        most = allowance(grant.guarantee, grant.order)
        return total_cost([one.event for one in held], grant.order) >= most * (1 - NOTHING)
    claims = claimed(held)
    if claims is None:
        return True
    epsilon, delta = grant.guarantee.epsilon - claims[0], grant.guarantee.delta - claims[1]
    if min(epsilon, delta) <= 0:
        return True
    with suppress(LocalError):
        return allowance(Guarantee(epsilon=epsilon, delta=delta), MAX_ORDER) <= 0
    return True
