"""An institution accepts the plan that it would have written itself, and no other."""

from dataclasses import fields, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.federation import World

from comity_common.canonical import decode, encode
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.fixedpoint import lane_bound
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.messages import Plan
from comity_common.secagg.plan import Standing, check_plan, check_terms, make_plan, plan_digest
from comity_common.secagg.thresholds import thresholds

WORLD = World.of(7, rounds=4, spare_rounds=2)
AGREEMENT = WORLD.agreement
ROSTER = AGREEMENT.roster
ME = ROSTER[2]
CERTIFICATE, MODEL = Digest("c" * 64), Digest("d" * 64)
STANDING = Standing(
    me=ME,
    epoch=2,
    members=ROSTER[:6],
    newest=3,
    certificate=CERTIFICATE,
    model=MODEL,
    certified=3,
    scored=0,
)
PLAN = make_plan(
    AGREEMENT,
    epoch=2,
    round=4,
    participants=ROSTER[:6],
    previous=CERTIFICATE,
    model=MODEL,
    nonce=bytes(16),
)


def refusal(plan: Plan, standing: Standing = STANDING) -> RefusalCode:
    with pytest.raises(Refusal) as refused:
        check_plan(AGREEMENT, standing, plan)
    return refused.value.code


def test_the_prescribed_plan_is_accepted():
    check_plan(AGREEMENT, STANDING, PLAN)
    check_plan(AGREEMENT, STANDING, decode(Plan, encode(PLAN)))


def test_a_plan_says_what_the_agreement_says():
    limits = thresholds(6, 1)
    assert (PLAN.threshold, PLAN.minimum) == (limits.shares, limits.survivors) == (5, 5)
    assert PLAN.lane_bound == lane_bound(32, 6) == (2**31 - 1) // 6
    assert (PLAN.lanes, PLAN.ring_width, PLAN.range) == (50, 32, Decimal(1))
    assert (PLAN.sampling_probability, PLAN.noise_multiplier) == (Decimal("0.1"), Decimal("1.5"))
    assert (PLAN.clip_norm, PLAN.steps, PLAN.kind) == (Decimal(1), 5, "train")
    assert PLAN.agreement == AGREEMENT.digest


OTHER = {
    "agreement": (Digest("0" * 64), RefusalCode.PLAN),
    "epoch": (1, RefusalCode.STALE_ROUND),
    "round": (3, RefusalCode.STALE_ROUND),
    "participants": (ROSTER[:3] + ROSTER[4:6], RefusalCode.PLAN),  # t and m are no longer right
    "previous": (Digest("0" * 64), RefusalCode.BEHIND),
    "model": (Digest("0" * 64), RefusalCode.BEHIND),
    "nonce": (bytes(15), RefusalCode.PLAN),
    "kind": ("evaluate", RefusalCode.PLAN),
    "threshold": (PLAN.threshold - 1, RefusalCode.PLAN),
    "minimum": (PLAN.minimum - 1, RefusalCode.PLAN),
    "ring_width": (24, RefusalCode.PLAN),
    "lanes": (PLAN.lanes - 1, RefusalCode.PLAN),
    "lane_bound": (PLAN.lane_bound + 1, RefusalCode.PLAN),
    "range": (Decimal("1.1"), RefusalCode.PLAN),
    "sampling_probability": (Decimal("0.2"), RefusalCode.PLAN),
    "noise_multiplier": (Decimal("1.4"), RefusalCode.PLAN),
    "clip_norm": (Decimal(2), RefusalCode.PLAN),
    "steps": (6, RefusalCode.PLAN),
}


def test_the_table_below_names_every_field():
    assert set(OTHER) == {field.name for field in fields(Plan)}


@pytest.mark.parametrize(("field", "value", "code"), [(k, *v) for k, v in OTHER.items()])
def test_a_plan_with_one_other_field_is_refused(field, value, code):
    assert refusal(replace(PLAN, **{field: value})) is code


MORE = [
    ("threshold", PLAN.threshold + 1),
    ("threshold", 0),
    ("threshold", 1),
    ("minimum", PLAN.minimum + 1),
    ("minimum", 0),
    ("lanes", PLAN.lanes + 1),
    ("lanes", 0),
    ("lanes", -1),
    ("lane_bound", PLAN.lane_bound - 1),
    ("lane_bound", 2**31),
    ("ring_width", 33),
    ("ring_width", 0),
    ("range", Decimal("0.9")),
    ("range", Decimal(0)),
    ("range", Decimal("-1")),
    ("noise_multiplier", Decimal(0)),
    ("noise_multiplier", Decimal("1.5000000001")),
    ("sampling_probability", Decimal(1)),
    ("clip_norm", Decimal("0.5")),
    ("steps", 0),
    ("steps", -5),
    ("steps", 2**53 - 1),
    ("kind", ""),
    ("kind", "TRAIN"),
    ("nonce", b""),
    ("nonce", bytes(17)),
    ("nonce", bytes(10_000)),
    ("agreement", Digest("")),
]


@pytest.mark.parametrize(("field", "value"), MORE)
def test_no_term_of_the_agreement_may_be_bent_either_way(field, value):
    assert refusal(replace(PLAN, **{field: value})) is RefusalCode.PLAN


@pytest.mark.parametrize("round", [4, 5, 6])
def test_any_newer_round_within_the_schedule_is_accepted(round):
    check_plan(AGREEMENT, STANDING, replace(PLAN, round=round))


@pytest.mark.parametrize("round", [3, 2, 1, 0, -1, -(2**53) + 1])
def test_a_stale_round_is_refused(round):
    assert refusal(replace(PLAN, round=round)) is RefusalCode.STALE_ROUND


@pytest.mark.parametrize("round", [7, 1000, 2**53 - 1])
def test_a_round_beyond_the_spare_rounds_is_refused(round):
    assert refusal(replace(PLAN, round=round)) is RefusalCode.PLAN


@pytest.mark.parametrize("epoch", [0, 1, 3, -2, 2**53 - 1])
def test_a_plan_of_another_key_epoch_is_refused(epoch):
    assert refusal(replace(PLAN, epoch=epoch)) is RefusalCode.STALE_ROUND


def test_before_any_key_epoch_every_plan_is_refused():
    fresh = replace(STANDING, epoch=0, members=(), newest=0)
    for epoch in (0, 1, 2):
        refusal(replace(PLAN, epoch=epoch), fresh)


def planned(participants: tuple[InstitutionId, ...]) -> Plan:
    """The plan that the agreement prescribes for these participants, right in all else."""
    return make_plan(
        AGREEMENT,
        epoch=2,
        round=4,
        participants=participants,
        previous=CERTIFICATE,
        model=MODEL,
        nonce=bytes(16),
    )


def test_any_five_of_the_epoch_with_me_are_accepted():
    for left_out in ROSTER[:6]:
        plan = planned(tuple(id for id in ROSTER[:6] if id != left_out))
        if left_out == ME:
            assert refusal(plan) is RefusalCode.PLAN
        else:
            check_plan(AGREEMENT, STANDING, plan)


@pytest.mark.parametrize(
    "participants",
    [
        ROSTER[:4],  # below the minimum of 5
        ROSTER[:3],
        ROSTER,  # the seventh is not in the key epoch
        (*ROSTER[:5], InstitutionId("stranger")),
        (*ROSTER[:5], AGREEMENT.operator.id),
        (*ROSTER[:5], InstitutionId("")),
        ROSTER[5::-1],  # out of order
        (*ROSTER[:5], ROSTER[4]),  # one twice
        (*ROSTER[:3], *ROSTER[:3]),
        (ME,) * 6,
        (ROSTER[1], ROSTER[0], *ROSTER[2:6]),
    ],
)
def test_strangers_duplicates_and_too_few_are_refused(participants):
    assert refusal(planned(participants)) is RefusalCode.PLAN


@pytest.mark.parametrize("participants", [(), (ME,), ROSTER[1:3]])
def test_a_plan_without_safe_thresholds_is_refused(participants):
    with pytest.raises(LocalError):
        planned(participants)
    assert refusal(replace(PLAN, participants=participants)) is RefusalCode.PLAN


TERMS = [name for name in OTHER if name not in ("round", "previous", "model", "nonce", "epoch")]


@pytest.mark.parametrize(
    "change",
    [
        *({name: OTHER[name][0]} for name in TERMS),
        *({field: value} for field, value in MORE),
        {"participants": ROSTER[:4]},
        {"participants": ROSTER[5::-1]},
        {"participants": (*ROSTER[:5], InstitutionId("stranger"))},
        {"round": 7},
        {"round": 0},
        {"round": -1},
        {"epoch": 0},
        {"round": 1},  # and not from the agreement's model
        {"round": 1, "previous": AGREEMENT.digest},
        {"round": 1, "model": AGREEMENT.model.initial_state},
    ],
    ids=lambda change: "-".join(change),
)
def test_what_a_participant_refuses_is_refused_by_who_reads_the_plan_later(change):
    plan = replace(PLAN, **change)
    with pytest.raises(PeerError):
        check_terms(AGREEMENT, plan)
    willing = replace(
        STANDING,
        epoch=plan.epoch,
        newest=min(STANDING.newest, plan.round - 1),
        certificate=plan.previous,
        model=plan.model,
    )
    assert refusal(plan, willing) is RefusalCode.PLAN


def test_the_first_round_begins_with_the_agreement_and_its_model():
    first = replace(PLAN, round=1, previous=AGREEMENT.digest, model=AGREEMENT.model.initial_state)
    check_terms(AGREEMENT, first)
    check_terms(AGREEMENT, PLAN)


def test_the_model_and_the_certificate_must_both_be_my_own():
    swapped = replace(PLAN, previous=MODEL, model=CERTIFICATE)
    assert refusal(swapped) is RefusalCode.BEHIND


def test_every_field_enters_the_plan_s_digest():
    digests = {plan_digest(replace(PLAN, **{k: v})) for k, (v, _) in OTHER.items()}
    assert len(digests | {plan_digest(PLAN)}) == len(OTHER) + 1


@given(st.integers(0, 127), st.integers(0, 127))
def test_every_bit_of_the_nonce_enters_the_digest(a, b):
    one, other = ((1 << bit).to_bytes(16, "big") for bit in (a, b))
    same = plan_digest(replace(PLAN, nonce=one)) == plan_digest(replace(PLAN, nonce=other))
    assert same == (a == b)
