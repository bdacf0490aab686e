"""The budget is what the ledger says, denies by default, and never passes its ceiling."""

import math
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from comity_common.dp.accountant import calibrate, epsilon_of, total_cost
from comity_common.dp.budget import Budget
from comity_common.dp.terms import Guarantee, SampledGaussian
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetGrant,
    BudgetReserve,
    DatasetId,
    DatasetRegister,
    EntryKind,
    Genesis,
    Note,
    Outcome,
)
from comity_common.ledger.entries import VERSION, Entry, append, verify_chain

ROWS, OTHER = DatasetId("0" * 31 + "1"), DatasetId("0" * 31 + "2")
CEILING = Guarantee(epsilon=Decimal(8), delta=Decimal("1e-5"))
ORDER = 4
DIGEST = Digest("ab" * 32)
STEP = SampledGaussian(
    sampling_probability=Decimal("0.2"), noise_multiplier=Decimal("1.5561"), steps=25
)  # a quarter of the ceiling


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


def register(dataset=ROWS) -> DatasetRegister:
    return DatasetRegister(dataset=dataset, commitment=DIGEST, unit="record")


def grant(dataset=ROWS, order=ORDER) -> BudgetGrant:
    return BudgetGrant(dataset=dataset, ceiling=CEILING, order=order)


def nonce(n: int) -> bytes:
    return n.to_bytes(16, "big")


def reserve(n: int, event=STEP, dataset=ROWS, agreement=DIGEST) -> BudgetReserve:
    return BudgetReserve(
        dataset=dataset, nonce=nonce(n), agreement=agreement, epoch=0, round=n, event=event
    )


def charge(n: int, outcome=Outcome.RELEASED) -> BudgetCharge:
    left = DIGEST if outcome is Outcome.RELEASED else Digest("")
    return BudgetCharge(nonce=nonce(n), outcome=outcome, released=left)


def granted() -> Book:
    return Book(register(), grant())


def picture(budget: Budget):
    """Everything that can be asked about the data set."""
    return (
        budget.spent(ROWS),
        budget.reserved(ROWS),
        budget.open_reserves(),
        budget.epsilon_charged(ROWS),
        budget.epsilon_reserved(ROWS),
        budget.share(ROWS),
    )


def test_a_fresh_grant_has_spent_nothing():
    assert picture(granted().budget) == ((), (), (), 0.0, 0.0, 0.0)


def test_a_reserve_counts_until_it_is_charged_and_then_as_spent():
    book = granted()
    book.write(reserve(1))

    assert book.budget.reserved(ROWS) == (STEP,)
    assert book.budget.open_reserves() == (reserve(1),)
    assert book.budget.epsilon_charged(ROWS) == 0.0
    held = book.budget.epsilon_reserved(ROWS)
    assert held == epsilon_of([STEP], ORDER, CEILING.delta)

    book.write(charge(1))

    assert book.budget.spent(ROWS) == (STEP,)
    assert book.budget.open_reserves() == ()
    assert book.budget.epsilon_charged(ROWS) == book.budget.epsilon_reserved(ROWS) == held


def test_a_forfeited_reserve_is_spent():
    released, forfeited = granted(), granted()
    for book, outcome in ((released, Outcome.RELEASED), (forfeited, Outcome.FORFEITED)):
        book.write(reserve(1))
        book.write(charge(1, outcome))

    assert picture(released.budget) == picture(forfeited.budget)


def test_a_calibrated_schedule_fits_to_the_last_round_and_no_further():
    sigma, order = calibrate(Decimal("0.2"), 100, CEILING.epsilon, CEILING.delta)
    assert (sigma, order) == (STEP.noise_multiplier, ORDER)
    book = granted()
    for n in range(4):
        book.budget.check_reserve(ROWS, STEP)
        book.write(reserve(n))
    assert book.budget.share(ROWS) == pytest.approx(1, abs=1e-3)
    assert book.budget.epsilon_reserved(ROWS) <= 8

    with pytest.raises(Refusal) as refusal:
        book.budget.check_reserve(ROWS, STEP)

    assert refusal.value.code is RefusalCode.BUDGET


@pytest.mark.parametrize("outcome", Outcome)
def test_closing_reserves_makes_no_room(outcome):
    book = granted()
    for n in range(4):
        book.write(reserve(n))
        book.write(charge(n, outcome))

    with pytest.raises(Refusal):
        book.budget.check_reserve(ROWS, STEP)


def test_spending_adds_up_over_agreements():
    book = granted()
    for n in range(4):
        book.write(reserve(n, agreement=Digest(f"{n:064x}")))

    with pytest.raises(Refusal):
        book.budget.check_reserve(ROWS, STEP)


def test_each_data_set_has_its_own_budget():
    book = Book(register(), grant(), register(OTHER), grant(OTHER))
    for n in range(4):
        book.write(reserve(n))

    book.budget.check_reserve(OTHER, STEP)
    assert book.budget.share(OTHER) == 0.0


@pytest.mark.parametrize("bodies", [[], [register()], [register(OTHER), grant(OTHER)]])
def test_without_a_grant_everything_is_refused(bodies):
    tiny = SampledGaussian(
        sampling_probability=Decimal("1e-9"), noise_multiplier=Decimal("1e9"), steps=1
    )

    with pytest.raises(Refusal) as refusal:
        Book(*bodies).budget.check_reserve(ROWS, tiny)

    assert refusal.value.code is RefusalCode.BUDGET


def test_an_unknown_mechanism_is_refused_and_counts_as_infinite_if_it_is_history():
    unknown = SampledGaussian(
        sampling_probability=Decimal("0.1"),
        noise_multiplier=Decimal(100),
        steps=1,
        mechanism="tree-gaussian",
    )
    book = granted()
    with pytest.raises(Refusal):
        book.budget.check_reserve(ROWS, unknown)

    book.write(reserve(1, unknown))

    assert book.budget.epsilon_reserved(ROWS) == book.budget.share(ROWS) == math.inf
    with pytest.raises(Refusal):
        book.budget.check_reserve(ROWS, STEP)


def test_a_refusal_leaves_no_trace():
    book = granted()
    for n in range(4):
        book.write(reserve(n))
    before = picture(book.budget)

    with pytest.raises(Refusal):
        book.budget.check_reserve(ROWS, STEP)

    assert picture(book.budget) == before


@pytest.mark.parametrize(
    "wrong",
    [
        register(),
        grant(),
        grant(OTHER),
        reserve(9, dataset=OTHER),
        reserve(1),
        reserve(2),
        charge(1),
        charge(3),
    ],
    ids=[
        "registered-twice",
        "granted-twice",
        "grant-without-data-set",
        "reserve-without-data-set",
        "nonce-of-a-closed-reserve",
        "nonce-of-an-open-reserve",
        "charged-twice",
        "charge-without-reserve",
    ],
)
def test_an_entry_that_does_not_fit_raises_and_changes_nothing(wrong):
    book = Book(register(), grant(), reserve(1), charge(1), reserve(2))
    before = picture(book.budget)

    with pytest.raises(LocalError):
        book.write(wrong)

    assert picture(book.budget) == before
    with pytest.raises(LocalError):
        book.budget.spent(OTHER)


def test_a_nonce_names_one_reserve_over_all_data_sets():
    book = Book(register(), grant(), register(OTHER), grant(OTHER), reserve(1))

    with pytest.raises(LocalError):
        book.write(reserve(1, dataset=OTHER))


def test_a_reserve_on_an_ungranted_data_set_does_not_fit():
    book = Book(register())

    with pytest.raises(LocalError):
        book.write(reserve(1))


def test_a_grant_at_an_order_that_affords_nothing_is_refused():
    book = Book(register())

    with pytest.raises(LocalError):
        book.write(grant(order=2))


def test_the_budget_can_be_told_again_from_the_ledger():
    book = Book(register(), grant(), reserve(1), charge(1), Note(text="a", about=None), reserve(2))
    verify_chain(book.entries)

    assert picture(Budget(book.entries)) == picture(book.budget)


def test_a_body_of_another_kind_is_the_peers_fault():
    entry = Entry(
        version=VERSION,
        sequence=0,
        kind=EntryKind.BUDGET_GRANT,
        institution=InstitutionId("clinic"),
        time="2026-01-01T00:00:00Z",
        body=b"{}",
        previous=bytes(32),
    )

    with pytest.raises(PeerError):
        Budget([entry])


class Spending(RuleBasedStateMachine):
    """Any interleaving of reserves, releases, forfeits and restarts on two data sets."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(register(), grant(), register(OTHER), grant(OTHER))
        self.made = {ROWS: [], OTHER: []}
        self.open = []
        self.count = 0

    @rule(
        dataset=st.sampled_from([ROWS, OTHER]),
        q=st.sampled_from(["0.05", "0.2", "1"]),
        sigma=st.sampled_from(["0.8", "1.5561", "5"]),
        steps=st.integers(1, 60),
    )
    def ask_and_reserve(self, dataset, q, sigma, steps):
        event = SampledGaussian(
            sampling_probability=Decimal(q), noise_multiplier=Decimal(sigma), steps=steps
        )
        try:
            self.book.budget.check_reserve(dataset, event)
        except Refusal:
            assert epsilon_of([*self.made[dataset], event], ORDER, CEILING.delta) > 8 - 1e-9
            return
        self.count += 1
        self.book.write(reserve(self.count, event, dataset))
        self.made[dataset].append(event)
        self.open.append(self.count)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def close(self, data, outcome):
        n = data.draw(st.sampled_from(self.open))
        self.open.remove(n)
        self.book.write(charge(n, outcome))

    @rule()
    def restart(self):
        verify_chain(self.book.entries)
        self.book.budget = Budget(self.book.entries)

    @invariant()
    def no_ceiling_is_passed_and_nothing_is_forgotten(self):
        budget = self.book.budget
        for dataset, events in self.made.items():
            assert budget.share(dataset) <= 1
            assert budget.epsilon_charged(dataset) <= budget.epsilon_reserved(dataset) <= 8
            counted = budget.spent(dataset) + budget.reserved(dataset)
            assert sorted(counted, key=repr) == sorted(events, key=repr)
            assert budget.share(dataset) > 0 or not total_cost(events, ORDER)
        assert sorted(reserve.nonce for reserve in budget.open_reserves()) == sorted(
            map(nonce, self.open)
        )


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
