"""What counts as spent when a vault comes back from a backup.

The lost vault spent within its agreements and within each data set's ceiling. How much of it,
nobody knows any more, so the most is taken: reserved and at once forfeited. Where the rest of a
schedule does not fit below the ceiling, all that is left is taken, as one Gaussian mechanism that
costs just that; the lost vault refused to spend more than that too.
"""

import os
import sqlite3
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal

from comity_client.agreements import AgreementState, Known, schedule_event
from comity_client.correspondence import refuse
from comity_client.institution import Institution
from comity_common.dp.accountant import COST_MARGIN, allowance, fits, total_cost
from comity_common.dp.budget import Budget
from comity_common.dp.terms import MAX_ORDER, SampledGaussian
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    Body,
    BudgetCharge,
    BudgetGrant,
    BudgetReserve,
    DatasetId,
    Outcome,
    Restore,
)
from comity_common.ledger.entries import read

NONCE_BYTES = 16
NO_AGREEMENT = Digest("0" * 64)  # stands for any that is not known here
NOTHING = 1e-11  # of an allowance; COST_MARGIN, which every cost has on top, is larger
NOISE_DIGITS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Forfeit:
    """Budget of a data set that counts as spent from now on.

    Attributes:
        name: by which people call the data set.
        agreement: what it could have been spent for; None for agreements that are not known here.
        epsilon_before, epsilon: spent in all, before and now, at the δ of the ceiling.
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

    The operator is told of the refusals as soon as the vault runs.

    Args:
        signed_since: whether agreements may have been signed after the backup was made. Then those
            that were only offered in it are refused too, and no data set has any budget left.
    """
    reckoning = _Reckoning(institution, tx)
    reckoning.close_open_reserves()
    known = institution.agreements.known()
    signed = [one for one in known if one.state in (AgreementState.SIGNED, AgreementState.IN_FORCE)]
    found = [reckoning.forfeit_schedule(one) for one in signed]
    if signed_since:
        reckoning.grant_the_rest()
        found += reckoning.forfeit_budgets()
    if signed_since or not signed:
        reckoning.append(Restore(agreement=NO_AGREEMENT, epoch=0, round=0))
    for one in known if signed_since else signed:
        refuse(institution, tx, one.agreement.digest)
    return tuple(one for one in found if one is not None)


class _Reckoning:
    """Ledger and budget while entries are added to both."""

    def __init__(self, institution: Institution, tx: sqlite3.Connection) -> None:
        self._ledger = institution.ledger
        self._datasets = {dataset.id: dataset for dataset in institution.data.all()}
        self._tx = tx
        entries = institution.ledger.entries()
        bodies = [read(entry) for entry in entries]
        self._budget = Budget(entries)
        self._reserves = [body for body in bodies if isinstance(body, BudgetReserve)]
        self._grants = [body for body in bodies if isinstance(body, BudgetGrant)]

    def append(self, body: Body) -> None:
        """Write an entry and count it."""
        self._budget.apply(self._ledger.append(self._tx, body))

    def close_open_reserves(self) -> None:
        """Forfeit what was at work when the backup was made; nobody knows how it ended."""
        for reserve in self._budget.open_reserves():
            self.append(_forfeited(reserve.nonce))

    def forfeit_schedule(self, known: Known) -> Forfeit | None:
        """Forfeit the steps of an agreement that the ledger does not show."""
        agreement = known.agreement
        shown = [one for one in self._reserves if one.agreement == agreement.digest]
        epoch, round = (shown[-1].epoch, shown[-1].round) if shown else (0, 0)
        self.append(Restore(agreement=agreement.digest, epoch=epoch, round=round))
        whole = schedule_event(agreement, agreement.schedule.attempts)
        steps = whole.steps - sum(one.event.steps for one in shown)
        if known.dataset is None or steps <= 0:
            return None
        grant = self._budget.grant(known.dataset)
        rest: SampledGaussian | None = replace(whole, steps=steps)
        if not fits((*self._taken(grant), rest), grant.ceiling, grant.order):
            rest = self._what_is_left(grant)
        return self._spend(grant, rest, known, epoch, round)

    def grant_the_rest(self) -> None:
        """Grant the ceilings that no signature has put on the ledger yet, so they can be spent."""
        granted = {grant.dataset for grant in self._grants}
        for dataset in self._datasets.values():
            if dataset.id not in granted:  # at the order at which most of ε is left
                grant = BudgetGrant(dataset=dataset.id, ceiling=dataset.ceiling, order=MAX_ORDER)
                self.append(grant)
                self._grants.append(grant)

    def forfeit_budgets(self) -> list[Forfeit | None]:
        """Forfeit all that is left of every data set's budget."""
        return [self._spend(grant, self._what_is_left(grant), None, 0, 0) for grant in self._grants]

    def _spend(
        self,
        grant: BudgetGrant,
        event: SampledGaussian | None,
        known: Known | None,
        epoch: int,
        round: int,
    ) -> Forfeit | None:
        if event is None:
            return None
        before = self._budget.epsilon_charged(grant.dataset)
        reserve = BudgetReserve(
            dataset=grant.dataset,
            nonce=os.urandom(NONCE_BYTES),
            agreement=known.agreement.digest if known else NO_AGREEMENT,
            epoch=epoch,
            round=round,
            event=event,
        )
        self.append(reserve)
        self.append(_forfeited(reserve.nonce))
        return Forfeit(
            dataset=grant.dataset,
            name=self._datasets[grant.dataset].name,
            agreement=known,
            epsilon_before=before,
            epsilon=self._budget.epsilon_charged(grant.dataset),
            ceiling=grant.ceiling.epsilon,
        )

    def _room(self, grant: BudgetGrant) -> float:
        """Compute what is left of a data set's allowance, in nats at the granted order."""
        spent = total_cost(self._taken(grant), grant.order)
        return allowance(grant.ceiling, grant.order) - spent

    def _taken(self, grant: BudgetGrant) -> tuple[SampledGaussian, ...]:
        return self._budget.spent(grant.dataset) + self._budget.reserved(grant.dataset)

    def _what_is_left(self, grant: BudgetGrant) -> SampledGaussian | None:
        """Return a mechanism that costs all that is left to within 10⁻¹¹ of the allowance.

        What remains is less than COST_MARGIN: no event that was ever counted cost as much in truth
        as it was counted, so the budget shows no less than the lost vault can have spent.
        """
        room = self._room(grant)
        slack = allowance(grant.ceiling, grant.order) * NOTHING / 10
        if room <= 10 * slack:
            return None
        # A Gaussian on all records costs α/2σ² (Mironov 2017, prop. 7).
        noise = (grant.order * (1 + COST_MARGIN) / 2 / (room - slack)) ** 0.5
        multiplier = Context(prec=NOISE_DIGITS, rounding=ROUND_CEILING).create_decimal(noise)
        return SampledGaussian(
            sampling_probability=Decimal(1), noise_multiplier=multiplier, steps=1
        )


def _forfeited(nonce: bytes) -> BudgetCharge:
    return BudgetCharge(nonce=nonce, outcome=Outcome.FORFEITED, released=Digest(""))
