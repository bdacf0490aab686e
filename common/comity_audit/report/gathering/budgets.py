"""Each budget over time, replayed from the first entry.

An entry that does not fit those before it is left out here; the verification has found it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress

from comity_audit.epsilontext import INFINITE, epsilon_text
from comity_audit.ledgers.entries import AuditedLedger
from comity_audit.report.facts import BudgetHistory, BudgetPoint, GrantFacts
from comity_common.dp.budget import Budget, GrantStatement
from comity_common.errors import LocalError
from comity_common.ledger.bodies import (
    Body,
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    BudgetReserve,
    DatasetRegister,
    NamespaceId,
)

MAX_POINTS = 120  # of one curve: more than a picture shows, few enough for seconds


def histories(ledger: AuditedLedger) -> tuple[BudgetHistory, ...]:
    """Tell every namespace's budget."""
    shown = _shown(ledger)
    points: dict[NamespaceId, list[BudgetPoint]] = defaultdict(list)
    budget = Budget()
    for entry in ledger.entries:
        with suppress(LocalError):
            budget.apply(entry)
            if entry.sequence in shown:
                space = shown[entry.sequence]
                told = budget.statement(space)
                points[space].append(
                    BudgetPoint(
                        sequence=entry.sequence,
                        time=entry.time,
                        charged=epsilon_text(told.epsilon_charged),
                        reserved=epsilon_text(told.epsilon_reserved),
                    )
                )
    return tuple(_history(budget, space, points[space]) for space in budget.namespaces())


def _history(budget: Budget, space: NamespaceId, points: Sequence[BudgetPoint]) -> BudgetHistory:
    told = budget.statement(space)
    return BudgetHistory(
        namespace=space,
        unit=told.unit.value,
        epsilon=epsilon_text(told.ceiling.epsilon),
        delta=f"{told.ceiling.delta:f}",
        datasets=len(told.datasets),
        charged=epsilon_text(told.epsilon_charged),
        reserved=epsilon_text(told.epsilon_reserved),
        grants=tuple(map(_grant, told.grants)),
        points=tuple(points),
    )


def _grant(told: GrantStatement) -> GrantFacts:
    guarantee = told.grant.guarantee
    return GrantFacts(
        grant=told.grant.grant.hex(),
        gate=told.grant.gate.value,
        order=told.grant.order,
        epsilon=INFINITE if guarantee is None else epsilon_text(guarantee.epsilon),
        delta="" if guarantee is None else f"{guarantee.delta:f}",
        charged=epsilon_text(told.epsilon_charged),
        reserved=epsilon_text(told.epsilon_reserved),
    )


def _shown(ledger: AuditedLedger) -> dict[int, NamespaceId]:
    """Choose the entries after which a budget is drawn: all that move it, or evenly so many."""
    moving: dict[NamespaceId, list[int]] = defaultdict(list)
    spaces: dict[object, NamespaceId] = {}
    for entry in ledger.entries:
        if (space := _space(entry.body, spaces)) is not None:
            moving[space].append(entry.sequence)
    return {sequence: space for space, all_ in moving.items() for sequence in _evenly(all_)}


def _space(body: Body, spaces: dict[object, NamespaceId]) -> NamespaceId | None:
    """Return whose budget an entry moves; remembers by which ids later ones name it."""
    match body:
        case DatasetRegister():
            return spaces.setdefault(body.dataset, body.namespace)
        case BudgetGrant():
            return body.namespace
        case BudgetReserve() if body.dataset in spaces:
            return spaces.setdefault(body.nonce, spaces[body.dataset])
        case BudgetCharge() | BudgetRefund():
            return spaces.get(body.nonce)
    return None


def _evenly(sequences: Sequence[int]) -> Iterator[int]:
    count = min(len(sequences), MAX_POINTS)
    for place in range(1, count + 1):
        yield sequences[place * len(sequences) // count - 1]
