"""One namespace's account: what the ledger says was granted, reserved, charged and given back.

An entry that does not fit raises and changes nothing. Whether a reserve should have been made is
not asked here (`gate`): what was written is history and counts.

A ledger grows with every round, and its mechanisms are few. So reserves on equal terms are also
kept as sums, and a rule that only asks how much was reserved looks at these.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Context, Decimal

from comity_common.dp.accountant import allowance
from comity_common.dp.spending import mechanism_of
from comity_common.dp.terms import LEAST, Gate, Guarantee, SampledGaussian, Unit
from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.ledger.bodies import BudgetGrant, BudgetReserve, DatasetId, DatasetRegister

EXACT = Context(prec=200)  # sums of decimals of 40 digits, 40 of them behind the point
WRITTEN = Context(prec=40, rounding=ROUND_DOWN)  # what has a canonical form


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """All reserves of an agreement under one grant, on equal terms and for one mechanism.

    Attributes:
        event: the mechanism, with the steps of all that count, charged or open.
    """

    grant: bytes
    agreement: Digest
    unit: Unit
    event: SampledGaussian
    schedule: tuple[SampledGaussian, ...]
    guarantee: Guarantee | None


Terms = tuple[Unit, tuple[SampledGaussian, ...], Guarantee | None]


@dataclass(frozen=True, slots=True)
class Begun:
    """An agreement that has reserved something, be it refunded.

    Attributes:
        grant: of its first reserve.
        terms: unit, schedule and guarantee; more than one only where rules were broken.
    """

    grant: bytes
    terms: frozenset[Terms]


@dataclass(slots=True)
class Account:
    """What one namespace may spend and has spent.

    Attributes:
        ceiling, unit: of all that is claimed, for life.
        datasets: what is registered in it, with the unit of its rows.
        grants: by id, each at its last top-up.
        reserves: by nonce, in the order in which they were made.
        open, refunded: nonces of reserves; all others are charged.
        sums: what counts of them, added up.
        begun: which agreements have reserved anything.
    """

    ceiling: Guarantee
    unit: Unit
    datasets: dict[DatasetId, Unit] = field(default_factory=dict)
    grants: dict[bytes, BudgetGrant] = field(default_factory=dict)
    reserves: dict[bytes, BudgetReserve] = field(default_factory=dict)
    open: set[bytes] = field(default_factory=set)
    refunded: set[bytes] = field(default_factory=set)
    sums: dict[tuple[object, ...], Sum] = field(default_factory=dict)
    begun: dict[Digest, Begun] = field(default_factory=dict)

    def copy(self) -> "Account":
        """Return the same account, which no entry that is taken into this one changes."""
        return replace(
            self,
            datasets=dict(self.datasets),
            grants=dict(self.grants),
            reserves=dict(self.reserves),
            open=set(self.open),
            refunded=set(self.refunded),
            sums=dict(self.sums),
            begun=dict(self.begun),
        )

    def held(self, grant: bytes | None = None) -> list[BudgetReserve]:
        """List what counts, charged or open: of one grant, or of all."""
        return [
            one
            for nonce, one in self.reserves.items()
            if nonce not in self.refunded and grant in (None, one.grant)
        ]

    def charged(self, grant: bytes | None = None) -> list[BudgetReserve]:
        """List what is charged: of one grant, or of all."""
        return [one for one in self.held(grant) if one.nonce not in self.open]

    def summed(self, grant: bytes) -> list[Sum]:
        """List what counts under a grant, charged or open, added up."""
        return [one for one in self.sums.values() if one.grant == grant]

    def steps(self, agreement: Digest, event: SampledGaussian) -> int:
        """Count the steps of a mechanism that an agreement has reserved; refunds do not count."""
        which = mechanism_of(event)
        return sum(
            one.event.steps
            for one in self.sums.values()
            if one.agreement == agreement and mechanism_of(one.event) == which
        )

    def rest(self) -> Guarantee | None:
        """Return what of the ceiling is not granted; None where ε or δ is used up."""
        granted = guarantees(self.grants.values())
        epsilon = left(self.ceiling.epsilon, (one.epsilon for one in granted))
        delta = left(self.ceiling.delta, (one.delta for one in granted))
        if min(epsilon, delta) < LEAST:
            return None
        return Guarantee(epsilon=epsilon, delta=delta)

    def register(self, new: DatasetRegister) -> None:
        """Take a data set in."""
        if (why := self.why_not_registered(new)) is not None:
            raise LocalError(why)
        self.datasets[new.dataset] = new.unit

    def grant(self, new: BudgetGrant) -> None:
        """Take a grant or a top-up in."""
        if (why := self.why_not_granted(new)) is not None:
            raise LocalError(why)
        self.grants[new.grant] = new

    def reserve(self, new: BudgetReserve) -> None:
        """Take a reserve in; its nonce is fresh."""
        if new.grant not in self.grants:
            raise LocalError("expected a reserve under a grant of its data set's namespace")
        self._add(new, new.event.steps)
        self.reserves[new.nonce] = new
        self.open.add(new.nonce)
        terms: Terms = (new.unit, new.schedule, new.guarantee)
        begun = self.begun.get(new.agreement, Begun(new.grant, frozenset()))
        self.begun[new.agreement] = replace(begun, terms=begun.terms | {terms})

    def charge(self, nonce: bytes) -> None:
        """Close a reserve as spent."""
        self._close(nonce)

    def refund(self, nonce: bytes) -> None:
        """Close a reserve as not spent."""
        self._close(nonce)
        self.refunded.add(nonce)
        self._add(self.reserves[nonce], -self.reserves[nonce].event.steps)

    def _close(self, nonce: bytes) -> None:
        if nonce not in self.open:
            raise LocalError("expected the nonce of an open reserve")
        self.open.remove(nonce)

    def _add(self, reserve: BudgetReserve, steps: int) -> None:
        terms = (reserve.unit, reserve.schedule, reserve.guarantee)
        key = (reserve.grant, reserve.agreement, *terms, *mechanism_of(reserve.event))
        old = self.sums.get(key)
        total = steps + (old.event.steps if old else 0)
        if total == 0:
            del self.sums[key]
            return
        self.sums[key] = Sum(
            grant=reserve.grant,
            agreement=reserve.agreement,
            unit=reserve.unit,
            event=replace(reserve.event, steps=total),
            schedule=reserve.schedule,
            guarantee=reserve.guarantee,
        )

    def why_not_registered(self, new: DatasetRegister) -> str | None:
        """Say why a data set does not belong here; None if it does."""
        if new.ceiling != self.ceiling:
            return "expected the ceiling that the namespace has had since its first data set"
        if self.unit is Unit.PERSON and new.unit is not Unit.PERSON:
            return "expected a key column, as the namespace counts persons"
        return None

    def why_not_granted(self, new: BudgetGrant) -> str | None:
        """Say why a grant or top-up may not be; None if it may."""
        if new.guarantee is None:
            return "expected a new grant" if new.grant in self.grants else None
        if new.gate is Gate.RENYI and allowance(new.guarantee, new.order) <= 0:
            return f"expected an order that can afford something, got {new.order}"
        if (old := self.grants.get(new.grant)) is not None and not _is_top_up(old, new):
            return "expected a top-up with a larger ε and otherwise the same terms"
        all_grants = guarantees({**self.grants, new.grant: new}.values())
        for claimed, ceiling in (
            ([one.epsilon for one in all_grants], self.ceiling.epsilon),
            ([one.delta for one in all_grants], self.ceiling.delta),
        ):
            if total(claimed) > ceiling:
                return (
                    f"expected grants within ε = {self.ceiling.epsilon:f} at "
                    f"δ = {self.ceiling.delta:f} together, which is for life"
                )
        return None


def guarantees(grants: Iterable[BudgetGrant]) -> list[Guarantee]:
    """List what grants guarantee; those without privacy guarantee nothing."""
    return [one.guarantee for one in grants if one.guarantee is not None]


def total(numbers: Iterable[Decimal]) -> Decimal:
    """Add up, without any rounding."""
    found = Decimal(0)
    for number in numbers:
        found = EXACT.add(found, number)
    return found


def left(of: Decimal, taken: Iterable[Decimal]) -> Decimal:
    """Subtract, rounded down to what can be written on the ledger."""
    exact = EXACT.subtract(of, total(taken))
    return WRITTEN.create_decimal(exact).quantize(LEAST, ROUND_DOWN, EXACT).normalize(EXACT)


def _is_top_up(old: BudgetGrant, new: BudgetGrant) -> bool:
    if old.guarantee is None or new.guarantee is None:
        return False
    same = (old.namespace, old.gate, old.order, old.guarantee.delta)
    return (
        same == (new.namespace, new.gate, new.order, new.guarantee.delta)
        and new.guarantee.epsilon > old.guarantee.epsilon
    )
