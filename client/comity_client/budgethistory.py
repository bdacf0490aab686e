"""What happened to a budget, line by line, as the ledger tells it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from comity_common.dp.budget import Budget
from comity_common.dp.terms import Gate
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    BudgetReserve,
    DatasetRegister,
    NamespaceId,
)
from comity_common.ledger.entries import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry about a budget.

    Attributes:
        sequence, time: of the entry; the time is `YYYY-MM-DDTHH:MM:SSZ`, UTC.
        kind: of the entry.
        agreement, round, steps: of the reserve that it makes or closes; None for others.
        detail: what else there is to say, for people.
        epsilon: charged or open afterwards in the namespace, over all grants; may be infinite.
    """

    sequence: int
    time: str
    namespace: NamespaceId
    kind: str
    agreement: Digest | None
    round: int | None
    steps: int | None
    detail: str
    epsilon: float


def events(entries: Iterable[Entry]) -> Iterator[Event]:
    """Tell what happened to every budget of a verified ledger, in order.

    Raises:
        LocalError: an entry that does not fit those before it.
    """
    budget = Budget()
    reserves: dict[bytes, BudgetReserve] = {}
    for entry in entries:
        body = entry.body
        budget.apply(entry)
        reserve: BudgetReserve | None = None
        match body:
            case DatasetRegister():
                space, detail = body.namespace, f"{body.dataset[:8]}, counts {body.unit.value}s"
            case BudgetGrant():
                space, detail = body.namespace, _granted(body)
            case BudgetReserve():
                reserve = reserves[body.nonce] = body
                space, detail = budget.namespace(body.dataset), f"under {body.grant.hex()[:8]}"
            case BudgetCharge():
                reserve, detail = reserves[body.nonce], body.outcome.value
                space = budget.namespace(reserve.dataset)
            case BudgetRefund():
                reserve, detail = reserves[body.nonce], body.reason.value
                space = budget.namespace(reserve.dataset)
            case _:
                continue
        yield Event(
            sequence=entry.sequence,
            time=entry.time,
            namespace=space,
            kind=entry.kind.value,
            agreement=reserve.agreement if reserve else None,
            round=reserve.round if reserve else None,
            steps=reserve.event.steps if reserve else None,
            detail=detail,
            epsilon=budget.statement(space).epsilon_reserved,
        )


def _granted(grant: BudgetGrant) -> str:
    if grant.guarantee is None:
        return f"{grant.grant.hex()[:8]}, without privacy"
    order = f" at order {grant.order}" if grant.gate is Gate.RENYI else ""
    return (
        f"{grant.grant.hex()[:8]}, ε = {grant.guarantee.epsilon:f} at "
        f"δ = {grant.guarantee.delta:f}, {grant.gate.value}{order}"
    )
