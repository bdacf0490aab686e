"""An institution whose every entry is signed, in order and cosigned in time, and breaks a rule."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from comity_common.dp.terms import SAMPLED_GAUSSIAN, Gate, Unit
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    NO_AGREEMENT,
    AgreementSign,
    Body,
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    BudgetReserve,
    DatasetId,
    DatasetRegister,
    Egress,
    NamespaceId,
    Outcome,
    RefundReason,
    Refused,
    Restore,
    RoundJoin,
    SelfTest,
    Traffic,
    Verdict,
)
from comity_common.ledger.controls import CONTROLS, HEAD
from tests.audit.forging import Bodies, Forgery, places, registry
from tests.audit.subject import Subject

FORGERIES: dict[str, Forgery] = {}
forgery = registry(FORGERIES)


def _released(bodies: Sequence[Body]) -> list[int]:
    """Return where reserves are whose upload left."""
    left = {body.nonce for body in bodies if isinstance(body, Egress)} - {b""}
    return [at for at in places(bodies, BudgetReserve) if bodies[at].nonce in left]  # type: ignore[union-attr]


def _of(bodies: Sequence[Body], kind: type, nonce: bytes) -> int:
    """Return where the charge or the upload of a reserve is."""
    return places(bodies, kind, nonce=nonce)[0]


def _reserve(bodies: Bodies, chance: random.Random, **changes: Any) -> Bodies:
    at = chance.choice(_released(bodies))
    bodies[at] = replace(bodies[at], **changes)
    return bodies


# Agreements.


@forgery("signatures")
def _an_agreement_that_it_keeps_back(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    other = Digest(chance.randbytes(32).hex())
    at = chance.choice(places(bodies, Refused))
    bodies.insert(at, replace(bodies[at], agreement=other))
    return bodies


@forgery("signatures")
def _a_signature_that_it_never_gave(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    bodies.insert(
        chance.choice(places(bodies, AgreementSign)),
        AgreementSign(agreement=of.federation.refused.digest),
    )
    return bodies


@forgery("signatures")
def _a_round_under_what_not_all_have_signed(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    at = chance.choice(places(bodies, RoundJoin))
    bodies.insert(at, replace(bodies[at], agreement=of.federation.refused.digest))
    return bodies


# The budget.


@forgery("budget")
def _a_reserve_under_no_grant(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _reserve(bodies, chance, grant=chance.randbytes(16))


@forgery("budget")
def _a_reserve_under_another_grant(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(_released(bodies))
    grants = {bodies[one].grant for one in places(bodies, BudgetGrant)} - {bodies[at].grant}
    bodies[at] = replace(bodies[at], grant=chance.choice(sorted(grants)))
    return bodies


@forgery("budget")
def _a_grant_that_was_never_made(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    gate = chance.choice((Gate.RENYI, Gate.FIXED_SCHEDULE))
    return [b for b in bodies if not (isinstance(b, BudgetGrant) and b.gate is gate)]


@forgery("budget")
def _a_grant_after_its_first_use(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = places(bodies, BudgetGrant, gate=Gate.FIXED_SCHEDULE)[0]
    return [*bodies[:at], *bodies[at + 1 :], bodies[at]]


@forgery("budget")
def _more_than_was_granted(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    share = Decimal(chance.choice(("0.1", "0.5")))
    for at in places(bodies, BudgetGrant):
        grant = bodies[at]
        less = grant.guarantee.epsilon * share
        bodies[at] = replace(grant, guarantee=replace(grant.guarantee, epsilon=less))
    return bodies


@forgery("budget")
def _a_grant_beyond_the_ceiling(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = places(bodies, BudgetGrant)[-1]
    more = replace(bodies[at].guarantee, epsilon=bodies[at].guarantee.epsilon + 20)
    bodies[at] = replace(bodies[at], guarantee=more)
    return bodies


@forgery("budget")
def _a_top_up_downwards(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    first, second = places(bodies, BudgetGrant, gate=Gate.RENYI)
    bodies[first], bodies[second] = bodies[second], bodies[first]
    return bodies


@forgery("budget")
def _a_ceiling_that_grows(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = places(bodies, DatasetRegister)[1]
    more = replace(bodies[at].ceiling, epsilon=bodies[at].ceiling.epsilon + 1)
    bodies[at] = replace(bodies[at], ceiling=more)
    return bodies


@forgery("budget")
def _rows_registered_twice(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, DatasetRegister))
    namespace = NamespaceId(chance.randbytes(16).hex())
    bodies.insert(at + 2, replace(bodies[at], namespace=namespace))
    return bodies


@forgery("budget")
def _rows_that_were_not_registered(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _reserve(bodies, chance, dataset=DatasetId(chance.randbytes(16).hex()))


@forgery("budget")
def _less_noise(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(_released(bodies))
    event = bodies[at].event
    less = replace(event, noise_multiplier=event.noise_multiplier * Decimal("0.5"))
    changes: dict[str, Any] = {"event": less}
    if chance.random() < 0.5:
        changes["schedule"] = tuple(
            replace(one, noise_multiplier=less.noise_multiplier)
            if one.mechanism == event.mechanism
            else one
            for one in bodies[at].schedule
        )
    bodies[at] = replace(bodies[at], **changes)
    return bodies


@forgery("budget")
def _more_steps_than_agreed(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(_released(bodies))
    event = bodies[at].event
    bodies[at] = replace(bodies[at], event=replace(event, steps=event.steps + 1))
    return bodies


@forgery("budget")
def _fewer_steps_than_a_round_has(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    trained = [at for at in _released(bodies) if bodies[at].event.mechanism == SAMPLED_GAUSSIAN]
    at = chance.choice(trained)
    bodies[at] = replace(bodies[at], event=replace(bodies[at].event, steps=1))
    return bodies


@forgery("budget")
def _another_schedule(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(_released(bodies))
    first, *rest = bodies[at].schedule
    changed = (replace(first, steps=first.steps - 1), *rest)
    bodies[at] = replace(bodies[at], schedule=changed)
    return bodies


@forgery("budget")
def _another_unit(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _reserve(bodies, chance, unit=Unit.PERSON)


@forgery("budget")
def _another_guarantee(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(_released(bodies))
    more = replace(bodies[at].guarantee, epsilon=bodies[at].guarantee.epsilon * 2)
    bodies[at] = replace(bodies[at], guarantee=chance.choice((None, more)))
    return bodies


@forgery("budget")
def _the_mechanism_of_another_agreement(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    one, other = of.federation.first.digest, of.federation.second.digest
    places = [at for at in _released(bodies) if bodies[at].agreement == other]
    at = chance.choice(places)
    event = next(b.event for b in bodies if isinstance(b, BudgetReserve) and b.agreement == one)
    bodies[at] = replace(bodies[at], event=event)
    return bodies


@forgery("budget")
def _one_nonce_for_two_reserves(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    first, *rest = _released(bodies)
    at = chance.choice(rest)
    bodies[at] = replace(bodies[at], nonce=bodies[first].nonce)
    return bodies


@forgery("budget")
def _a_charge_without_a_reserve(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, BudgetCharge))
    bodies.insert(at, replace(bodies[at], nonce=chance.randbytes(16)))
    return bodies


@forgery("budget")
def _a_second_charge(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, BudgetCharge))
    bodies.insert(chance.randrange(at, len(bodies)) + 1, bodies[at])
    return bodies


@forgery("budget")
def _a_refund_of_what_left(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(_released(bodies))
    nonce = bodies[at].nonce
    refund = BudgetRefund(
        nonce=nonce, reason=RefundReason.OVERTAKEN, evidence=Digest(chance.randbytes(32).hex())
    )
    after = _of(bodies, Egress, nonce) + 1
    bodies.insert(chance.randrange(after, len(bodies) + 1), refund)
    return bodies


@forgery("budget")
def _a_reserve_before_the_agreement_was_signed(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    at = places(bodies, AgreementSign, agreement=of.federation.second.digest)[0]
    return [*bodies[:at], *bodies[at + 1 :], bodies[at]]


@forgery("budget", beginning=datetime(2199, 12, 30, tzinfo=UTC))
def _a_reserve_after_the_last_day(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return bodies


@forgery("budget")
def _more_rounds_than_scheduled(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    """Go on with rounds of the second agreement, each as it should be, until they are too many."""
    second = of.federation.second
    at = [one for one in _released(bodies) if bodies[one].agreement == second.digest][-1]
    return _more_rounds(bodies, chance, bodies[at], second.schedule.attempts)


def _more_rounds(bodies: Bodies, chance: random.Random, like: BudgetReserve, count: int) -> Bodies:
    """Go on with rounds like the last one, each with a reserve of its own."""
    own = [b for b in bodies if isinstance(b, BudgetReserve) and b.round == like.round]
    last = next(b for b in own if b.agreement == like.agreement)
    join = [b for b in bodies if isinstance(b, RoundJoin) and b.agreement == like.agreement][-1]
    upload = bodies[_of(bodies, Egress, last.nonce)]
    charge = bodies[_of(bodies, BudgetCharge, last.nonce)]
    for round in range(join.round + 1, join.round + count + 1):
        nonce = chance.randbytes(16)
        bodies += [
            replace(join, round=round),
            replace(like, round=round, nonce=nonce),
            replace(charge, nonce=nonce),
            replace(upload, round=round, nonce=nonce),
        ]
    return bodies


@forgery("budget")
def _rounds_beyond_the_schedule_on_another_data_set(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    """Run as many rounds once more, on rows that have a budget of their own."""
    second = of.federation.second
    space, dataset = (chance.randbytes(16).hex() for _ in range(2))
    rows = bodies[places(bodies, DatasetRegister)[0]]
    grants = {bodies[at].grant: bodies[at] for at in places(bodies, BudgetGrant)}
    twins = {name: chance.randbytes(16) for name in grants}
    at = places(bodies, BudgetGrant)[-1] + 1
    bodies[at:at] = [
        replace(rows, dataset=DatasetId(dataset), namespace=NamespaceId(space)),
        *(
            replace(one, grant=twins[name], namespace=NamespaceId(space))
            for name, one in grants.items()
        ),
    ]
    at = [one for one in _released(bodies) if bodies[one].agreement == second.digest][-1]
    reserve = bodies[at]
    reserve = replace(reserve, dataset=DatasetId(dataset), grant=twins[reserve.grant])
    return _more_rounds(bodies, chance, reserve, second.schedule.attempts)


@forgery("budget")
def _a_reserve_left_open_before_a_restore(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    at = places(bodies, BudgetCharge, outcome=Outcome.FORFEITED)[0]
    del bodies[at]
    if not any(bodies[at + place].generation for place in places(bodies[at:], Restore)):
        generation = chance.randbytes(16)
        restore = Restore(agreement=NO_AGREEMENT, epoch=0, round=0, generation=generation)
        bodies.append(restore)
    return bodies


@forgery("budget")
def _a_backup_that_goes_on_where_it_was(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    second = of.federation.second.digest
    at = places(bodies, RoundJoin, agreement=second)[-1]
    restore = Restore(agreement=second, epoch=1, round=1, generation=chance.randbytes(16))
    return [*bodies[:at], restore, *bodies[at:]]


# The order of rounds.


def _join_of(bodies: Bodies, at: int) -> int:
    """Return where the round of a reserve was joined."""
    reserve = bodies[at]
    return places(bodies, RoundJoin, agreement=reserve.agreement, round=reserve.round)[0]


@forgery("rounds")
def _a_reserve_for_a_round_that_was_not_joined(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    del bodies[_join_of(bodies, chance.choice(_released(bodies)))]
    return bodies


@forgery("rounds")
def _a_reserve_before_its_round(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = _join_of(bodies, chance.choice(_released(bodies)))
    bodies[at], bodies[at + 1] = bodies[at + 1], bodies[at]
    return bodies


@forgery("rounds")
def _a_round_after_a_later_one(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, RoundJoin)[2:])
    bodies.insert(at + 2, replace(bodies[at], round=bodies[at].round - 1))
    return bodies


@forgery("rounds")
def _a_round_joined_twice(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, RoundJoin))
    bodies.insert(chance.randrange(at, at + 2) + 1, bodies[at])
    return bodies


@forgery("rounds")
def _a_reserve_in_another_key_epoch(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _reserve(bodies, chance, epoch=2)


@forgery("rounds")
def _a_round_in_a_key_epoch_that_was_over(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    joins = places(bodies, RoundJoin, agreement=of.federation.first.digest)
    at = chance.choice(joins[:-1])
    bodies[at] = replace(bodies[at], epoch=2)
    for reserve in places(bodies, BudgetReserve, agreement=bodies[at].agreement):
        if bodies[reserve].round == bodies[at].round:
            bodies[reserve] = replace(bodies[reserve], epoch=2)
    return bodies


@forgery("rounds")
def _two_reserves_for_one_round(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(_released(bodies))
    nonce = chance.randbytes(16)
    upload = _of(bodies, Egress, bodies[at].nonce)
    more = [bodies[at], bodies[upload - 1], bodies[upload]]
    return [
        *bodies[: upload + 1],
        *(replace(body, nonce=nonce) for body in more),
        *bodies[upload + 1 :],
    ]


@forgery("rounds")
def _an_upload_after_a_later_round_was_joined(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    joins = places(bodies, RoundJoin, agreement=of.federation.first.digest)
    early = [at for at in _released(bodies) if at < joins[-1]]
    nonce = bodies[chance.choice(early)].nonce
    moved = [bodies.pop(_of(bodies, kind, nonce)) for kind in (Egress, BudgetCharge)]
    last = places(bodies, RoundJoin, agreement=of.federation.first.digest)[-1]
    return [*bodies[: last + 2], *moved[::-1], *bodies[last + 2 :]]


# Self-tests.


@forgery("self-tests")
def _no_self_test(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    agreement = _an_agreement(of, chance)
    return [b for b in bodies if not (isinstance(b, SelfTest) and b.agreement == agreement)]


@forgery("self-tests")
def _a_self_test_that_failed(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    agreement = _an_agreement(of, chance)
    at = places(bodies, SelfTest, agreement=agreement)[-1]
    bodies[at] = replace(bodies[at], verdict=Verdict.FAIL, failed=bodies[at].tests[:1])
    return bodies


@forgery("self-tests")
def _the_self_test_of_another_agreement(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    agreement = _an_agreement(of, chance)
    other = chance.choice((Digest(""), of.federation.refused.digest))
    return [
        replace(b, agreement=other) if isinstance(b, SelfTest) and b.agreement == agreement else b
        for b in bodies
    ]


@forgery("self-tests")
def _a_self_test_after_the_first_round(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    at = places(bodies, SelfTest, agreement=_an_agreement(of, chance))[-1]
    return [*bodies[:at], *bodies[at + 1 :], bodies[at]]


def _an_agreement(of: Subject, chance: random.Random) -> Digest:
    return chance.choice((of.federation.first.digest, of.federation.second.digest))


# What left.


def _upload(bodies: Bodies, chance: random.Random, **changes: Any) -> Bodies:
    at = chance.choice(places(bodies, Egress, traffic=Traffic.MECHANISM))
    bodies[at] = replace(bodies[at], **changes)
    return bodies


def _control(bodies: Bodies, chance: random.Random, **changes: Any) -> Bodies:
    at = chance.choice(places(bodies, Egress, traffic=Traffic.CONTROL))
    bodies[at] = replace(bodies[at], **changes)
    return bodies


@forgery("traffic")
def _a_second_upload_under_one_reserve(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    at = chance.choice(places(bodies, Egress, traffic=Traffic.MECHANISM))
    bodies.insert(at + 1, replace(bodies[at], digest=Digest(chance.randbytes(32).hex())))
    return bodies


@forgery("traffic")
def _an_upload_without_a_reserve(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(places(bodies, Egress, traffic=Traffic.MECHANISM))
    bodies.insert(at, replace(bodies[at], nonce=chance.randbytes(16)))
    return bodies


@forgery("traffic")
def _an_upload_of_which_no_witness_was_asked(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    at = chance.choice(_released(bodies))
    charge = _of(bodies, BudgetCharge, bodies[at].nonce)
    between = [b for b in bodies[at:charge] if getattr(b, "message", "") != HEAD]
    return [*bodies[:at], *between, *bodies[charge:]]


@forgery("traffic")
def _an_upload_that_was_not_charged(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = chance.choice(_released(bodies))
    del bodies[_of(bodies, BudgetCharge, bodies[at].nonce)]
    return bodies


@forgery("traffic")
def _an_upload_before_its_charge(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = _of(bodies, Egress, bodies[chance.choice(_released(bodies))].nonce)
    bodies[at - 1], bodies[at] = bodies[at], bodies[at - 1]
    return bodies


@forgery("traffic")
def _an_upload_that_was_forfeited(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    at = _of(bodies, BudgetCharge, bodies[chance.choice(_released(bodies))].nonce)
    bodies[at] = replace(bodies[at], outcome=Outcome.FORFEITED, released=Digest(""))
    return bodies


@forgery("traffic")
def _an_upload_under_what_was_given_back(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    at = _of(bodies, BudgetCharge, bodies[chance.choice(_released(bodies))].nonce)
    bodies[at] = BudgetRefund(
        nonce=bodies[at].nonce,
        reason=RefundReason.ROUND_VOID,
        evidence=Digest(chance.randbytes(32).hex()),
    )
    return bodies


@forgery("traffic")
def _a_charge_for_which_nothing_left(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    del bodies[chance.choice(places(bodies, Egress, traffic=Traffic.MECHANISM))]
    return bodies


@forgery("traffic")
def _something_else_under_a_reserve(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _upload(bodies, chance, message=chance.choice(("rows", "enrol", "upload ", "Upload")))


@forgery("traffic")
def _an_upload_with_something_behind_its_vector(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    return _upload(bodies, chance, size_bytes=chance.choice((64 << 10, 1 << 30)))


@forgery("traffic")
def _an_upload_too_small_for_a_vector(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _upload(bodies, chance, size_bytes=chance.randrange(1, 20))


@forgery("traffic")
def _an_upload_of_another_round(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _upload(bodies, chance, round=chance.choice((None, 0, 99)))


@forgery("traffic")
def _an_upload_to_somebody_else(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _upload(bodies, chance, receiver=chance.choice((InstitutionId("broker"), of.others[0])))


@forgery("traffic")
def _an_upload_to_another_country(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    return _upload(bodies, chance, jurisdiction=chance.choice(("US", "DE")))


@forgery("traffic")
def _a_control_message_to_somebody_else(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    return _control(bodies, chance, receiver=InstitutionId("broker"))


@forgery("traffic")
def _a_control_message_to_another_country(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    return _control(bodies, chance, jurisdiction="US")


@forgery("traffic")
def _a_control_message_of_no_known_name(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    return _control(bodies, chance, message=chance.choice(("rows", "parcel_kind_rows", "upload")))


@forgery("traffic")
def _a_control_message_that_is_too_large(
    bodies: Bodies, chance: random.Random, of: Subject
) -> Bodies:
    at = chance.choice(places(bodies, Egress, traffic=Traffic.CONTROL))
    most = CONTROLS[bodies[at].message].limit(len(of.federation.keys))
    more = most + chance.choice((1, 1000, 1 << 30))
    bodies[at] = replace(bodies[at], size_bytes=more)
    return bodies


@forgery("traffic")
def _an_upload_as_a_control_message(bodies: Bodies, chance: random.Random, of: Subject) -> Bodies:
    name = chance.choice(("upload", "fetch-total", "parcel_kind_cosignature"))
    size = 1 << 20
    return _upload(
        bodies, chance, traffic=Traffic.CONTROL, nonce=b"", message=name, size_bytes=size
    )
