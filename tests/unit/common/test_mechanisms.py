"""An agreement's schedule is every mechanism that it may run, with all its attempts."""

from dataclasses import replace
from decimal import Decimal

import pytest
from tests.simulation.federation import World, promising_nothing

from comity_common.agreement import Agreement, PrivateEvaluation
from comity_common.canonical import decode, encode
from comity_common.dp.terms import DISCRETE_GAUSSIAN, NON_PRIVATE, SAMPLED_GAUSSIAN
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.fixedpoint import lane_bound
from comity_common.ids import Digest
from comity_common.mechanisms import schedule_event, schedule_events, spending_of
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.plan import Standing, check_plan, check_terms, make_plan

WORLD = World.of(7, rounds=4, spare_rounds=2)
SCORES = PrivateEvaluation(
    share=Decimal("0.2"),
    after=(2, 4),
    spare=1,
    units=1000,
    noise_multiplier=Decimal(20),
    loss_clip=Decimal(4),
    grid=64,
)
PLAIN = WORLD.agreement
AGREEMENT = replace(PLAIN, private_evaluation=SCORES)
ROSTER = AGREEMENT.roster


def test_training_and_scores_are_in_the_schedule_with_their_spare_attempts() -> None:
    training, scores = schedule_events(AGREEMENT)
    assert (training.mechanism, scores.mechanism) == (SAMPLED_GAUSSIAN, DISCRETE_GAUSSIAN)
    assert training.steps == 5 * (4 + 2)
    assert scores.steps == 2 + 1
    assert (scores.sampling_probability, scores.noise_multiplier) == (Decimal(1), Decimal(20))
    assert spending_of(AGREEMENT).schedule == (training, scores)
    assert AGREEMENT.attempts == 4 + 2 + 2 + 1
    assert schedule_events(PLAIN) == (training,)
    assert PLAIN.attempts == 6
    with pytest.raises(LocalError, match="with scores"):
        schedule_event(PLAIN, 1, RoundKind.EVALUATE)
    (baseline,) = schedule_events(promising_nothing(PLAIN))
    assert baseline.mechanism == NON_PRIVATE


def test_scores_are_signed_with_everything_else() -> None:
    assert decode(Agreement, encode(AGREEMENT)) == AGREEMENT
    assert AGREEMENT.digest != PLAIN.digest


@pytest.mark.parametrize(
    "change",
    [
        {"share": Decimal(0)},
        {"share": Decimal("0.51")},
        {"after": ()},
        {"after": (0, 2)},
        {"after": (3, 2)},
        {"after": (2, 2)},
        {"spare": -1},
        {"units": 0},
        {"noise_multiplier": Decimal(0)},
        {"loss_clip": Decimal(0)},
        {"grid": 63},
        {"grid": 0},
    ],
    ids=str,
)
def test_terms_of_scores_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(LocalError):
        replace(SCORES, **change)  # type: ignore[arg-type]


def test_scores_must_fit_the_schedule_the_ring_and_the_promise() -> None:
    most = (lane_bound(32, 7) - 1) // 64
    assert replace(AGREEMENT, private_evaluation=replace(SCORES, units=most))
    for change in ({"units": most + 1}, {"after": (2, 5)}, {"spare": 1000}):
        with pytest.raises(LocalError):
            replace(AGREEMENT, private_evaluation=replace(SCORES, **change))  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="no private evaluation"):
        replace(promising_nothing(PLAIN), private_evaluation=SCORES)


def test_a_score_is_due_after_each_round_that_is_named() -> None:
    due = {
        (certified, scored)
        for certified in range(6)
        for scored in range(4)
        if SCORES.is_due(certified, scored)
    }
    assert due == {(2, 0), (3, 0), (4, 0), (5, 0), (4, 1), (5, 1)}


def plan_of(kind: RoundKind, round: int = 3, agreement: Agreement = AGREEMENT):  # type: ignore[no-untyped-def]
    return make_plan(
        agreement,
        epoch=1,
        round=round,
        participants=ROSTER,
        previous=Digest("c" * 64),
        model=Digest("d" * 64),
        nonce=bytes(16),
        kind=kind,
    )


def standing(certified: int, scored: int) -> Standing:
    return Standing(
        me=ROSTER[0],
        epoch=1,
        members=ROSTER,
        newest=2,
        certificate=Digest("c" * 64),
        model=Digest("d" * 64),
        certified=certified,
        scored=scored,
    )


def test_a_plan_of_a_score_has_three_lanes_of_whole_numbers() -> None:
    plan = plan_of(RoundKind.EVALUATE)
    assert (plan.lanes, plan.range, plan.steps) == (3, Decimal(plan.lane_bound - 1), 1)
    assert (plan.sampling_probability, plan.noise_multiplier) == (Decimal(1), Decimal(20))
    check_terms(AGREEMENT, plan)
    with pytest.raises(LocalError, match="that the agreement has"):
        plan_of(RoundKind.EVALUATE, agreement=PLAIN)


@pytest.mark.parametrize(
    ("certified", "scored", "accepted"), [(1, 0, False), (2, 0, True), (2, 1, False), (4, 1, True)]
)
def test_a_score_is_accepted_when_it_is_due(certified: int, scored: int, accepted: bool) -> None:
    where, plan = standing(certified, scored), plan_of(RoundKind.EVALUATE)
    check_plan(AGREEMENT, where, plan_of(RoundKind.TRAIN))  # which never has to wait for a score
    if accepted:
        check_plan(AGREEMENT, where, plan)
        return
    with pytest.raises(Refusal) as refused:
        check_plan(AGREEMENT, where, plan)
    assert refused.value.code is RefusalCode.PLAN


@pytest.mark.parametrize(
    "bent",
    [
        {"kind": RoundKind.TRAIN},
        {"lanes": 4},
        {"noise_multiplier": Decimal(19)},
        {"clip_norm": Decimal(5)},
        {"range": Decimal(1)},
        {"steps": 2},
        {"round": 10},
    ],
    ids=str,
)
def test_no_term_of_a_score_may_be_bent(bent: dict[str, object]) -> None:
    with pytest.raises(PeerError):
        check_terms(AGREEMENT, replace(plan_of(RoundKind.EVALUATE), **bent))
