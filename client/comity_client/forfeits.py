"""What counts as spent when a vault comes back from a backup.

The lost vault spent within its agreements and within each grant. How much of it, nobody knows any
more, so the most is taken: reserved and at once forfeited. Where the rest of a schedule does not
fit below a grant, all that is left of it is taken, as one Gaussian mechanism that costs just that;
the lost vault refused to spend more than that too. Where a grant without privacy was there, it may
have been used, and ε is infinite.
"""

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal

from comity_client.agreements import AgreementState, Known
from comity_client.correspondence import refuse
from comity_client.institution import Institution
from comity_common.dp.accountant import (
    COST_MARGIN,
    MAX_NOISE_MULTIPLIER,
    allowance,
    total_cost,
)
from comity_common.dp.accounts import EXACT, guarantees, left
from comity_common.dp.budget import Budget
from comity_common.dp.spending import Spending
from comity_common.dp.tally import claimed, is_within, keeps
from comity_common.dp.terms import (
    LEAST,
    MAX_ORDER,
    NON_PRIVATE,
    Gate,
    Guarantee,
    SampledGaussian,
    Unit,
)
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    NO_AGREEMENT,
    NONCE_BYTES,
    Body,
    BudgetCharge,
    BudgetGrant,
    BudgetReserve,
    DatasetId,
    NamespaceId,
    Outcome,
    Restore,
)
from comity_common.ledger.witness import GENERATION_BYTES
from comity_common.mechanisms import spending_of

NOTHING = 1e-11  # of an allowance; COST_MARGIN, which every cost has on top, is larger
NOISE_DIGITS = 14
WITHOUT_PRIVACY = SampledGaussian(
    sampling_probability=Decimal(1),
    noise_multiplier=Decimal(0),
    steps=1,
    mechanism=NON_PRIVATE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forfeit:
    """Budget of a namespace that counts as spent from now on.

    Attributes:
        dataset: on which it may have been spent; any of the namespace's, where nobody knows.
        name: by which people call the data set, or all that it may be.
        agreement: what it could have been spent for; None for agreements that are not known here.
        epsilon_before, epsilon: spent in all in the namespace, before and now; may be infinite.
        ceiling: the most ε that may ever be spent.
    """

    dataset: DatasetId
    name: str
    agreement: Known | None
    epsilon_before: float
    epsilon: float
    ceiling: Decimal


def forfeit(
    institution: Institution, tx: sqlite3.Connection, *, signed_since: bool
) -> tuple[Forfeit, ...]:
    """Write to the ledger what may have been spent since a backup, and refuse its agreements.

    The operator is told of the refusals as soon as the vault runs. The ledger goes on in a new
    generation, so that witnesses do not take it for one that was put back.

    Args:
        signed_since: whether agreements may have been signed after the backup was made. Then those
            that were only offered in it are refused too, and nothing is left of any ceiling.
    """
    reckoning = _Reckoning(institution, tx)
    reckoning.close_open_reserves()
    known = institution.agreements.known()
    signed = [one for one in known if one.state in (AgreementState.SIGNED, AgreementState.IN_FORCE)]
    found = [loss for one in signed for loss in reckoning.forfeit_schedule(one)]
    if signed_since:
        reckoning.grant_the_rest()
        found += reckoning.forfeit_budgets()
    generation = os.urandom(GENERATION_BYTES)
    reckoning.append(Restore(agreement=NO_AGREEMENT, epoch=0, round=0, generation=generation))
    for one in known if signed_since else signed:
        refuse(institution, tx, one.agreement.digest)
    return tuple(found)


class _Reckoning:
    """Ledger and budget while entries are added to both."""

    def __init__(self, institution: Institution, tx: sqlite3.Connection) -> None:
        self._ledger = institution.ledger
        self._names = {dataset.id: dataset.name for dataset in institution.data.all()}
        self._tx = tx
        entries = institution.ledger.entries()
        self._budget = Budget(entries)
        bodies = [entry.body for entry in entries]
        self._reserves = [body for body in bodies if isinstance(body, BudgetReserve)]

    def append(self, body: Body) -> None:
        """Write an entry and count it."""
        self._budget.apply(self._ledger.append(self._tx, body))

    def close_open_reserves(self) -> None:
        """Forfeit what was at work when the backup was made; nobody knows how it ended."""
        for reserve in self._budget.open_reserves():
            self.append(_forfeited(reserve.nonce))

    def forfeit_schedule(self, known: Known) -> list[Forfeit]:
        """Forfeit the steps of an agreement that the ledger does not show.

        Where it had reserved nothing yet, nobody knows under which grant it would have: under each
        of its gate.
        """
        spending = spending_of(known.agreement)
        shown = [one for one in self._reserves if one.agreement == spending.agreement]
        epoch, round = (shown[-1].epoch, shown[-1].round) if shown else (0, 0)
        self.append(Restore(agreement=spending.agreement, epoch=epoch, round=round))
        rest = self._budget.unreserved(known.dataset, spending) if known.dataset else ()
        if known.dataset is None or not rest:
            return []
        grants = self._budget.grants(known.dataset, spending.gate)
        if shown:
            grants = tuple(grant for grant in grants if grant.grant == shown[0].grant)
        found = []
        for grant in grants:
            wanted = [_Loss.of(spending, event, known, epoch, round) for event in rest]
            if not is_within(grant, [*self._budget.held(grant.grant), *wanted]):
                wanted = self._what_is_left(grant, known, epoch, round)
            found += self._spend(known.dataset, grant, wanted)
        return found

    def grant_the_rest(self) -> None:
        """Grant what no grant on the ledger has of the ceilings yet, so that it can be spent."""
        for statement in map(self._budget.statement, self._budget.namespaces()):
            if statement.rest is not None:
                self.append(_grant_of(statement.rest, statement.namespace))
                continue
            grants = [one.grant for one in statement.grants if one.grant.guarantee is not None]
            free = left(statement.ceiling.epsilon, (one.epsilon for one in guarantees(grants)))
            if free > 0:  # δ is granted in full: a grant with which some of ε can be spent gets it
                raised = [_raised(one, free) for one in grants]
                usable = (one for one in raised if self._what_is_left(one, None, 0, 0))
                self.append(next(usable, raised[0]))

    def forfeit_budgets(self) -> list[Forfeit]:
        """Forfeit all that is left of every grant."""
        found = []
        for statement in map(self._budget.statement, self._budget.namespaces()):
            for grant in [one.grant for one in statement.grants]:
                losses = self._what_is_left(grant, None, 0, 0)
                found += self._spend(statement.datasets[0], grant, losses)
        return found

    def _spend(
        self, dataset: DatasetId, grant: BudgetGrant, losses: "list[_Loss]"
    ) -> list[Forfeit]:
        if not losses:
            return []
        statement = self._budget.statement(grant.namespace)
        for loss in losses:
            reserve = loss.reserve(dataset, grant, statement.unit)
            self.append(reserve)
            self.append(_forfeited(reserve.nonce))
        known = losses[0].known
        those = [dataset] if known else statement.datasets
        forfeit = Forfeit(
            dataset=dataset,
            name=", ".join(self._names[one] for one in those),
            agreement=known,
            epsilon_before=statement.epsilon_charged,
            epsilon=self._budget.epsilon_charged(dataset),
            ceiling=statement.ceiling.epsilon,
        )
        return [forfeit]

    def _what_is_left(
        self, grant: BudgetGrant, known: Known | None, epoch: int, round: int
    ) -> "list[_Loss]":
        """Return what uses a grant up: one mechanism that takes all that is left, or none."""
        held = self._budget.held(grant.grant)
        if grant.guarantee is None:
            event, claim = WITHOUT_PRIVACY, None
        elif grant.gate is Gate.RENYI:
            found, claim = _rest_of_allowance(grant.guarantee, grant.order, held), grant.guarantee
            if found is None:
                return []
            event = found
        else:
            claim = _rest_of_claims(grant.guarantee, held)
            found = None if claim is None else _that_keeps(claim)
            if found is None:
                return []
            event = found
        agreement = known.agreement.digest if known else NO_AGREEMENT
        loss = _Loss(
            agreement=agreement,
            event=event,
            schedule=(event,),
            guarantee=claim,
            known=known,
            epoch=epoch,
            round=round,
        )
        return [loss]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """What may have been spent, for what and at which round last."""

    agreement: Digest
    event: SampledGaussian
    schedule: tuple[SampledGaussian, ...]
    guarantee: Guarantee | None
    known: Known | None
    epoch: int
    round: int

    @classmethod
    def of(
        cls, spending: Spending, event: SampledGaussian, known: Known, epoch: int, round: int
    ) -> "_Loss":
        """Return the loss of a part of an agreement's schedule."""
        return cls(
            agreement=spending.agreement,
            event=event,
            schedule=spending.schedule,
            guarantee=spending.guarantee,
            known=known,
            epoch=epoch,
            round=round,
        )

    def reserve(self, dataset: DatasetId, grant: BudgetGrant, unit: Unit) -> BudgetReserve:
        """Return it as a reserve.

        Args:
            unit: of the namespace, where no agreement is known.
        """
        return BudgetReserve(
            dataset=dataset,
            grant=grant.grant,
            nonce=os.urandom(NONCE_BYTES),
            agreement=self.agreement,
            epoch=self.epoch,
            round=self.round,
            unit=self.known.agreement.privacy.unit if self.known else unit,
            event=self.event,
            schedule=self.schedule,
            guarantee=self.guarantee,
        )


def _rest_of_allowance(
    guarantee: Guarantee, order: int, held: Iterable[BudgetReserve]
) -> SampledGaussian | None:
    """Return a mechanism that costs all that is left to within 10⁻¹¹ of the allowance.

    What remains is less than COST_MARGIN: no event that was ever counted cost as much in truth as
    it was counted, so the budget shows no less than the lost vault can have spent.
    """
    most = allowance(guarantee, order)
    room = most - total_cost([one.event for one in held], order)
    if room <= most * NOTHING:
        return None
    return _gaussian(room - most * NOTHING / 10, order)


def _rest_of_claims(guarantee: Guarantee, held: Iterable[BudgetReserve]) -> Guarantee | None:
    """Return what agreements could still claim; None if that is nothing."""
    claims = claimed(held)
    if claims is None:
        return None
    epsilon, delta = left(guarantee.epsilon, claims[:1]), left(guarantee.delta, claims[1:])
    if min(epsilon, delta) < LEAST:
        return None
    return Guarantee(epsilon=epsilon, delta=delta)


def _that_keeps(claim: Guarantee) -> SampledGaussian | None:
    """Return a mechanism that keeps a claim; None where no noise does."""
    if (room := allowance(claim, MAX_ORDER)) > 0:
        return _gaussian(room, MAX_ORDER)
    most = Decimal(MAX_NOISE_MULTIPLIER)
    event = SampledGaussian(sampling_probability=Decimal(1), noise_multiplier=most, steps=1)
    return event if keeps((event,), claim) else None


def _grant_of(rest: Guarantee, namespace: NamespaceId) -> BudgetGrant:
    """Grant the rest of a ceiling: at the order at which most of ε is left, if any is at one."""
    gate = Gate.RENYI if allowance(rest, MAX_ORDER) > 0 else Gate.FIXED_SCHEDULE
    return BudgetGrant(
        grant=os.urandom(NONCE_BYTES),
        namespace=namespace,
        guarantee=rest,
        gate=gate,
        order=MAX_ORDER if gate is Gate.RENYI else 0,
    )


def _raised(grant: BudgetGrant, by: Decimal) -> BudgetGrant:
    if grant.guarantee is None:
        raise AssertionError("a grant without privacy has no ε to raise")
    epsilon = EXACT.add(grant.guarantee.epsilon, by)
    return replace(grant, guarantee=replace(grant.guarantee, epsilon=epsilon))


def _gaussian(cost: float, order: int) -> SampledGaussian:
    """Return a Gaussian on all records, which costs α/2σ² (Mironov 2017, prop. 7)."""
    noise = (order * (1 + COST_MARGIN) / 2 / cost) ** 0.5
    multiplier = Context(prec=NOISE_DIGITS, rounding=ROUND_CEILING).create_decimal(noise)
    return SampledGaussian(sampling_probability=Decimal(1), noise_multiplier=multiplier, steps=1)


def _forfeited(nonce: bytes) -> BudgetCharge:
    return BudgetCharge(nonce=nonce, outcome=Outcome.FORFEITED, released=Digest(""))
