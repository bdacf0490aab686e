"""Every rule of the gate refuses what it is there for, and without it just that would pass."""

import math
from dataclasses import replace
from decimal import Decimal

import pytest
from tests.unit.common.dp.book import (
    CEILING,
    HERE,
    NOTHING,
    ORDER,
    OTHER,
    ROWS,
    STEP,
    Book,
    claim,
    grant,
    nonce,
    refund,
    register,
    reserve,
    spending,
)

from comity_common.dp import gate, pld
from comity_common.dp.accountant import calibrate, epsilon_of
from comity_common.dp.spending import Spending
from comity_common.dp.tally import keeps, schedule_epsilon
from comity_common.dp.terms import Gate, Guarantee, SampledGaussian, Unit
from comity_common.errors import LocalError, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.ledger.bodies import BudgetCharge, Outcome

WIDE = claim(40, "1e-4")
FIXED = Gate.FIXED_SCHEDULE
SCHEDULE = replace(STEP, steps=100)
EPSILON = Decimal(8)  # above what the best order of all says of SCHEDULE: see the first test


def fixed(number: int = 1, rounds: int = 4, epsilon: object = EPSILON, **terms) -> Spending:
    return spending(number, rounds=rounds, gate=FIXED, guarantee=claim(epsilon), **terms)


def open_to(gate: Gate, guarantee: Guarantee = WIDE, ceiling: Guarantee = WIDE, **terms) -> Book:
    return Book(register(ceiling=ceiling), grant(guarantee=guarantee, gate=gate, **terms))


def test_a_schedule_that_is_fixed_beforehand_costs_less_than_at_any_order():
    orders = [epsilon_of([SCHEDULE], order, CEILING.delta) for order in range(2, 257)]
    exact = schedule_epsilon((SCHEDULE,), CEILING.delta)

    assert 0.8 * min(orders) < exact < min(orders) <= float(EPSILON)
    for epsilon, kept in ((exact + 1e-6, True), (exact - 1e-6, False)):
        claimed = Guarantee(epsilon=Decimal(str(epsilon)), delta=CEILING.delta)
        assert keeps((SCHEDULE,), claimed) is kept


def test_a_loss_distribution_that_contradicts_renyi_keeps_nothing(monkeypatch):
    claimed = Guarantee(epsilon=Decimal("7.5"), delta=CEILING.delta)
    keeps.cache_clear()
    assert keeps((SCHEDULE,), claimed)
    keeps.cache_clear()
    monkeypatch.setattr(pld, "epsilon", lambda events, delta: 100.0)
    assert not keeps((SCHEDULE,), claimed)
    keeps.cache_clear()


# The rules, and their mutants


def a_record_agreement_on_persons():
    book = Book(register(ceiling=WIDE, unit=Unit.PERSON), grant(guarantee=WIDE))
    return book, spending(), STEP


def a_person_agreement_without_keys():
    book = Book(register(ceiling=WIDE, unit=Unit.RECORD), grant(guarantee=WIDE))
    return book, spending(unit=Unit.PERSON), STEP


def privacy_after_none():
    book = Book(register(ceiling=WIDE), grant(guarantee=WIDE), grant(gate=Gate.NONE, n=2))
    book.ask(spending(7, NOTHING, gate=Gate.NONE), NOTHING, 1)
    return book, spending(), STEP


def a_claim_that_is_not_kept():
    return open_to(Gate.RENYI), spending(guarantee=claim(7)), STEP


def a_round_too_many():
    book = open_to(Gate.RENYI)
    for n in range(4):
        book.ask(spending(), STEP, n)
    return book, spending(), STEP


def a_mechanism_that_was_not_scheduled():
    other = replace(STEP, noise_multiplier=Decimal(2))
    return open_to(Gate.RENYI), spending(), other


def a_schedule_that_grew():
    book = open_to(Gate.RENYI)
    book.ask(spending(rounds=2), STEP, 1)
    return book, spending(rounds=3), STEP


def a_claim_that_changed():
    book = open_to(Gate.RENYI)
    book.ask(spending(), STEP, 1)
    return book, spending(guarantee=claim(9)), STEP


SCENES = {
    gate.protects_its_unit: (a_record_agreement_on_persons, a_person_agreement_without_keys),
    gate.finds_privacy: (privacy_after_none,),
    gate.keeps_its_claim: (a_claim_that_is_not_kept,),
    gate.stays_within_its_schedule: (a_round_too_many, a_mechanism_that_was_not_scheduled),
    gate.repeats_its_terms: (a_schedule_that_grew, a_claim_that_changed),
}


def test_every_rule_has_a_scene():
    assert set(SCENES) == {*gate.RULES_FOR_TERMS, *gate.RULES_FOR_STEPS}


@pytest.mark.parametrize(
    ("rule", "scene"),
    [(rule, scene) for rule, scenes in SCENES.items() for scene in scenes],
    ids=lambda function: function.__name__,
)
def test_a_rule_alone_stands_between_a_scene_and_the_budget(rule, scene, monkeypatch):
    book, terms, event = scene()
    with pytest.raises(Refusal) as refusal:
        book.budget.check(ROWS, terms, event)
    assert refusal.value.code is RefusalCode.BUDGET

    for kind in ("RULES_FOR_TERMS", "RULES_FOR_STEPS"):
        rules = tuple(one for one in getattr(gate, kind) if one is not rule)
        monkeypatch.setattr(gate, kind, rules)

    book.budget.check(ROWS, terms, event)


# Units


def test_a_budget_of_records_takes_agreements_on_persons_too():
    book = Book(
        register(ceiling=WIDE),
        register(OTHER, unit=Unit.PERSON, ceiling=WIDE),
        grant(guarantee=WIDE),
    )

    book.ask(spending(1, unit=Unit.PERSON), STEP, 1, dataset=OTHER)
    book.ask(spending(2), STEP, 2, dataset=OTHER)


def test_rows_without_keys_do_not_come_into_a_budget_of_persons():
    book = Book(register(unit=Unit.PERSON))

    with pytest.raises(LocalError, match="key column"):
        book.write(register(OTHER))


# Gates and grants


def test_an_agreement_counts_only_under_a_grant_of_its_gate():
    for granted, asked in ((Gate.RENYI, fixed()), (FIXED, spending()), (Gate.NONE, spending())):
        with pytest.raises(Refusal, match="granted budget"):
            open_to(granted).budget.check(ROWS, asked, STEP)
    without = spending(event=NOTHING, gate=Gate.NONE)
    for granted in (Gate.RENYI, FIXED):
        with pytest.raises(Refusal, match="by hand: comity client budget grant --without-privacy"):
            open_to(granted).budget.check(ROWS, without, NOTHING)


def test_what_has_no_privacy_makes_everything_infinite():
    book = Book(register(ceiling=WIDE), grant(guarantee=WIDE), grant(gate=Gate.NONE, n=2))
    book.ask(spending(1), STEP, 1)
    assert book.budget.epsilon_reserved(ROWS) < math.inf

    book.ask(spending(2, NOTHING, gate=Gate.NONE), NOTHING, 2)

    assert book.budget.epsilon_reserved(ROWS) == book.budget.share(ROWS) == math.inf
    with pytest.raises(Refusal, match="infinite for good"):
        book.budget.check(ROWS, spending(1), STEP)
    assert book.budget.forecast(ROWS, spending(3)) == 0


def test_under_a_fixed_schedule_an_agreement_costs_what_it_claims_from_its_first_round():
    book = open_to(FIXED, claim(20, "2.5e-5"))
    book.ask(fixed(1), STEP, 1)
    once = book.budget.epsilon_reserved(ROWS)
    for n in (2, 3, 4):
        book.ask(fixed(1), STEP, n)

    assert once == book.budget.epsilon_reserved(ROWS) == float(EPSILON)
    book.ask(fixed(2), STEP, 5)
    assert book.budget.epsilon_reserved(ROWS) == 2 * float(EPSILON)
    with pytest.raises(Refusal, match=r"what is left of ε = 20, of which 16.00"):
        book.budget.check(ROWS, fixed(3), STEP)


@pytest.mark.parametrize("guarantee", [claim(16, "1.9e-5"), claim("15.9", "2e-5")])
def test_under_a_fixed_schedule_neither_epsilon_nor_delta_is_passed(guarantee):
    book = open_to(FIXED, guarantee)
    book.ask(fixed(1), STEP, 1)

    with pytest.raises(Refusal):
        book.budget.check(ROWS, fixed(2), STEP)
    exact = open_to(FIXED, claim(16, "2e-5"))
    for number in (1, 2):
        exact.ask(fixed(number), STEP, number)
    assert exact.budget.share(ROWS) == 1


def test_history_beyond_its_claim_costs_the_claim_again():
    book = open_to(FIXED)
    for n in range(3):
        book.write(reserve(n, replace(STEP, steps=1), guarantee=claim("0.9")))

    assert book.budget.epsilon_reserved(ROWS) == math.inf  # ε = 0.9 is not what one step keeps
    kept = open_to(FIXED)
    for n in range(3):
        kept.write(reserve(n, guarantee=claim(5)))
    assert kept.budget.epsilon_reserved(ROWS) == 15


def test_an_agreement_stays_with_the_grant_of_its_first_reserve():
    book = Book(
        register(ceiling=WIDE),
        grant(guarantee=claim(8), n=1),
        grant(guarantee=claim(30, "2e-5"), n=2),
    )
    first, second = spending(1), spending(2)
    for n in range(2):
        book.ask(first, STEP, n)
    book.ask(second, STEP, 2)  # the first grant has room for this round, and not for its schedule

    grants = [one.grant for one in book.budget.open_reserves()]
    assert grants == [nonce(1), nonce(1), nonce(2)]
    assert book.budget.check(ROWS, first, STEP).grant == nonce(1)
    assert book.budget.check(ROWS, second, STEP).grant == nonce(2)


def test_a_refunded_reserve_pins_its_grant_too():
    book = Book(
        register(ceiling=WIDE), grant(guarantee=claim(8)), grant(guarantee=claim(30, "2e-5"), n=2)
    )
    book.ask(spending(1), STEP, 1)
    book.write(refund(1))
    for n in range(2, 6):
        book.write(reserve(n))

    with pytest.raises(Refusal):
        book.budget.check(ROWS, spending(1), STEP)
    book.budget.check(ROWS, spending(2), STEP)


def test_grants_add_up_in_epsilon_and_delta_below_the_ceiling():
    ceiling = claim(10, "3e-5")
    for second in (claim("2.1", "1e-5"), claim(2, "2.1e-5")):
        book = Book(register(ceiling=ceiling), grant(guarantee=claim(8)))
        with pytest.raises(Refusal, match="for life"):
            book.budget.check_grant(grant(guarantee=second, gate=FIXED, n=2))
        with pytest.raises(LocalError):
            book.write(grant(guarantee=second, gate=FIXED, n=2))
    rest = book.budget.rest(ROWS)
    assert rest == claim(2, "2e-5")
    book.write(grant(guarantee=rest, gate=FIXED, n=2))
    assert book.budget.rest(ROWS) is None


def test_sums_of_grants_are_exact():
    tiny = Decimal("1e-39")
    ceiling = Guarantee(epsilon=Decimal(1), delta=Decimal("0.5"))
    assert Decimal(1) - tiny == 1  # which is what plain decimals make of it, in 28 digits
    nearly = Guarantee(epsilon=Decimal("0." + "9" * 39), delta=Decimal("0.1"))
    book = Book(register(ceiling=ceiling), grant(guarantee=nearly, order=64))

    rest = book.budget.rest(ROWS)
    assert rest is not None
    assert rest.epsilon == tiny
    with pytest.raises(Refusal):
        book.budget.check_grant(grant(guarantee=replace(rest, epsilon=tiny * 2), gate=FIXED, n=2))
    book.write(grant(guarantee=rest, gate=FIXED, n=2))


def test_a_top_up_makes_room_at_the_same_terms():
    book = Book(register(ceiling=WIDE), grant(guarantee=claim(8)))
    for n in range(4):
        book.ask(spending(1), STEP, n)
    with pytest.raises(Refusal):
        book.budget.check(ROWS, spending(2), STEP)

    book.write(grant(guarantee=claim(16)))

    assert len(book.budget.grants(ROWS)) == 1
    book.budget.check(ROWS, spending(2), STEP)


def test_a_reserve_is_written_as_it_was_allowed():
    book = Book(register(ceiling=WIDE), grant(guarantee=WIDE))
    terms = spending(3, unit=Unit.RECORD)

    made = book.budget.reserve(ROWS, terms, STEP, nonce=nonce(1), epoch=2, round=5)

    assert (made.grant, made.agreement, made.epoch, made.round) == (nonce(1), terms.agreement, 2, 5)
    assert (made.unit, made.event, made.schedule) == (Unit.RECORD, STEP, terms.schedule)
    assert made.guarantee == terms.guarantee
    book.write(made)
    with pytest.raises(LocalError, match="fresh nonce"):
        book.budget.reserve(ROWS, terms, STEP, nonce=nonce(1), epoch=2, round=6)


# Forecasts


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("kind", [Gate.RENYI, FIXED])
def test_a_forecast_is_how_many_runs_really_fit(kind, before):
    book = open_to(kind, claim(35, "9e-5"))
    terms = spending if kind is Gate.RENYI else fixed
    for number in range(before):
        book.ask(terms(number), SCHEDULE, number)

    told = book.budget.forecast(ROWS, terms(50))

    fitted = 0
    while True:
        try:
            book.ask(terms(100 + fitted), SCHEDULE, 100 + fitted)
        except Refusal:
            break
        fitted += 1
    assert told == fitted
    assert fitted > 0 or before == 3
    assert book.budget.forecast(ROWS, terms(50)) == 0


def test_a_forecast_counts_on_the_grant_that_a_signature_would_make():
    book = Book(register(ceiling=claim(35, "9e-5")))

    assert book.budget.forecast(ROWS, fixed()) == 4
    assert book.budget.forecast(ROWS, spending()) > 0
    book.write(grant(guarantee=claim(35, "9e-5")))
    assert book.budget.forecast(ROWS, fixed()) == 0


def test_what_running_agreements_may_still_take_can_be_set_aside():
    book = open_to(FIXED, claim(35, "9e-5"))
    book.ask(fixed(1), STEP, 1)
    running = [(ROWS, fixed(1)), (ROWS, fixed(2))]

    ahead = book.budget.with_commitments(running)

    assert book.budget.forecast(ROWS, fixed(9)) == 3
    assert ahead.forecast(ROWS, fixed(9)) == 2
    assert [one.steps for one in ahead.reserved(ROWS)] == [25, 75, 100]
    assert [one.steps for one in book.budget.reserved(ROWS)] == [25]


def test_what_costs_next_to_nothing_is_forecast_without_an_error():
    tiny = SampledGaussian(
        sampling_probability=Decimal("1e-40"), noise_multiplier=Decimal("1e40"), steps=1
    )

    assert open_to(Gate.RENYI).budget.forecast(ROWS, spending(event=tiny)) == gate.MOST_RUNS


# Terms


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": ()},
        {"schedule": (STEP, replace(STEP, steps=1))},
        {"schedule": (STEP, NOTHING)},
        {"guarantee": None},
        {"gate": Gate.NONE},
        {"gate": FIXED},
        {"order": 0},
        {"order": 257},
    ],
)
def test_terms_that_contradict_themselves_are_none(wrong):
    with pytest.raises(LocalError):
        replace(spending(), **wrong)


def test_a_mechanism_has_noise_unless_it_is_without_privacy():
    with pytest.raises(LocalError):
        replace(STEP, noise_multiplier=Decimal(0))
    with pytest.raises(LocalError):
        replace(NOTHING, noise_multiplier=Decimal(1))


def test_noise_that_was_made_for_the_gate_fits_it():
    noise, order = calibrate(Decimal("0.05"), 400, 3, "1e-6")
    event = SampledGaussian(sampling_probability=Decimal("0.05"), noise_multiplier=noise, steps=400)
    for kind in (Gate.RENYI, FIXED):
        terms = spending(event=event, rounds=1, gate=kind, order=order, guarantee=claim(3, "1e-6"))
        book = Book(
            register(ceiling=claim(3, "1e-6")),
            grant(order=order, guarantee=claim(3, "1e-6"), gate=kind),
        )
        book.ask(terms, event, 1)
        with pytest.raises(Refusal):
            book.budget.check(ROWS, replace(terms, agreement=Digest("9" * 64)), event)


def test_charged_and_reserved_are_told_apart_at_every_gate():
    book = open_to(FIXED)
    book.ask(fixed(1), STEP, 1)
    (before,) = book.budget.statement(HERE).grants
    book.write(BudgetCharge(nonce=nonce(1), outcome=Outcome.FORFEITED, released=Digest("")))
    (after,) = book.budget.statement(HERE).grants

    assert (before.epsilon_charged, before.epsilon_reserved) == (0, float(EPSILON))
    assert (after.epsilon_charged, after.epsilon_reserved) == (float(EPSILON), float(EPSILON))
    assert before.share == pytest.approx(float(EPSILON) / 40)
    assert ORDER != after.grant.order == 0
