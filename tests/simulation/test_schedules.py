"""Any order of orders, crashes, lost rounds and overtaking plans: no noise is ever uncounted.

Hypothesis draws a schedule, a list of what happens to one vault among its others, and plays it on a
real store. The ledger is read at every crash, before the vault comes back, and after every event.
"""

import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from comity_client import refunds
from comity_common.errors import Refusal
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetRefund,
    BudgetReserve,
    Outcome,
    RefundReason,
)
from comity_common.ledger.entries import check_order
from comity_common.secagg import round as table
from comity_common.secagg.plan import plan_digest

from .test_vaults import BOUNDARIES, Federation

EVENTS = st.one_of(
    st.sampled_from(["order", "order again", "work", "play", "void", "deaf", "hearing"]),
    st.sampled_from(BOUNDARIES).map(lambda boundary: f"crash {boundary}"),
)
SCHEDULES = st.lists(EVENTS, min_size=6, max_size=24)
QUICK, MANY = 3, 200


class Play:
    """A schedule as it is played.

    Attributes:
        drawn: by round, how often the vault began to train in it.
    """

    def __init__(self, path: Path) -> None:
        self.federation = Federation(path, n=4, rounds=20, spare=20)
        self.federation.set_up_keys()
        self.roster = list(self.federation.agreement.roster)
        self.victim = self.federation.seats[self.roster[0]]
        self.others = self.roster[1:]
        self.plans = []
        self.drawn: Counter[int] = Counter()
        self._ears = dict(self.federation.operator.ears)
        self._watch()

    def happen(self, event: str) -> None:
        """Let one thing happen."""
        federation, operator = self.federation, self.federation.operator
        match event.split():
            case ["order"]:
                self.plans.append(operator.begin_round(self.roster))
                self._order(self.plans[-1])
            case ["order", "again"] if self.plans:
                self._order(self.plans[len(self.plans) // 2])
            case ["crash", boundary] if self.plans:
                self.victim.crash_at = (boundary, self.plans[-1].round)
                self.victim.work()
                self.victim.crash_at = None
            case ["work"]:
                self.victim.work()
            case ["play"] if self._is_open():
                federation.order(operator.plan, self.others)
                for id in self.others:
                    federation.seats[id].work()
                self.victim.work()
                federation.finish(self.roster)
                self.plans.append(operator.begin_round(self.roster))
            case ["void"] if self._is_open():
                if operator.collector.stage is table.Stage.COLLECTING:
                    operator.collector.expire()
                federation.finish([self.victim.inst.me])
                self.plans.append(operator.begin_round(self.roster))
            case ["deaf"]:
                for id in self.others:
                    operator.ears.pop(id, None)
            case ["hearing"]:
                for id in self.others:
                    operator.ears[id] = self._ears[id]

    def check(self) -> None:
        """Compare the ledger with what was drawn."""
        check_order(self.victim.inst.ledger.entries())
        refunded = {refund.nonce for refund in self.victim.entries(BudgetRefund)}
        reserves = self.victim.entries(BudgetReserve)
        counted = Counter(one.round for one in reserves if one.nonce not in refunded)
        for round, times in self.drawn.items():
            assert times <= counted[round]
        over = (counted - self.drawn).total()
        assert over - self._waiting() <= self.victim.crashes
        for sent in (self.federation.operator.headers, self.federation.operator.reveals):
            assert all(len(forms) == 1 for forms in sent.values())

    def _waiting(self) -> int:
        """Count reserves that may yet be drawn on or given back: nobody has witnessed them."""
        reserves = self.victim.inst.ledger.budget().open_reserves()
        return sum(not self.drawn[one.round] for one in reserves)

    def _order(self, plan) -> None:
        with suppress(Refusal):
            self.victim.vault.accept_order(plan.agreement, plan.round, plan_digest(plan))

    def _is_open(self) -> bool:
        return bool(self.plans) and not self.federation.operator.endorsements

    def _watch(self) -> None:
        seat = self.victim
        train, wake = seat.bench.train, seat.wake

        def counted(*args):
            (round,) = (
                one.number
                for one in seat.inst.rounds.open(self.federation.agreement.digest)
                if one.phase is table.Phase.STARTED
            )
            self.drawn[round] += 1
            return train(*args)

        def checked() -> None:
            self.check()
            wake()

        seat.bench.train, seat.wake = counted, checked


def play(schedule: list[str]) -> Play:
    """Play a schedule in a directory of its own, and check it after every event."""
    with tempfile.TemporaryDirectory() as path:
        played = Play(Path(path))
        for event in schedule:
            played.happen(event)
            played.check()
        return played


QUIETLY = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    "phases": [Phase.explicit, Phase.generate],  # to shrink one would take minutes
}


@settings(max_examples=QUICK, **QUIETLY)
@given(SCHEDULES)
def test_no_schedule_hides_noise(schedule: list[str]) -> None:
    play(schedule)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=MANY, **QUIETLY)
@given(SCHEDULES)
def test_none_of_many_schedules_hides_noise(schedule: list[str]) -> None:
    play(schedule)


def test_each_event_has_its_effect() -> None:
    played = play(["order", "work", "play", "order", "crash training", "deaf", "order", "work"])
    assert played.drawn == {1: 1, 3: 1}
    assert (played.victim.crashes, played._waiting()) == (1, 1)


def test_a_round_that_waits_for_witnesses_is_not_lost() -> None:
    """Found by a random schedule: ordered while all could hear, and begun when nobody could."""
    played = play(["order", "deaf", "work", "order", "work"])
    assert played.drawn == {}
    assert played._waiting() == 1


def test_a_round_that_is_refunded_though_it_was_begun_is_found(monkeypatch) -> None:
    """The tests above can fail."""

    def wrong(*, nonce: bytes, outcome: Outcome, released: Digest) -> BudgetCharge | BudgetRefund:
        if outcome is Outcome.FORFEITED:
            return BudgetRefund(
                nonce=nonce, reason=RefundReason.ROUND_VOID, evidence=Digest("0" * 64)
            )
        return BudgetCharge(nonce=nonce, outcome=outcome, released=released)

    monkeypatch.setattr(refunds, "BudgetCharge", wrong)
    with pytest.raises(AssertionError):
        play(["order", "crash training", "work"])
