"""What may still be spent on each data set: a view over the ledger, with no state of its own.

Money-like rules:

* Default-deny: a data set without a grant has no budget.
* A mechanism is reserved before it runs and charged after. What is reserved counts as spent, so
  a crash can waste budget and never overspends it.
* Nothing is refunded here: a forfeited reserve and a void round are spent.
* Spending adds up over all rounds, runs and agreements on one data set.
* An entry that does not fit raises and changes nothing.

Whether a reserve may be made is asked before it is written (`check_reserve`). Entries are history:
they are counted even if they should not have been written, and then everything is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from comity_common.dp.accountant import allowance, epsilon_of, fits, total_cost
from comity_common.dp.terms import SampledGaussian
from comity_common.errors import LocalError, Refusal, RefusalCode
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetGrant,
    BudgetReserve,
    DatasetId,
    DatasetRegister,
)
from comity_common.ledger.entries import Entry, read


@dataclass(slots=True)
class _Account:
    """One data set's grant and reserves, by nonce, in the order in which they were made."""

    grant: BudgetGrant | None = None
    open: dict[bytes, BudgetReserve] = field(default_factory=dict)
    closed: dict[bytes, BudgetReserve] = field(default_factory=dict)

    @property
    def spent(self) -> tuple[SampledGaussian, ...]:
        return tuple(reserve.event for reserve in self.closed.values())

    @property
    def reserved(self) -> tuple[SampledGaussian, ...]:
        return tuple(reserve.event for reserve in self.open.values())


class Budget:
    """The budgets of all data sets of one vault, as its ledger tells them."""

    __slots__ = ("_accounts",)

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._accounts: dict[DatasetId, _Account] = {}
        for entry in entries:
            self.apply(entry)

    def copy(self) -> "Budget":
        """Return the same budgets, which no entry that is applied to this one changes."""
        twin = Budget()
        twin._accounts = {
            dataset: _Account(account.grant, dict(account.open), dict(account.closed))
            for dataset, account in self._accounts.items()
        }
        return twin

    def apply(self, entry: Entry) -> None:
        """Take the next entry of a verified chain into account; other kinds change nothing.

        Raises:
            LocalError: a grant without or beside another, a nonce used twice, a charge without an
                open reserve. Nothing has changed then.
            PeerError: the body is not of the entry's kind.
        """
        match read(entry):
            case DatasetRegister(dataset=dataset):
                self._register(dataset)
            case BudgetGrant() as grant:
                self._grant(grant)
            case BudgetReserve() as reserve:
                self._reserve(reserve)
            case BudgetCharge() as charge:
                self._charge(charge)

    def check_reserve(self, dataset: DatasetId, event: object) -> None:
        """Ask whether a mechanism may be reserved; reserves that are still open count.

        Raises:
            Refusal: `BUDGET`: there is no grant, or what is charged, open and new would together
                pass the allowance at the granted order. Nothing has changed then.
        """
        account = self._accounts.get(dataset)
        if account is None or account.grant is None:
            raise Refusal(RefusalCode.BUDGET, "expected a data set with a granted budget")
        grant = account.grant
        if not fits((*account.spent, *account.reserved, event), grant.ceiling, grant.order):
            reserved = self.epsilon_reserved(dataset)
            raise Refusal(
                RefusalCode.BUDGET,
                f"expected a mechanism within what is left of ε = {grant.ceiling.epsilon:f}, "
                f"of which {reserved:.2f} is spent or reserved; it costs more where it was not "
                f"made for order {grant.order}, at which these rows are counted since their first "
                "agreement",
            )

    def grant(self, dataset: DatasetId) -> BudgetGrant:
        """Look up a data set's grant.

        Raises:
            LocalError: it has none.
        """
        grant = self._account(dataset).grant
        if grant is None:
            raise LocalError("expected a data set with a granted budget")
        return grant

    def spent(self, dataset: DatasetId) -> tuple[SampledGaussian, ...]:
        """List the mechanisms whose reserves are closed, released or forfeited."""
        return self._account(dataset).spent

    def reserved(self, dataset: DatasetId) -> tuple[SampledGaussian, ...]:
        """List the mechanisms whose reserves are open."""
        return self._account(dataset).reserved

    def open_reserves(self) -> tuple[BudgetReserve, ...]:
        """List the open reserves of all data sets."""
        return tuple(
            reserve for account in self._accounts.values() for reserve in account.open.values()
        )

    def epsilon_charged(self, dataset: DatasetId) -> float:
        """Compute ε at the granted δ of what is charged; 0.0 for nothing."""
        grant = self.grant(dataset)
        return epsilon_of(self.spent(dataset), grant.order, grant.ceiling.delta)

    def epsilon_reserved(self, dataset: DatasetId) -> float:
        """Compute ε at the granted δ of what is charged or open; 0.0 for nothing."""
        grant = self.grant(dataset)
        events = self.spent(dataset) + self.reserved(dataset)
        return epsilon_of(events, grant.order, grant.ceiling.delta)

    def share(self, dataset: DatasetId) -> float:
        """Compute which part of the allowance is charged or open: 0.0 to 1.0, never more if
        every reserve was asked for first."""
        grant = self.grant(dataset)
        events = self.spent(dataset) + self.reserved(dataset)
        return total_cost(events, grant.order) / allowance(grant.ceiling, grant.order)

    def _account(self, dataset: DatasetId) -> _Account:
        if dataset not in self._accounts:
            raise LocalError("expected a registered data set")
        return self._accounts[dataset]

    def _register(self, dataset: DatasetId) -> None:
        if dataset in self._accounts:
            raise LocalError("expected each data set to be registered once")
        self._accounts[dataset] = _Account()

    def _grant(self, grant: BudgetGrant) -> None:
        account = self._account(grant.dataset)
        if account.grant is not None:
            raise LocalError("expected one grant for a data set")
        if allowance(grant.ceiling, grant.order) <= 0:
            raise LocalError(f"expected an order that can afford something, got {grant.order}")
        account.grant = grant

    def _reserve(self, reserve: BudgetReserve) -> None:
        self.grant(reserve.dataset)
        if self._holder(reserve.nonce) is not None:
            raise LocalError("expected a fresh nonce, got one that names another reserve")
        self._account(reserve.dataset).open[reserve.nonce] = reserve

    def _charge(self, charge: BudgetCharge) -> None:
        account = self._holder(charge.nonce)
        if account is None or charge.nonce not in account.open:
            raise LocalError("expected the nonce of an open reserve")
        account.closed[charge.nonce] = account.open.pop(charge.nonce)

    def _holder(self, nonce: bytes) -> _Account | None:
        """Find the account in which a nonce names a reserve, open or closed."""
        for account in self._accounts.values():
            if nonce in account.open or nonce in account.closed:
                return account
        return None
