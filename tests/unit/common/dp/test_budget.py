"""The budget is what the ledger says, denies by default, and never passes its ceiling."""

import math
from decimal import Decimal

import pytest
from tests.unit.common.dp.book import (
    CEILING,
    HERE,
    ORDER,
    OTHER,
    ROWS,
    STEP,
    THERE,
    Book,
    charge,
    claim,
    grant,
    refund,
    register,
    reserve,
    spending,
)

from comity_common.dp.accountant import calibrate, epsilon_of
from comity_common.dp.budget import Budget
from comity_common.dp.terms import SampledGaussian, Unit
from comity_common.errors import LocalError, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.ledger.bodies import Note, Outcome, RefundReason
from comity_common.ledger.entries import check_order

TWO_NAMESPACES = (register(), grant(), register(OTHER, THERE), grant(THERE, n=2))


def granted() -> Book:
    return Book(register(), grant())


def picture(budget: Budget):
    """Everything that can be asked about the data set."""
    return (
        budget.statement(HERE),
        budget.grants(ROWS),
        budget.spent(ROWS),
        budget.reserved(ROWS),
        budget.open_reserves(),
        budget.epsilon_charged(ROWS),
        budget.epsilon_reserved(ROWS),
        budget.share(ROWS),
    )


def test_a_fresh_grant_has_spent_nothing():
    statement, (only,), *others = picture(granted().budget)
    assert others == [(), (), (), 0.0, 0.0, 0.0]
    assert only == grant()
    assert (statement.ceiling, statement.unit, statement.rest) == (CEILING, Unit.RECORD, None)


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
        book.ask(spending(), STEP, n)
    assert book.budget.share(ROWS) == pytest.approx(1, abs=1e-3)
    assert book.budget.epsilon_reserved(ROWS) <= 8

    with pytest.raises(Refusal) as refusal:
        book.budget.check(ROWS, spending(9), STEP)

    assert refusal.value.code is RefusalCode.BUDGET


@pytest.mark.parametrize("outcome", Outcome)
def test_closing_reserves_makes_no_room(outcome):
    book = granted()
    for n in range(4):
        book.write(reserve(n))
        book.write(charge(n, outcome))

    with pytest.raises(Refusal):
        book.budget.check(ROWS, spending(9), STEP)


def test_spending_adds_up_over_agreements():
    book = granted()
    for n in range(4):
        book.write(reserve(n, agreement=Digest(f"{n:064x}")))

    with pytest.raises(Refusal):
        book.budget.check(ROWS, spending(9), STEP)


def test_each_namespace_has_its_own_budget():
    book = Book(*TWO_NAMESPACES)
    for n in range(4):
        book.write(reserve(n))

    book.budget.check(OTHER, spending(), STEP)
    assert book.budget.share(OTHER) == 0.0


@pytest.mark.parametrize("bodies", [[], [register()], [register(OTHER, THERE), grant(THERE)]])
def test_without_a_grant_everything_is_refused(bodies):
    tiny = SampledGaussian(
        sampling_probability=Decimal("1e-9"), noise_multiplier=Decimal("1e9"), steps=1
    )

    with pytest.raises(Refusal) as refusal:
        Book(*bodies).budget.check(ROWS, spending(event=tiny), tiny)

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
        book.budget.check(ROWS, spending(event=unknown), unknown)

    book.write(reserve(1, unknown))

    assert book.budget.epsilon_reserved(ROWS) == book.budget.share(ROWS) == math.inf
    with pytest.raises(Refusal):
        book.budget.check(ROWS, spending(9), STEP)


def test_a_refusal_leaves_no_trace():
    book = granted()
    for n in range(4):
        book.write(reserve(n))
    before = picture(book.budget)

    with pytest.raises(Refusal):
        book.budget.check(ROWS, spending(9), STEP)

    assert picture(book.budget) == before


@pytest.mark.parametrize(
    "wrong",
    [
        register(),
        register(OTHER, ceiling=claim(9)),
        register(OTHER, ceiling=claim(8, "1e-6")),
        grant(n=1),
        grant(n=1, guarantee=claim(9)),
        grant(n=1, guarantee=claim(7)),
        grant(n=1, order=8),
        grant(n=2, guarantee=claim("0.1", "1e-7")),
        grant(THERE, n=2),
        reserve(9, dataset=OTHER),
        reserve(9, granted=2),
        reserve(1),
        reserve(2),
        reserve(3),
        charge(1),
        charge(3),
        charge(4),
        refund(1),
        refund(3),
        refund(4),
    ],
    ids=[
        "registered-twice",
        "registered-with-another-epsilon",
        "registered-with-another-delta",
        "granted-twice",
        "topped-up-beyond-the-ceiling",
        "grant-that-shrinks",
        "grant-at-another-order",
        "granted-beyond-the-ceiling",
        "grant-without-namespace",
        "reserve-without-data-set",
        "reserve-without-grant",
        "nonce-of-a-closed-reserve",
        "nonce-of-an-open-reserve",
        "nonce-of-a-refunded-reserve",
        "charged-twice",
        "charged-after-a-refund",
        "charge-without-reserve",
        "refunded-after-a-charge",
        "refunded-twice",
        "refund-without-reserve",
    ],
)
def test_an_entry_that_does_not_fit_raises_and_changes_nothing(wrong):
    before_it = (reserve(1), charge(1), reserve(2), reserve(3), refund(3))
    book = Book(register(), grant(), *before_it)
    before = picture(book.budget)

    with pytest.raises(LocalError):
        book.write(wrong)

    assert picture(book.budget) == before
    with pytest.raises(LocalError):
        book.budget.spent(OTHER)


def test_a_nonce_names_one_reserve_over_all_data_sets():
    book = Book(*TWO_NAMESPACES, reserve(1))

    with pytest.raises(LocalError):
        book.write(reserve(1, dataset=OTHER, granted=2))


def test_a_grant_is_of_one_namespace():
    book = Book(register(), grant(), register(OTHER, THERE))

    with pytest.raises(LocalError):
        book.write(grant(THERE))
    with pytest.raises(LocalError):
        book.budget.check_grant(grant(THERE))
    book.write(grant(THERE, n=2))
    with pytest.raises(LocalError):
        book.write(reserve(1, dataset=OTHER, granted=1))


def test_data_sets_of_one_namespace_share_its_budget():
    book = Book(register(), grant(), register(OTHER))
    for n in range(4):
        book.write(reserve(n, dataset=(ROWS, OTHER)[n % 2]))

    for dataset in (ROWS, OTHER):
        assert book.budget.share(dataset) == pytest.approx(1, abs=1e-3)
        with pytest.raises(Refusal):
            book.budget.check(dataset, spending(9), STEP)


@pytest.mark.parametrize("reason", RefundReason)
def test_a_refund_makes_room_again(reason):
    book = granted()
    for n in range(4):
        book.write(reserve(n))
    book.write(refund(3, reason))

    assert book.budget.share(ROWS) == pytest.approx(0.75, abs=1e-3)
    assert len(book.budget.open_reserves()) == 3
    book.ask(spending(9, rounds=1), STEP, 9)
    with pytest.raises(Refusal):
        book.budget.check(ROWS, spending(10), STEP)


def test_a_refund_gives_back_the_steps_of_its_agreement_too():
    book = Book(register(ceiling=claim(80)), grant(guarantee=claim(80)))
    terms = spending(1, rounds=2)
    for n in (1, 2):
        book.ask(terms, STEP, n)
    with pytest.raises(Refusal, match="at most 50 steps"):
        book.budget.check(ROWS, terms, STEP)

    book.write(refund(2))

    book.ask(terms, STEP, 3)
    with pytest.raises(Refusal, match="at most 50 steps"):
        book.budget.check(ROWS, terms, STEP)


def test_a_reserve_on_an_ungranted_data_set_does_not_fit():
    book = Book(register())

    with pytest.raises(LocalError):
        book.write(reserve(1))


def test_a_grant_at_an_order_that_affords_nothing_is_refused():
    book = Book(register())

    with pytest.raises(LocalError):
        book.write(grant(order=2))


def test_the_budget_can_be_told_again_from_the_ledger():
    before = (reserve(1), charge(1), Note(text="a", about=None), reserve(2), reserve(3), refund(3))
    book = Book(register(), grant(), *before)
    check_order(book.entries)

    assert picture(Budget(book.entries)) == picture(book.budget)
