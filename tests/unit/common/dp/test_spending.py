"""Whatever is asked in whatever order: nothing is overspent, forgotten, or counted elsewhere."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.common.dp.book import (
    HERE,
    OTHER,
    ROWS,
    THERE,
    Book,
    charge,
    claim,
    grant,
    nonce,
    refund,
    register,
    spending,
)

from comity_common.dp.accountant import epsilon_of
from comity_common.dp.budget import Budget
from comity_common.dp.tally import schedule_epsilon
from comity_common.dp.terms import Gate, Guarantee, SampledGaussian, Unit
from comity_common.errors import LocalError, Refusal
from comity_common.ledger.bodies import DatasetId, Outcome
from comity_common.ledger.entries import check_order

THIRD = DatasetId("0" * 31 + "3")
CEILING = claim(20, "4e-5")
PLACES = {ROWS: HERE, OTHER: HERE, THIRD: THERE}
SPARE = 2


class Story:
    """What was done, kept apart from the ledger: by it the budget is judged."""

    def __init__(self) -> None:
        self.made = {}  # number of a reserve → agreement, data set, event, grant
        self.open = []
        self.refunded = set()
        self.granted = {}  # id of a grant → its guarantee

    def events(self, granted: bytes) -> list[SampledGaussian]:
        return [
            event
            for number, (_, _, event, under) in self.made.items()
            if under == granted and number not in self.refunded
        ]

    def agreements(self, granted: bytes) -> set[int]:
        return {
            agreement
            for number, (agreement, _, _, under) in self.made.items()
            if under == granted and number not in self.refunded
        }


class Spending(RuleBasedStateMachine):
    """Reserves, releases, forfeits, refunds, grants, top-ups and restarts, by two gates and units.

    Two data sets share a namespace that counts records; the third has another, for persons.
    """

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(
            register(ROWS, HERE, Unit.RECORD, CEILING),
            register(OTHER, HERE, Unit.PERSON, CEILING),
            register(THIRD, THERE, Unit.PERSON, CEILING),
        )
        self.story = Story()
        self.terms = []
        self.count = 0

    @rule(
        place=st.sampled_from([HERE, THERE]),
        epsilon=st.sampled_from(["2", "6", "8", "13"]),
        delta=st.sampled_from(["1e-6", "1e-5", "3e-5"]),
        gate=st.sampled_from([Gate.RENYI, Gate.FIXED_SCHEDULE]),
        order=st.sampled_from([2, 4, 16, 64]),
    )
    def grant_more(self, place, epsilon, delta, gate, order):
        n = len(self.story.granted) + 1
        self._grant(grant(place, order, claim(epsilon, delta), gate, n))

    @precondition(lambda self: self.story.granted)
    @rule(data=st.data(), more=st.sampled_from(["-1", "0", "0.5", "4"]))
    def top_up(self, data, more):
        old = data.draw(st.sampled_from(list(self.story.granted.values())))
        epsilon = old.guarantee.epsilon + Decimal(more)
        self._grant(replace(old, guarantee=replace(old.guarantee, epsilon=epsilon)))

    def _grant(self, wanted):
        try:
            self.book.budget.check_grant(wanted)
        except Refusal:
            before = self.book.budget.statement(wanted.namespace)
            try:
                self.book.write(wanted)
            except LocalError:
                assert self.book.budget.statement(wanted.namespace) == before
                return
            raise AssertionError("what was refused was written") from None
        self.book.write(wanted)
        self.story.granted[wanted.grant] = wanted

    @rule(
        q=st.sampled_from(["0.05", "0.2", "1"]),
        sigma=st.sampled_from(["1.5561", "3", "20"]),
        steps=st.integers(1, 40),
        rounds=st.integers(1, 3),
        gate=st.sampled_from([Gate.RENYI, Gate.FIXED_SCHEDULE]),
        unit=st.sampled_from(Unit),
        epsilon=st.sampled_from(["1", "3", "7"]),
    )
    def agree(self, q, sigma, steps, rounds, gate, unit, epsilon):
        event = SampledGaussian(
            sampling_probability=Decimal(q), noise_multiplier=Decimal(sigma), steps=steps
        )
        number, guarantee = len(self.terms) + 1, claim(epsilon)
        made = spending(number, event, rounds, gate=gate, order=16, guarantee=guarantee, unit=unit)
        self.terms.append((made, event))

    @precondition(lambda self: self.terms)
    @rule(data=st.data(), dataset=st.sampled_from(list(PLACES)))
    def ask_and_reserve(self, data, dataset):
        number = data.draw(st.integers(0, len(self.terms) - 1))
        terms, event = self.terms[number]
        count = self.count + 1
        try:
            self.book.ask(terms, event, count, dataset)
        except Refusal:
            return
        self.count = count
        under = self.book.budget.open_reserves()
        (mine,) = [one for one in under if one.nonce == nonce(count)]
        self.story.made[count] = (number, dataset, event, mine.grant)
        self.story.open.append(count)

    @precondition(lambda self: self.story.open)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def close(self, data, outcome):
        n = data.draw(st.sampled_from(self.story.open))
        self.story.open.remove(n)
        self.book.write(charge(n, outcome))

    @precondition(lambda self: self.story.open)
    @rule(data=st.data())
    def give_back(self, data):
        n = data.draw(st.sampled_from(self.story.open))
        self.story.open.remove(n)
        self.story.refunded.add(n)
        self.book.write(refund(n))

    @rule()
    def restart(self):
        check_order(self.book.entries)
        self.book.budget = Budget(self.book.entries)

    @invariant()
    def no_grant_is_passed(self):
        for name, granted in self.story.granted.items():
            (told,) = [
                one
                for one in self.book.budget.statement(granted.namespace).grants
                if one.grant.grant == name
            ]
            assert told.grant == granted
            assert told.epsilon_charged <= told.epsilon_reserved
            assert told.share <= 1
            most, events = granted.guarantee, self.story.events(name)
            if granted.gate is Gate.RENYI:
                assert epsilon_of(events, granted.order, most.delta) <= most.epsilon
            else:
                claims = [self.terms[one][0].guarantee for one in self.story.agreements(name)]
                assert sum(one.epsilon for one in claims) <= most.epsilon
                assert sum(one.delta for one in claims) <= most.delta

    @invariant()
    def grants_stay_within_the_ceiling(self):
        for place in (HERE, THERE):
            granted = [g.guarantee for g in self.story.granted.values() if g.namespace == place]
            assert sum(one.epsilon for one in granted) <= CEILING.epsilon
            assert sum(one.delta for one in granted) <= CEILING.delta
            told = self.book.budget.statement(place)
            assert told.epsilon_charged <= told.epsilon_reserved <= float(CEILING.epsilon) + 1e-9

    @invariant()
    def no_agreement_takes_more_than_it_scheduled_nor_breaks_its_promise(self):
        for place in (HERE, THERE):
            steps = Counter()
            for number, (agreement, dataset, event, _) in self.story.made.items():
                if PLACES[dataset] == place and number not in self.story.refunded:
                    steps[agreement] += event.steps
            for agreement, taken in steps.items():
                terms, _ = self.terms[agreement]
                assert taken <= terms.schedule[0].steps
                promise = terms.guarantee
                assert schedule_epsilon(terms.schedule, promise.delta) <= promise.epsilon

    @invariant()
    def units_and_gates_are_kept(self):
        for agreement, dataset, _, under in self.story.made.values():
            terms, granted = self.terms[agreement][0], self.story.granted[under]
            assert terms.gate is granted.gate
            assert granted.namespace == PLACES[dataset]
            assert (terms.unit, dataset) != (Unit.RECORD, THIRD)
            assert (terms.unit, dataset) != (Unit.PERSON, ROWS)

    @invariant()
    def nothing_is_forgotten(self):
        budget = self.book.budget
        for place, dataset in ((HERE, ROWS), (THERE, THIRD)):
            counted = budget.spent(dataset) + budget.reserved(dataset)
            kept = [
                event
                for number, (_, where, event, _) in self.story.made.items()
                if PLACES[where] == place and number not in self.story.refunded
            ]
            assert Counter(counted) == Counter(kept)
        still = [one.nonce for one in budget.open_reserves()]
        assert sorted(still) == sorted(map(nonce, self.story.open))


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


def test_the_machine_can_reserve_at_both_gates() -> None:
    """Without this, the machine above could be refusing everything."""
    machine = Spending()
    machine._grant(grant(HERE, 16, claim(13, "3e-5"), Gate.RENYI, 1))
    machine._grant(
        grant(HERE, 0, Guarantee(epsilon=Decimal(7), delta=Decimal("1e-5")), Gate.FIXED_SCHEDULE, 2)
    )
    event = SampledGaussian(
        sampling_probability=Decimal("0.05"), noise_multiplier=Decimal(3), steps=40
    )
    for number, gate in enumerate((Gate.RENYI, Gate.FIXED_SCHEDULE)):
        terms = spending(number, event, 2, gate=gate, order=16, guarantee=claim(7))
        for k in range(2):
            machine.book.ask(terms, event, 10 * number + k)
    assert len(machine.book.budget.open_reserves()) == 4
