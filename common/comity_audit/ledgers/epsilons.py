"""ε computed again from (q, σ, T, δ), by two implementations that share no code.

Ours is `comity_common.dp`, which the vault's own gate uses; the other is Google's dp-accounting
(`pip install comity[exact]`). Two things are computed for every grant that was used:

* what each agreement has spent of its schedule, by privacy loss distributions: the least ε that is
  known for it;
* where the gate is a Rényi filter, what all agreements together have spent at the grant's order,
  which is what the gate itself counts.

They agree if they are within 1 % or 0.005 of each other. For a discrete Gaussian (a score) ours is
a bound by Rényi divergence; there it must not be below what a Gaussian of the same σ costs.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from comity_audit.ledgers.entries import AuditedLedger
from comity_common.dp import pld
from comity_common.dp.accountant import epsilon_of
from comity_common.dp.budget import Budget, GrantStatement
from comity_common.dp.spending import mechanism_of
from comity_common.dp.tally import keeps
from comity_common.dp.terms import DISCRETE_GAUSSIAN, NON_PRIVATE, Gate, Guarantee, SampledGaussian
from comity_common.ids import Digest
from comity_common.ledger.bodies import BudgetReserve, NamespaceId

RELATIVE, ABSOLUTE = 0.01, 0.005
GRID = 1e-4  # value discretization interval of dp-accounting, in nats


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """One ε, computed twice.

    Attributes:
        ours, theirs: ε at δ; theirs is None where dp-accounting is not installed.
        is_bound: whether ours is only a bound, which theirs must not exceed.
    """

    ours: float
    theirs: float | None
    is_bound: bool = False

    @property
    def difference(self) -> float | None:
        """Ours less theirs; None without theirs."""
        if self.theirs is None:
            return None
        return 0.0 if self.ours == self.theirs else self.ours - self.theirs

    @property
    def agree(self) -> bool:
        """Whether they agree; True where there is nothing to compare with."""
        if self.theirs is None or self.ours == self.theirs:
            return True
        if self.is_bound:
            return self.ours >= self.theirs * (1 - RELATIVE)
        apart = abs(self.ours - self.theirs)
        return apart <= max(RELATIVE * self.theirs, ABSOLUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEpsilon:
    """What one agreement has spent in one namespace.

    Attributes:
        claim: what the agreement claims for its whole schedule; None where it claims nothing.
        spent: mechanisms that are charged or reserved, each with all its steps (T).
        scheduled: those that the agreement may run at most.
        of_spent: at the claim's δ.
        of_schedule: the same for everything scheduled; within the claim, or it is a finding.
    """

    namespace: NamespaceId
    agreement: Digest
    claim: Guarantee | None
    spent: tuple[SampledGaussian, ...]
    scheduled: tuple[SampledGaussian, ...]
    of_spent: Computed
    of_schedule: Computed

    @property
    def is_kept(self) -> bool:
        """Whether the whole schedule is within the claim."""
        return self.claim is None or keeps(self.scheduled, self.claim)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantEpsilon:
    """What all agreements have spent of one grant, as its gate counts.

    Attributes:
        of_spent: at the grant's δ and order; None for gates other than a Rényi filter.
    """

    statement: GrantStatement
    of_spent: Computed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceEpsilon:
    """The budget of one namespace, computed again."""

    namespace: NamespaceId
    ceiling: Guarantee
    unit: str
    grants: tuple[GrantEpsilon, ...]
    runs: tuple[RunEpsilon, ...]
    epsilon: float

    @property
    def findings(self) -> Iterator[str]:
        """What does not agree, in sentences."""
        space = self.namespace[:8]
        for run in self.runs:
            if not (run.of_spent.agree and run.of_schedule.agree):
                yield f"namespace {space}, agreement {run.agreement[:16]}…: two ε do not agree"
            if not run.is_kept:
                yield f"namespace {space}, agreement {run.agreement[:16]}…: ε is above its claim"
        for grant in self.grants:
            if grant.of_spent is not None and not grant.of_spent.agree:
                yield f"namespace {space}, a grant: two ε at its order do not agree"


def has_second() -> bool:
    """Tell whether dp-accounting is installed."""
    try:
        import dp_accounting  # noqa: F401
    except ImportError:
        return False
    return True


def recompute(ledger: AuditedLedger) -> tuple[NamespaceEpsilon, ...]:
    """Compute every budget of a verified ledger again.

    Raises:
        LocalError: an entry does not fit those before it.
    """
    budget = Budget(ledger.entries)
    second = has_second()
    return tuple(_namespace(budget, name, second) for name in budget.namespaces())


def computed(events: Sequence[SampledGaussian], delta: Decimal, second: bool) -> Computed:
    """Compute ε at δ of a fixed schedule, by both.

    What is out of reach of ours, and so costs ε = ∞, would take the other one hours and gigabytes.
    """
    is_bound = any(event.mechanism == DISCRETE_GAUSSIAN for event in events)
    ours, theirs = pld.epsilon(events, delta), None
    if second and (math.isfinite(ours) or _is_without_privacy(events)):
        theirs = _theirs(events, float(delta))
    return Computed(ours=ours, theirs=theirs, is_bound=is_bound)


def computed_at(
    events: Sequence[SampledGaussian], order: int, delta: Decimal, second: bool
) -> Computed:
    """Compute ε at δ from one Rényi order, by both."""
    theirs = _theirs_at(events, order, float(delta)) if second else None
    return Computed(ours=epsilon_of(events, order, delta), theirs=theirs)


def _namespace(budget: Budget, name: NamespaceId, second: bool) -> NamespaceEpsilon:
    statement = budget.statement(name)
    grants: list[GrantEpsilon] = []
    held: list[BudgetReserve] = []
    for one in statement.grants:
        grant, reserves = one.grant, budget.held(one.grant.grant)
        held += reserves
        at_order = None
        if grant.gate is Gate.RENYI and grant.guarantee is not None:
            events = merged(reserve.event for reserve in reserves)
            at_order = computed_at(events, grant.order, grant.guarantee.delta, second)
        grants.append(GrantEpsilon(statement=one, of_spent=at_order))
    return NamespaceEpsilon(
        namespace=name,
        ceiling=statement.ceiling,
        unit=statement.unit.value,
        grants=tuple(grants),
        runs=tuple(_runs(name, held, second)),
        epsilon=statement.epsilon_reserved,
    )


def _runs(name: NamespaceId, held: Iterable[BudgetReserve], second: bool) -> Iterator[RunEpsilon]:
    by_terms: dict[tuple[object, ...], list[BudgetReserve]] = {}
    for reserve in held:
        terms = (reserve.agreement, reserve.guarantee, reserve.schedule)
        by_terms.setdefault(terms, []).append(reserve)
    for reserves in by_terms.values():
        first = reserves[0]
        spent = merged(reserve.event for reserve in reserves)
        infinite = Computed(ours=math.inf, theirs=math.inf if second else None)
        claim = first.guarantee
        yield RunEpsilon(
            namespace=name,
            agreement=first.agreement,
            claim=claim,
            spent=spent,
            scheduled=first.schedule,
            of_spent=computed(spent, claim.delta, second) if claim else infinite,
            of_schedule=computed(first.schedule, claim.delta, second) if claim else infinite,
        )


def merged(events: Iterable[SampledGaussian]) -> tuple[SampledGaussian, ...]:
    """Put steps of the same mechanism together: T of each."""
    steps: dict[tuple[object, ...], int] = {}
    one: dict[tuple[object, ...], SampledGaussian] = {}
    for event in events:
        key = mechanism_of(event)
        one.setdefault(key, event)
        steps[key] = steps.get(key, 0) + event.steps
    return tuple(
        SampledGaussian(
            sampling_probability=event.sampling_probability,
            noise_multiplier=event.noise_multiplier,
            steps=steps[key],
            mechanism=event.mechanism,
        )
        for key, event in one.items()
    )


def _is_without_privacy(events: Iterable[SampledGaussian]) -> bool:
    return any(event.mechanism == NON_PRIVATE for event in events)


def _theirs(events: Sequence[SampledGaussian], delta: float) -> float:
    """Compose the loss distributions of dp-accounting, add or remove one unit."""
    from dp_accounting.pld import privacy_loss_distribution as library

    if _is_without_privacy(events):
        return math.inf
    whole = None
    for event in events:
        one = library.from_gaussian_mechanism(
            float(event.noise_multiplier),
            sampling_prob=float(event.sampling_probability),
            value_discretization_interval=GRID,
        ).self_compose(event.steps)
        whole = one if whole is None else whole.compose(one)
    return 0.0 if whole is None else float(whole.get_epsilon_for_delta(delta))


def _theirs_at(events: Sequence[SampledGaussian], order: int, delta: float) -> float:
    """Add the Rényi divergences of dp-accounting at one order, and convert."""
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant([float(order)])
    for event in events:
        if event.mechanism == NON_PRIVATE:
            return math.inf
        noise = dp_accounting.GaussianDpEvent(float(event.noise_multiplier))
        sampled = dp_accounting.PoissonSampledDpEvent(float(event.sampling_probability), noise)
        accountant.compose(sampled, event.steps)
    return float(accountant.get_epsilon(delta)) if events else 0.0
