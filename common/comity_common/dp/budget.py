"""What may still be spent: a view over the ledger, with no state of its own.

Data sets of one *namespace* share one budget, so the same rows never have two. Money-like rules:

* Default-deny: a namespace without a grant has no budget.
* A mechanism is reserved before it runs and charged after. What is reserved counts as spent, so
  a crash can waste budget and never overspends it.
* A reserve is given back only while it is open, by a `budget.refund`; whether no noise was drawn
  under it, and the event that shows so is true, is checked by who writes that entry.
* Spending adds up over all rounds, runs and agreements in a namespace. Grants add up too, in ε
  and in δ, and stay within the ceiling that its first registration fixed.
* An entry that does not fit raises and changes nothing.

Whether a reserve may be made is asked before it is written (`reserve`, `check`). Entries are
history: they are counted even if they should not have been written, and then everything is refused.

    reserve = budget.reserve(dataset, spending, event, nonce=os.urandom(16), epoch=1, round=7)
    ledger.append(tx, reserve)
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from comity_common.dp.accounts import Account, Sum
from comity_common.dp.gate import check_spending, runs_left
from comity_common.dp.spending import Spending
from comity_common.dp.tally import epsilon_under, share_under
from comity_common.dp.terms import Gate, Guarantee, SampledGaussian, Unit
from comity_common.errors import LocalError, Refusal, RefusalCode
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    BudgetReserve,
    DatasetId,
    DatasetRegister,
    NamespaceId,
)
from comity_common.ledger.entries import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantStatement:
    """A grant and what of it is gone.

    Attributes:
        epsilon_charged, epsilon_reserved: at the grant's δ, charged, and charged or open; ∞ under
            a grant without privacy that was used.
        share: which part of the grant is charged or open, 0.0 to 1.0; of the allowance in Rényi
            divergence, or of what was granted in ε or δ, whichever is nearer its end.
    """

    grant: BudgetGrant
    epsilon_charged: float
    epsilon_reserved: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A namespace's budget, for people.

    Attributes:
        datasets: in the order of their registration.
        rest: what of the ceiling is not granted; None where ε or δ is used up.
        epsilon_charged, epsilon_reserved: over all grants.
    """

    namespace: NamespaceId
    unit: Unit
    ceiling: Guarantee
    datasets: tuple[DatasetId, ...]
    grants: tuple[GrantStatement, ...]
    rest: Guarantee | None
    epsilon_charged: float
    epsilon_reserved: float


class Budget:
    """The budgets of all namespaces of one vault, as its ledger tells them."""

    __slots__ = ("_accounts", "_namespaces", "_reserves")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._accounts: dict[NamespaceId, Account] = {}
        self._namespaces: dict[DatasetId, NamespaceId] = {}
        self._reserves: dict[bytes, NamespaceId] = {}
        for entry in entries:
            self.apply(entry)

    def copy(self) -> "Budget":
        """Return the same budgets, which no entry that is applied to this one changes."""
        twin = Budget()
        twin._accounts = {name: account.copy() for name, account in self._accounts.items()}
        twin._namespaces = dict(self._namespaces)
        twin._reserves = dict(self._reserves)
        return twin

    def apply(self, entry: Entry) -> None:
        """Take the next entry of a verified chain into account; other kinds change nothing.

        Raises:
            LocalError: a data set registered twice or with another ceiling than its namespace has,
                a grant beyond the ceiling or on other terms than before, a nonce used twice, a
                charge or refund without an open reserve. Nothing has changed then.
        """
        match entry.body:
            case DatasetRegister() as registered:
                self._register(registered)
            case BudgetGrant() as grant:
                self._grant(grant)
            case BudgetReserve() as reserve:
                self._reserve(reserve)
            case BudgetCharge(nonce=nonce):
                self._holder(nonce).charge(nonce)
            case BudgetRefund(nonce=nonce):
                self._holder(nonce).refund(nonce)

    # May it be spent?

    def check(self, dataset: DatasetId, spending: Spending, event: SampledGaussian) -> BudgetGrant:
        """Ask whether an agreement may reserve a mechanism; reserves that are open count.

        Returns:
            the grant under which it may.

        Raises:
            Refusal: `BUDGET`: there is no grant of the agreement's gate with so much left, the
                agreement protects another unit, claims what its schedule does not keep, takes
                more steps than it scheduled, or other terms than before; or what has no privacy
                has touched the namespace. Nothing has changed then.
        """
        return check_spending(self._known(dataset), dataset, spending, (event,))

    def check_whole(self, dataset: DatasetId, spending: Spending) -> BudgetGrant:
        """Ask what `check` asks about everything that an agreement may ever run.

        Raises:
            Refusal: `BUDGET`.
        """
        return check_spending(self._known(dataset), dataset, spending, spending.schedule)

    def reserve(
        self,
        dataset: DatasetId,
        spending: Spending,
        event: SampledGaussian,
        *,
        nonce: bytes,
        epoch: int,
        round: int,
    ) -> BudgetReserve:
        """Write the reserve of a mechanism, to be appended in the transaction that asked for it.

        Args:
            nonce: 16 fresh random bytes.

        Raises:
            Refusal: as `check`.
            LocalError: the nonce names another reserve.
        """
        grant = self.check(dataset, spending, event)
        self._check_fresh(nonce)
        return _reserve_under(
            grant, dataset, spending, event, nonce=nonce, epoch=epoch, round=round
        )

    def check_grant(self, grant: BudgetGrant) -> None:
        """Ask whether a grant or a top-up may be made.

        Raises:
            Refusal: `BUDGET`: it would pass the ceiling, affords nothing, or is no top-up of the
                grant that it names.
            LocalError: no such namespace, or its id names a grant of another.
        """
        why = self._account(grant.namespace).why_not_granted(grant)
        self._check_one_place(grant)
        if why is not None:
            raise Refusal(RefusalCode.BUDGET, why)

    def check_registration(self, new: DatasetRegister) -> None:
        """Ask whether a data set may be registered.

        Raises:
            LocalError: it is, or its namespace has another ceiling or counts persons only.
        """
        if new.dataset in self._namespaces:
            raise LocalError("expected each data set to be registered once")
        account = self._accounts.get(new.namespace)
        why = None if account is None else account.why_not_registered(new)
        if why is not None:
            raise LocalError(why)

    def forecast(self, dataset: DatasetId, spending: Spending) -> int:
        """Count how many more agreements on such terms could run to their end, spare rounds in.

        Where no budget is granted at their gate, signing the first would grant the rest of the
        ceiling; that is counted. What other agreements have not reserved yet is not (see
        `with_commitments`).
        """
        return runs_left(self._known(dataset), dataset, spending)

    def with_commitments(self, running: Iterable[tuple[DatasetId, Spending]]) -> "Budget":
        """Return the budgets as if agreements had reserved all that they still may.

        A schedule for which there is no room is left out: it will be refused when its time comes.
        """
        twin = self.copy()
        for place, (dataset, spending) in enumerate(running):
            rest = twin.unreserved(dataset, spending)
            account = twin._known(dataset)
            try:
                grant = check_spending(account, dataset, spending, rest)
            except Refusal:
                continue
            for kind, event in enumerate(rest):
                nonce = b"committed" + place.to_bytes(4, "big") + kind.to_bytes(3, "big")
                twin._reserve(_reserve_under(grant, dataset, spending, event, nonce=nonce))
        return twin

    def unreserved(self, dataset: DatasetId, spending: Spending) -> tuple[SampledGaussian, ...]:
        """List what an agreement may still run: its schedule, less what it has reserved."""
        account = self._known(dataset)
        rest = []
        for event in spending.schedule:
            taken = account.steps(spending.agreement, event)
            if taken < event.steps:
                rest.append(replace(event, steps=event.steps - taken))
        return tuple(rest)

    # What was spent?

    def namespaces(self) -> tuple[NamespaceId, ...]:
        """List the namespaces in the order in which they came."""
        return tuple(self._accounts)

    def namespace(self, dataset: DatasetId) -> NamespaceId:
        """Return where a data set's spending counts.

        Raises:
            LocalError: no such data set.
        """
        if dataset not in self._namespaces:
            raise LocalError("expected a registered data set")
        return self._namespaces[dataset]

    def statement(self, namespace: NamespaceId) -> Statement:
        """Sum up a namespace.

        Raises:
            LocalError: no such namespace.
        """
        account = self._account(namespace)
        grants = tuple(
            GrantStatement(
                grant=grant,
                epsilon_charged=epsilon_under(grant, account.charged(grant.grant)),
                epsilon_reserved=epsilon_under(grant, account.held(grant.grant)),
                share=share_under(grant, account.held(grant.grant)),
            )
            for grant in account.grants.values()
        )
        return Statement(
            namespace=namespace,
            unit=account.unit,
            ceiling=account.ceiling,
            datasets=tuple(account.datasets),
            grants=grants,
            rest=account.rest(),
            epsilon_charged=sum(one.epsilon_charged for one in grants),
            epsilon_reserved=sum(one.epsilon_reserved for one in grants),
        )

    def grants(self, dataset: DatasetId, gate: Gate | None = None) -> tuple[BudgetGrant, ...]:
        """List what is granted in a data set's namespace: at one gate, or at all.

        Raises:
            LocalError: no such data set.
        """
        found = self._account(self.namespace(dataset)).grants.values()
        return tuple(one for one in found if gate in (None, one.gate))

    def rest(self, dataset: DatasetId) -> Guarantee | None:
        """Return what of the ceiling is not granted; None where ε or δ is used up.

        Raises:
            LocalError: no such data set.
        """
        return self._account(self.namespace(dataset)).rest()

    def spent(self, dataset: DatasetId) -> tuple[SampledGaussian, ...]:
        """List the mechanisms in the namespace that are charged, released or forfeited."""
        charged = self._account(self.namespace(dataset)).charged()
        return tuple(one.event for one in charged)

    def reserved(self, dataset: DatasetId) -> tuple[SampledGaussian, ...]:
        """List the mechanisms in the namespace whose reserves are open."""
        account = self._account(self.namespace(dataset))
        return tuple(one.event for one in account.held() if one.nonce in account.open)

    def open_reserves(self) -> tuple[BudgetReserve, ...]:
        """List the open reserves of all namespaces."""
        return tuple(
            one
            for account in self._accounts.values()
            for one in account.held()
            if one.nonce in account.open
        )

    def held(self, grant: bytes) -> tuple[BudgetReserve, ...]:
        """List what counts under a grant, charged or open."""
        return tuple(one for account in self._accounts.values() for one in account.held(grant))

    def summed(self, grant: bytes) -> tuple[Sum, ...]:
        """List what counts under a grant, charged or open, as sums of reserves on equal terms."""
        return tuple(one for account in self._accounts.values() for one in account.summed(grant))

    def epsilon_charged(self, dataset: DatasetId) -> float:
        """Compute ε of what is charged, over all grants; 0.0 for nothing."""
        return self._granted(dataset).epsilon_charged

    def epsilon_reserved(self, dataset: DatasetId) -> float:
        """Compute ε of what is charged or open, over all grants; 0.0 for nothing."""
        return self._granted(dataset).epsilon_reserved

    def share(self, dataset: DatasetId) -> float:
        """Compute which part of the fullest grant is charged or open: 0.0 to 1.0, never more if
        every reserve was asked for first."""
        return max(one.share for one in self._granted(dataset).grants)

    def _granted(self, dataset: DatasetId) -> Statement:
        statement = self.statement(self.namespace(dataset))
        if not statement.grants:
            raise LocalError("expected a data set with a granted budget")
        return statement

    def _known(self, dataset: DatasetId) -> Account:
        if dataset not in self._namespaces:
            raise Refusal(RefusalCode.BUDGET, "expected a data set with a granted budget")
        return self._accounts[self._namespaces[dataset]]

    def _account(self, namespace: NamespaceId) -> Account:
        if namespace not in self._accounts:
            raise LocalError("expected a namespace with a registered data set")
        return self._accounts[namespace]

    def _holder(self, nonce: bytes) -> Account:
        if nonce not in self._reserves:
            raise LocalError("expected the nonce of an open reserve")
        return self._accounts[self._reserves[nonce]]

    def _check_fresh(self, nonce: bytes) -> None:
        if nonce in self._reserves:
            raise LocalError("expected a fresh nonce, got one that names another reserve")

    def _check_one_place(self, grant: BudgetGrant) -> None:
        for namespace, account in self._accounts.items():
            if grant.grant in account.grants and namespace != grant.namespace:
                raise LocalError("expected a grant of one namespace")

    def _register(self, new: DatasetRegister) -> None:
        self.check_registration(new)
        account = self._accounts.setdefault(
            new.namespace, Account(ceiling=new.ceiling, unit=new.unit)
        )
        account.register(new)
        self._namespaces[new.dataset] = new.namespace

    def _grant(self, grant: BudgetGrant) -> None:
        account = self._account(grant.namespace)
        self._check_one_place(grant)
        account.grant(grant)

    def _reserve(self, reserve: BudgetReserve) -> None:
        self._check_fresh(reserve.nonce)
        namespace = self.namespace(reserve.dataset)
        self._accounts[namespace].reserve(reserve)
        self._reserves[reserve.nonce] = namespace


def _reserve_under(
    grant: BudgetGrant,
    dataset: DatasetId,
    spending: Spending,
    event: SampledGaussian,
    *,
    nonce: bytes,
    epoch: int = 0,
    round: int = 0,
) -> BudgetReserve:
    return BudgetReserve(
        dataset=dataset,
        grant=grant.grant,
        nonce=nonce,
        agreement=spending.agreement,
        epoch=epoch,
        round=round,
        unit=spending.unit,
        event=event,
        schedule=spending.schedule,
        guarantee=spending.guarantee,
    )
