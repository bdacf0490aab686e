"""Real vaults that score a model between rounds of training, with crashes and lies."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from comity_common.agreement import Agreement, PrivateEvaluation
from comity_common.errors import Refusal, RefusalCode
from comity_common.ledger.bodies import BudgetCharge, BudgetReserve, Egress, Outcome, Traffic
from comity_common.mechanisms import schedule_event
from comity_common.optimizer import ModelState, state_digest
from comity_common.scoresum import of_counts
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage

from .test_vaults import Federation, of_zeros

SCORES = PrivateEvaluation(
    share=Decimal("0.5"),
    after=(1, 2),
    spare=1,
    units=50,
    noise_multiplier=Decimal("0.05"),
    loss_clip=Decimal(4),
    grid=64,
)
PURPOSES = ["federated-training", "federated-evaluation"]
UNITS = 10  # that every bench of the simulation scores, all right


def scored_too(draft: Agreement) -> tuple[Agreement, ModelState]:
    noisy = replace(SCORES, noise_multiplier=Decimal(30))
    return of_zeros(replace(draft, private_evaluation=noisy))


def almost_without_noise(draft: Agreement) -> tuple[Agreement, ModelState]:
    """Let everything but the noise be seen: the promise is as weak as that."""
    privacy = replace(draft.privacy, epsilon=Decimal(1_000_000), delta=Decimal("0.5"))
    return of_zeros(replace(draft, private_evaluation=SCORES, privacy=privacy))


def run(federation: Federation, kind: RoundKind, revealing: int = 5) -> Stage:
    roster = list(federation.agreement.roster)
    plan = federation.operator.begin_round(roster, kind)
    assert federation.order(plan, roster) == {}
    for id in roster:
        federation.seats[id].work()
    federation.finish(roster[:revealing])
    for seat in federation.seats.values():
        seat.work()
    return federation.operator.collector.stage


def found(federation: Federation) -> list:
    """Return what all institutions hold, which must be the same."""
    agreement = federation.agreement
    (scores,) = {tuple(seat.inst.scores.of(agreement.digest)) for seat in federation.seats.values()}
    return list(scores)


def test_scores_come_between_rounds_and_leave_the_model_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("comity_client.policy.Policy.check", lambda *_: None)  # of such an ε
    federation = Federation(tmp_path, terms=almost_without_noise)
    federation.set_up_keys()
    agreement = federation.agreement
    for done in (1, 2):
        assert run(federation, RoundKind.TRAIN) is Stage.CERTIFIED
        model = state_digest(federation.operator.state)
        assert run(federation, RoundKind.EVALUATE) is Stage.CERTIFIED
        for seat in federation.seats.values():
            progress = seat.inst.progress.get(agreement.digest)
            assert (progress.model, progress.certified, progress.scored) == (model, done, done)
    first, second = found(federation)
    assert [(one.round, one.certified, one.vaults) for one in (first, second)] == [
        (2, 1, 5),
        (4, 2, 5),
    ]
    # 5 vaults of 10 units that are right, σ = 0.05 · √5/2 · 64 ≈ 3.6 each.
    assert first.total == pytest.approx((5 * UNITS * 64, 0, 0), abs=6 * 3.6 * 5**0.5)
    assert of_counts(agreement, first.total, 5).estimate.right > 0.98
    for seat in federation.seats.values():
        uploads = [one for one in seat.entries(Egress) if one.traffic is Traffic.MECHANISM]
        assert [one.purpose for one in uploads] == PURPOSES * 2
        event = schedule_event(agreement, 1, RoundKind.EVALUATE)
        assert [one.event for one in seat.entries(BudgetReserve)][1::2] == [event, event]
    federation.check()


def test_noise_of_every_vault_is_in_the_sum(tmp_path):
    federation = Federation(tmp_path, terms=scored_too)
    federation.set_up_keys()
    run(federation, RoundKind.TRAIN)
    run(federation, RoundKind.EVALUATE)
    (score,) = found(federation)
    sigma = float(federation.agreement.private_evaluation.score.variance * 5) ** 0.5
    off = np.array(score.total) - (5 * UNITS * 64, 0, 0)
    assert 0 < np.abs(off).max() < 6 * sigma  # 30 · √5/2 · 64 · √5 ≈ 4800
    assert of_counts(federation.agreement, score.total, 5).estimate is None  # and drowns 50 units


def test_no_score_is_given_before_it_is_due_or_twice(tmp_path):
    federation = Federation(tmp_path, terms=scored_too)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)

    def all_refuse() -> None:
        plan = federation.operator.begin_round(roster, RoundKind.EVALUATE)
        assert federation.order(plan, roster) == {}  # an order does not say of which kind it is
        for seat in federation.seats.values():
            seat.work()
        declined = federation.operator.collector.declined
        assert declined == dict.fromkeys(roster, RefusalCode.PLAN)
        federation.finish(roster)

    all_refuse()
    run(federation, RoundKind.TRAIN)
    run(federation, RoundKind.EVALUATE)
    before = [len(seat.entries(BudgetReserve)) for seat in federation.seats.values()]
    all_refuse()
    assert [len(seat.entries(BudgetReserve)) for seat in federation.seats.values()] == before
    federation.check()


def test_void_scores_are_made_up_for_by_spare_ones_alone(tmp_path):
    federation = Federation(tmp_path, rounds=4, terms=scored_too)
    federation.set_up_keys()
    run(federation, RoundKind.TRAIN)
    for _ in range(3):  # two scores and a spare one
        assert run(federation, RoundKind.EVALUATE, revealing=2) is Stage.VOID
    assert run(federation, RoundKind.EVALUATE) is Stage.VOID
    refused = dict.fromkeys(federation.agreement.roster, RefusalCode.BUDGET)
    assert federation.operator.collector.declined == refused
    assert run(federation, RoundKind.TRAIN) is Stage.CERTIFIED  # which has a budget of its own
    assert found(federation) == []
    federation.check()


@pytest.mark.parametrize("boundary", ["joined", "witnessed", "started", "masked", "uploaded"])
def test_a_crash_while_scoring_costs_that_vaults_part(tmp_path, boundary):
    federation = Federation(tmp_path, terms=scored_too)
    federation.set_up_keys()
    run(federation, RoundKind.TRAIN)
    victim = federation.seats[federation.agreement.roster[2]]
    victim.crash_at = (boundary, 2)
    assert run(federation, RoundKind.EVALUATE) is Stage.CERTIFIED
    lost = boundary in ("joined", "witnessed", "started")
    assert [one.vaults for one in found(federation)] == [4 if lost else 5]
    outcomes = [one.outcome for one in victim.entries(BudgetCharge)]
    assert outcomes[-1] is (Outcome.FORFEITED if lost else Outcome.RELEASED)
    federation.check()


def test_orders_are_refused_only_once_neither_kind_is_paid_for(tmp_path):
    federation = Federation(tmp_path, rounds=2, spare=0, terms=scored_too)
    federation.set_up_keys()
    for _ in range(2):
        run(federation, RoundKind.TRAIN)
        run(federation, RoundKind.EVALUATE)
    roster = list(federation.agreement.roster)
    seat = federation.seats[roster[0]]
    plan = federation.operator.begin_round(roster)  # a third round of training
    seat.vault.accept_order(federation.agreement.digest, plan.round, plan_digest(plan))
    seat.work()
    assert federation.operator.collector.declined[roster[0]] is RefusalCode.BUDGET
    assert len(seat.entries(BudgetReserve)) == 4


def test_an_institution_may_forbid_scores(tmp_path):
    federation = Federation(tmp_path, n=3, terms=scored_too)
    inst = federation.seats[federation.agreement.roster[0]].inst
    silent = inst.policy.changed({"private_evaluation": False})
    with pytest.raises(Refusal, match="private_evaluation") as refused:
        silent.check(federation.agreement, inst.me, inst.ledger.day())
    assert refused.value.code is RefusalCode.POLICY
    unscored = replace(federation.agreement, private_evaluation=None)
    silent.check(unscored, inst.me, inst.ledger.day())
