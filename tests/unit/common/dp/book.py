"""A ledger that grows, and the budget it tells; with the entries that tests put into it."""

from dataclasses import replace
from decimal import Decimal

from comity_common.dp.budget import Budget
from comity_common.dp.spending import Spending
from comity_common.dp.terms import NON_PRIVATE, Gate, Guarantee, SampledGaussian, Unit
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    BudgetReserve,
    DatasetId,
    DatasetRegister,
    Genesis,
    NamespaceId,
    Outcome,
    RefundReason,
)
from comity_common.ledger.entries import append

ROWS, OTHER = DatasetId("0" * 31 + "1"), DatasetId("0" * 31 + "2")
HERE, THERE = NamespaceId("a" * 31 + "1"), NamespaceId("a" * 31 + "2")
NO_PARENT = DatasetId("")
CEILING = Guarantee(epsilon=Decimal(8), delta=Decimal("1e-5"))
ORDER = 4
DIGEST = Digest("ab" * 32)
STEP = SampledGaussian(
    sampling_probability=Decimal("0.2"), noise_multiplier=Decimal("1.5561"), steps=25
)  # a quarter of the ceiling
NOTHING = SampledGaussian(
    sampling_probability=Decimal("0.2"),
    noise_multiplier=Decimal(0),
    steps=25,
    mechanism=NON_PRIVATE,
)


class Book:
    """A ledger that grows, and the budget it tells."""

    def __init__(self, *bodies) -> None:
        self.entries = []
        self.budget = Budget()
        self.write(Genesis(nonce=bytes(16), software="test 1"))
        for body in bodies:
            self.write(body)

    def write(self, body) -> None:
        last = self.entries[-1] if self.entries else None
        entry = append(last, body, InstitutionId("clinic"), "2026-01-01T00:00:00Z")
        self.budget.apply(entry)
        self.entries.append(entry)

    def ask(self, spending: Spending, event: SampledGaussian, n: int, dataset=ROWS) -> None:
        """Reserve what the budget allows, as the vault does."""
        self.write(self.budget.reserve(dataset, spending, event, nonce=nonce(n), epoch=0, round=n))


def register(
    dataset=ROWS, namespace=HERE, unit=Unit.RECORD, ceiling=CEILING, parent=NO_PARENT
) -> DatasetRegister:
    return DatasetRegister(
        dataset=dataset,
        namespace=namespace,
        commitment=DIGEST,
        schema=DIGEST,
        unit=unit,
        ceiling=ceiling,
        parent=parent,
    )


def grant(
    namespace=HERE, order=ORDER, guarantee=CEILING, gate=Gate.RENYI, n: int = 1
) -> BudgetGrant:
    return BudgetGrant(
        grant=nonce(n),
        namespace=namespace,
        guarantee=None if gate is Gate.NONE else guarantee,
        gate=gate,
        order=order if gate is Gate.RENYI else 0,
    )


def claim(epsilon: object, delta: object = "1e-5") -> Guarantee:
    return Guarantee(epsilon=Decimal(str(epsilon)), delta=Decimal(str(delta)))


def spending(
    number: int = 1,
    event: SampledGaussian = STEP,
    rounds: int = 4,
    *,
    gate: Gate = Gate.RENYI,
    order: int = ORDER,
    guarantee: Guarantee = CEILING,
    unit: Unit = Unit.RECORD,
) -> Spending:
    """Return the terms of agreement `number`, which may run an event so many times."""
    return Spending(
        agreement=Digest(f"{number:064x}"),
        unit=unit,
        gate=gate,
        order=order if gate is Gate.RENYI else 0,
        guarantee=None if gate is Gate.NONE else guarantee,
        schedule=(replace(event, steps=event.steps * rounds),),
    )


def nonce(n: int) -> bytes:
    return n.to_bytes(16, "big")


def reserve(
    n: int, event=STEP, dataset=ROWS, agreement=DIGEST, granted: int = 1, guarantee=CEILING
) -> BudgetReserve:
    """Return a reserve that nobody asked for."""
    return BudgetReserve(
        dataset=dataset,
        grant=nonce(granted),
        nonce=nonce(n),
        agreement=agreement,
        epoch=0,
        round=n,
        unit=Unit.RECORD,
        event=event,
        schedule=(event,),
        guarantee=guarantee,
    )


def charge(n: int, outcome=Outcome.RELEASED) -> BudgetCharge:
    left = DIGEST if outcome is Outcome.RELEASED else Digest("")
    return BudgetCharge(nonce=nonce(n), outcome=outcome, released=left)


def refund(n: int, reason=RefundReason.ROUND_VOID) -> BudgetRefund:
    return BudgetRefund(nonce=nonce(n), reason=reason, evidence=DIGEST)
