"""Known faults of secure aggregation, replayed by a dishonest operator against real vaults."""

import os
import random
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from comity.v1 import transfer_pb2 as pb
from comity_client.vault import Vault
from comity_common import chunks
from comity_common.canonical import decode, encode
from comity_common.crypto.seal import SealingKey
from comity_common.crypto.sign import Purpose, Signed
from comity_common.errors import PeerError
from comity_common.ids import Digest
from comity_common.optimizer import first_state, state_digest
from comity_common.secagg.collector import Collector
from comity_common.secagg.masking import SEED_BYTES, sections
from comity_common.secagg.messages import Complaint, EpochHalves, EpochKey, Plan, Upload
from comity_common.secagg.participant import box_digest, certificate_digest, header_digest
from comity_common.secagg.plan import make_plan, plan_digest
from comity_common.secagg.round import Phase, Stage
from comity_common.secagg.thresholds import thresholds

from .dishonest import Dishonest
from .test_vaults import LANES, Federation, check_sum


@pytest.fixture
def world(tmp_path) -> Dishonest:
    return Dishonest(tmp_path)


# survivor lists


def test_two_lists_for_one_round_open_neither_when_honest_vaults_are_split(world):
    world.collect()
    full, fewer = world.listing(world.roster), world.listing(world.honest)
    first = [world.show(who, full) for who in world.honest[:2]]
    second = [world.show(who, fewer) for who in world.honest[2:]]
    assert None not in (*first, *second)
    assert world.open(full, [*first, world.help_with(full)]) is None
    assert world.open(fewer, second) is None
    again = [world.show(who, fewer) for who in world.honest[:2]]
    assert again == [None, None]  # a second, different list gets no answer


def test_both_kinds_of_share_for_one_peer_are_given_by_nobody(world):
    world.collect()
    with_all, without = world.listing(world.roster), world.listing(world.honest)
    asked = world.honest[0]
    given = world.show(asked, without)
    dropped = 1
    assert [len(share) for share in given.shares] == [(1 + dropped) * SEED_BYTES] * 4
    assert world.show(asked, with_all) is None
    assert world.show(asked, without) == given  # the same list again is the same answer


def test_the_same_survivors_with_another_header_of_one_get_no_second_answer(world):
    world.collect()
    twin = _dealt_again(world)
    first = world.listing(world.roster)
    second = world.listing(world.roster, {world.colluder: twin})
    assert first.survivors == second.survivors
    assert first.headers != second.headers
    assert world.show(world.honest[0], first) is not None
    assert world.show(world.honest[0], second) is None


def test_the_same_headers_with_another_upload_message_of_one_get_no_second_answer(world):
    """A colluder signs twice what is in its boxes; a helper judges one of them, once."""
    world.collect()
    helper = world.honest[0]
    true = world.listing(world.roster)
    _deal_garbage(world, helper)
    false = world.listing(world.roster)
    assert true.headers == false.headers
    assert true.uploads != false.uploads
    (complaint,) = world.show(helper, false).complaints
    assert complaint.dealer == world.colluder
    assert world.show(helper, true) is None  # and so never both a key and a share
    assert world.show(helper, false).complaints == (complaint,)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_list_below_the_minimum_is_answered_by_nobody(world, size):
    world.collect()
    for who in combinations(world.roster, size):
        listed = world.listing(who)
        assert all(world.show(id, listed) is None for id in who if id != world.colluder)


@pytest.mark.parametrize(
    "forge",
    ["of another", "swapped", "unsigned", "changed", "of another purpose", "of the last round"],
)
def test_a_forged_swapped_or_replayed_header_is_answered_by_nobody(world, forge):
    world.collect()
    old = world.taken[world.colluder][0].signed_header
    if forge == "of the last round":
        _void(world)
        world.collect()
    listed = world.listing(world.roster)
    true = [world.taken[id][0].signed_header for id in world.roster]
    header = world.taken[world.colluder][0].header
    headers = {
        "of another": [*true[:4], world.sign(Purpose.HEADER, header)],
        "swapped": [true[1], true[0], *true[2:]],
        "unsigned": [*true[:4], Signed(body=true[4].body, signature=b"")],
        "changed": [
            *true[:4],
            world.sign_as(world.colluder, Purpose.HEADER, replace(header, root=bytes(32))),
        ],
        "of another purpose": [*true[:4], world.sign_as(world.colluder, Purpose.UPLOAD, header)],
        "of the last round": [*true[:4], old],
    }[forge]
    assert [world.show(who, listed, headers=headers) for who in world.honest] == [None] * 4


def test_a_list_that_an_institution_signed_for_the_operator_is_answered_by_nobody(world):
    world.collect()
    listed = world.listing(world.roster)
    signed = world.sign_as(world.colluder, Purpose.SURVIVORS, listed)
    assert world.show(world.honest[0], listed, signed=signed) is None


# plans


def test_a_plan_of_fewer_than_the_agreement_allows_is_declined(world):
    plan = _plan(world, world.roster[:3])
    assert set(world.offer(plan, world.roster[:3]).values()) == {"plan"}
    assert world.taken == {}


@pytest.mark.parametrize("threshold", [0, 1, 2, 3, 5])
def test_a_threshold_that_the_operator_chose_is_declined(world, threshold):
    plan = replace(_plan(world, world.roster), threshold=threshold)
    assert set(world.offer(plan, world.honest).values()) == {"plan"}


def test_no_agreement_leads_to_a_threshold_at_which_collusion_suffices():
    for n in range(3, 60):
        for c in range(1, (n - 1) // 2):
            assert thresholds(n, c).shares > c + 1


def test_a_plan_that_names_another_model_is_declined_by_all_who_compute_their_own(world):
    plan = replace(_plan(world, world.roster), model=Digest("9" * 64))
    assert set(world.offer(plan, world.honest).values()) == {"behind"}


class Credulous(Vault):
    """A real vault whose check of a plan is turned off: it takes whatever the operator signed."""

    def _checked_plan(self, round, signed):
        return decode(Plan, signed.body)


def test_a_vault_that_takes_another_model_is_in_no_sum_and_nothing_of_it_can_be_opened(world):
    """The operator orders a plan of another model from one vault that does not look."""
    dupe = world.honest[1]
    rest = [who for who in world.roster if who != dupe]
    plan = world.collect(rest)
    other = replace(plan, model=_believes_in_another_model(world, dupe))
    assert world.offer(other, [dupe]) == {dupe: "taken"}
    (theirs,) = world.taken[dupe]
    assert theirs.header.plan == plan_digest(other) != plan_digest(plan)

    collector = Collector(world.agreement, plan)
    for who in rest:
        own = world.taken[who][0]
        collector.upload(own.signed_header, own.signed_upload, own.boxes)
    with pytest.raises(PeerError, match="a header of a participant for this plan"):
        collector.upload(theirs.signed_header, theirs.signed_upload, theirs.boxes)
    collector.expire()
    assert collector.survivors.survivors == tuple(rest)  # an honest operator goes on without it

    full = world.listing(world.roster)
    assert [world.show(who, full) for who in world.honest] == [None] * 4
    ours = {who: own[0].header.commitments for who, own in world.taken.items()}
    assert all(  # no pair of it has a seed in common, so no sum with it comes out of its masks
        ours[dupe][world.roster.index(who)] != ours[who][world.roster.index(dupe)] for who in rest
    )


def test_a_vault_that_masks_for_another_model_under_this_plan_is_named_before_any_reveal(world):
    dupe = world.honest[1]
    other = _believes_in_another_model(world, dupe)
    real = world.seats[dupe].inst.epochs.use

    def for_the_other_model(tx, agreement, epoch, round, plan):
        believed = replace(world.plan, model=other)
        return real(tx, agreement, epoch, round, bytes.fromhex(plan_digest(believed)))

    world.seats[dupe].inst.epochs.use = for_the_other_model
    plan = world.collect()
    collector = Collector(world.agreement, plan)
    for own in world.taken.values():
        collector.upload(own[0].signed_header, own[0].signed_upload, own[0].boxes)
    assert collector.stage is Stage.VOID
    assert collector.survivors is None
    assert collector.reason == (
        "the seeds of inst-00 and inst-01, inst-01 and inst-02, inst-01 and inst-03, "
        "inst-01 and inst-04 differ"
    )
    # An operator that asks all the same gets no share: the vaults look at their own pairs.
    listed = world.listing(world.roster)
    assert [world.show(who, listed) for who in world.honest] == [None] * 4


def test_a_plan_of_a_dead_round_and_a_plan_shown_again_make_no_second_upload(world):
    plan = world.collect()
    bytes_before = {who: own[0].vector for who, own in world.taken.items()}
    assert set(world.offer(plan, world.honest).values()) == {"taken"}  # the same order again
    other = replace(plan, nonce=os.urandom(16))
    assert set(world.offer(other, world.honest).values()) == {"stale-round"}
    assert {who: len(own) for who, own in world.taken.items()} == dict.fromkeys(world.roster, 1)
    assert {who: own[0].vector for who, own in world.taken.items()} == bytes_before
    _void(world)
    world.collect()
    masked = {who: list(own) for who, own in world.taken.items()}
    world.offer(plan, world.honest)  # of a dead round: the old answer, and nothing is made
    assert world.taken == masked


def test_a_newer_plan_closes_the_older_round_whose_list_is_then_answered_by_nobody(world):
    world.collect()
    listed, shown = world.listing(world.roster), dict(world.taken)
    first = world.plan
    _newer_plan_over_an_open_round(world)
    world.operator.plan, world.taken = first, shown
    assert [world.show(who, listed) for who in world.honest] == [None] * 4
    assert {world.round_of(who).held for who in world.honest} == {None}


# key epochs


def test_keys_that_their_owner_did_not_sign_set_up_no_epoch(tmp_path):
    federation = Federation(tmp_path, n=3)
    operator, roster = federation.operator, federation.agreement.roster
    operator.open_epoch(1)
    for seat in federation.seats.values():
        seat.work()
    own = SealingKey.generate()
    middle = EpochKey(
        agreement=federation.agreement.digest, epoch=1, institution=roster[1], key=own.public()
    )
    true = operator.mail[roster[0]][-1]
    signatures = [b"", operator.keys.sign(Purpose.EPOCH_KEY, encode(middle)).signature, bytes(2484)]
    victim = federation.seats[roster[0]]
    operator.mail[roster[0]].pop()
    for signature in signatures:
        keys = list(true.messages)
        keys[1] = Signed(body=encode(middle), signature=signature)
        operator.post(roster[0], true.kind, keys)
        victim.work()
        row = victim.inst.store.reading().execute("select keys, halves from epochs").fetchone()
        assert tuple(row) == (None, None)


def test_members_who_saw_unlike_halves_of_a_colluder_use_no_key(tmp_path):
    federation = Federation(tmp_path, n=3)
    operator, roster = federation.operator, list(federation.agreement.roster)
    operator.open_epoch(1)
    for _ in range(2):
        for seat in federation.seats.values():
            seat.work()
    liar = federation.seats[roster[2]].inst.keys.signing
    true = operator.mail[roster[0]][-1]
    assert true.kind == pb.PARCEL_KIND_EPOCH_HALVES

    halves = decode(EpochHalves, true.messages[2].body)
    other = replace(halves, sealed=(halves.sealed[0], os.urandom(1140), b""))
    operator.mail[roster[0]].pop()
    forged = [*true.messages[:2], liar.sign(Purpose.EPOCH_HALVES, encode(other))]
    operator.post(roster[0], true.kind, forged)
    for _ in range(3):
        for seat in federation.seats.values():
            seat.work()
    for seat in federation.seats.values():
        assert seat.inst.epochs.current(federation.agreement.digest) == (0, ())
    plan = operator.begin_round(roster)
    assert federation.order(plan, roster) == {}
    for seat in federation.seats.values():
        seat.work()
        assert seat.inst.rounds.get(federation.agreement.digest, 1).phase is Phase.CLOSED
    assert not operator.headers


def test_no_key_is_held_by_more_than_the_two_it_is_for(world):
    """One secret in every client's kit (NVFlare's homomorphic key) would be found here."""
    holders: dict[bytes, set[str]] = {}
    for who, seat in world.seats.items():
        for row in seat.inst.store.reading().execute("select peer, key from chains"):
            holders.setdefault(row["key"], set()).update({who, row["peer"]})
    assert len(holders) == 10  # pairs of five
    assert all(len(both) == 2 for both in holders.values())
    signing = {seat.inst.keys.signing.to_bytes() for seat in world.seats.values()}
    assert len(signing) == 5


# masks


def test_masks_take_every_bit_of_every_lane_and_no_two_lanes_alike(world):
    """A scalar mask (OpenFL) leaves differences of lanes; a mask of 28 bits leaves high bits."""
    plan = world.collect()
    for own in world.taken.values():
        q, z = sections(bytearray(own[0].vector), plan.lanes, 32)
        clear = world.seats[own[0].header.institution].bench.last
        assert len(np.unique(np.diff(q))) == len(q) - 1
        assert np.bitwise_or.reduce(q) == 0xFFFFFFFF
        assert np.bitwise_and.reduce(q) == 0
        assert q[plan.lanes] != 1
        assert z[0] != 1
        assert len(clear) == LANES
    seeds = [c for own in world.taken.values() for c in own[0].header.commitments]
    assert len(set(seeds)) == 5 + 10  # five self seeds and one for each pair


# false shares


def test_a_false_share_names_its_dealer_to_everyone(world):
    world.collect()
    liar, helper = world.colluder, world.honest[0]
    _deal_garbage(world, helper)
    collector = _collector(world)
    reveal = world.show(helper, collector.survivors)
    (complaint,) = reveal.complaints
    assert complaint.dealer == liar
    collector.reveal(_last_reveal(world))
    assert collector.stage is Stage.VOID
    assert collector.reason == f"{liar} dealt a false share to {helper}"


def test_a_helper_that_complains_falsely_frames_nobody(world):
    world.collect()
    collector = _collector(world)
    true = world.help_with(collector.survivors)
    for key in (bytes(32), b"", os.urandom(32)):
        dealer = world.honest[0]
        false = replace(
            true,
            shares=(b"", *true.shares[1:]),
            complaints=(Complaint(dealer=dealer, box_key=key),),
        )
        again = _collector(world)
        again.reveal(world.sign_as(world.colluder, Purpose.REVEAL, false))
        for who in world.honest:
            world.show(who, again.survivors)
            again.reveal(_last_reveal(world, who))
        assert again.stage is Stage.SUMMING  # by the four others


def test_the_operator_frames_nobody_with_boxes_that_their_dealer_did_not_sign(world):
    world.collect()
    listed = world.listing(world.roster)
    helper, dealer = world.honest[0], 1
    true = [world.taken[id][0].boxes[0] for id in world.roster]
    for garbage in (b"", b"\0", os.urandom(len(true[1])), true[2], true[1][:-1], true[1] + b"\0"):
        boxes = [*true[:dealer], garbage, *true[dealer + 1 :]]
        assert world.show(helper, listed, boxes=boxes) is None
    forged = Upload(
        header=header_digest(world.taken[world.roster[1]][0].header),
        boxes=(box_digest(b"x"), b"", *[box_digest(b"x")] * 3),
        keys=(bytes(32), b"", *[bytes(32)] * 3),
    )
    uploads = [world.taken[id][0].signed_upload for id in world.roster]
    uploads[1] = world.sign(Purpose.UPLOAD, forged)
    boxes = [true[0], b"x", *true[2:]]
    assert world.show(helper, listed, uploads=uploads, boxes=boxes) is None
    assert world.show(helper, listed) is not None  # the true parcel is still answered


@pytest.mark.parametrize("silent", [1, 2])
def test_a_withheld_reveal_costs_at_most_the_round(world, silent):
    world.collect()
    listed = world.listing(world.roster)
    reveals = [world.show(who, listed) for who in world.roster[silent:]]
    opened = world.open(listed, reveals)
    assert (opened is not None) == (silent == 1)  # t = 4 of five


def test_a_round_that_loses_one_before_its_upload_still_sums_the_others(tmp_path):
    """There is a way on after a dropout, without a trusted party and without masking again."""
    federation = Federation(tmp_path)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    plan = federation.operator.begin_round(roster)
    federation.order(plan, roster[1:])
    for who in roster[1:]:
        federation.seats[who].work()
    federation.finish(roster[1:])
    assert federation.operator.collector.stage is Stage.CERTIFIED
    check_sum(federation, roster[1:])


# certificates


def test_a_false_sum_told_to_all_moves_all_alike_and_is_what_the_operator_can_do(tmp_path):
    """The documented limit: the sum is the operator's word; the model is nobody's own."""
    federation = _before_certificate(Federation(tmp_path))
    _publish(federation, dict.fromkeys(federation.seats, 1))
    states = {who: _model(federation, who) for who in federation.seats}
    assert len(set(states.values())) == 1
    assert set(states.values()) != {federation.agreement.model.initial_state}


def test_two_groups_told_unlike_sums_never_meet_in_a_round_again(tmp_path):
    federation = _before_certificate(Federation(tmp_path))
    roster = list(federation.seats)
    bodies = _publish(federation, {who: k // 3 for k, who in enumerate(roster)})
    models = {who: _model(federation, who) for who in roster}
    assert len(set(models.values())) == 2
    for told in (0, 1):
        plan = make_plan(
            federation.agreement, epoch=1, round=2, participants=roster,
            previous=certificate_digest(bodies[told]), model=models[roster[told * 4]],
            nonce=bytes(16),
        )  # fmt: skip
        operator = federation.operator
        operator.round, operator.plan = 2, plan

        operator.plans[plan_digest(plan)] = operator.keys.sign(Purpose.PLAN, encode(plan))
        operator.collector = Collector(federation.agreement, plan)
        federation.order(plan, roster)
        for seat in federation.seats.values():
            seat.work()
        operator.collector.expire()
        assert operator.collector.stage is Stage.VOID  # never m = 4 of five


def test_a_certificate_over_survivors_that_one_did_not_answer_moves_nobody(tmp_path):
    federation = _before_certificate(Federation(tmp_path))
    before = {who: _model(federation, who) for who in federation.seats}
    collector = federation.operator.collector
    body, _ = _false_total(federation, 0)
    other = replace(body, survivors=collector.survivors.survivors[:4])
    for who, seat in federation.seats.items():
        _tell(federation, who, other)
        seat.work()
    assert {who: _model(federation, who) for who in federation.seats} == before


# orders of messages


@pytest.mark.parametrize("seed", range(4))
def test_parcels_late_twice_reordered_and_of_dead_rounds_change_no_outcome(tmp_path, seed):
    chance = random.Random(seed)
    federation = Federation(tmp_path, rounds=3, spare=2)
    federation.set_up_keys()
    operator, roster = federation.operator, list(federation.agreement.roster)

    def noise() -> None:
        for who, seat in federation.seats.items():
            old = list(operator.mail[who])
            for delivery in chance.sample(old, min(len(old), 4)):
                other = chance.choice(roster)
                operator.post(other, delivery.kind, list(delivery.messages), delivery.boxes)
                federation.seats[other].deliver(operator.mail[other][-1])
            assert seat.inst.me == who

    for _ in range(3):
        plan = operator.begin_round(roster)
        noise()
        assert federation.order(plan, roster) == {}
        for who in chance.sample(roster, len(roster)):
            federation.seats[who].work()
            noise()
        federation.finish(chance.sample(roster, len(roster)))
        noise()
        check_sum(federation, roster)
    federation.check()
    assert {_model(federation, who) for who in roster} == {state_digest(operator.state)}


# helpers


def _plan(world: Dishonest, who):
    return make_plan(
        world.agreement,
        epoch=1,
        round=1,
        participants=who,
        previous=world.agreement.digest,
        model=world.agreement.model.initial_state,
        nonce=os.urandom(16),
    )


def _believes_in_another_model(world: Dishonest, who) -> Digest:
    """Turn a vault's check of plans off and give it a model of its own."""
    seat = world.seats[who]
    seat.vault.__class__ = Credulous
    state = first_state(np.ones(LANES, np.float32), world.agreement.aggregation)
    return seat.inst.models.save(world.agreement.digest, state)


def _dealt_again(world: Dishonest) -> int:
    """Let the colluder sign a second header; return its version."""
    taken = world.taken[world.colluder]
    header = replace(taken[0].header, root=os.urandom(32))
    upload = replace(decode(Upload, taken[0].signed_upload.body), header=header_digest(header))
    taken.append(
        replace(
            taken[0],
            header=header,
            signed_header=world.sign_as(world.colluder, Purpose.HEADER, header),
            signed_upload=world.sign_as(world.colluder, Purpose.UPLOAD, upload),
        )
    )
    return len(taken) - 1


def _deal_garbage(world: Dishonest, helper) -> None:
    """Let the colluder promise and send a box that holds no share."""
    taken = world.taken[world.colluder][0]
    slot = world.roster.index(helper)
    boxes = list(taken.boxes)
    boxes[slot] = os.urandom(len(boxes[slot]))
    upload = decode(Upload, taken.signed_upload.body)
    promised = list(upload.boxes)
    promised[slot] = box_digest(boxes[slot])
    signed = world.sign_as(world.colluder, Purpose.UPLOAD, replace(upload, boxes=tuple(promised)))
    world.taken[world.colluder][0] = replace(taken, signed_upload=signed, boxes=tuple(boxes))


def _collector(world: Dishonest):

    collector = Collector(world.agreement, world.plan)
    for own in world.taken.values():
        collector.upload(own[0].signed_header, own[0].signed_upload, own[0].boxes)
    assert collector.stage is Stage.REVEALING
    return collector


def _last_reveal(world: Dishonest, who=None) -> Signed:
    return next(
        message
        for sender, kind, message in reversed(world.sent)
        if kind == pb.PARCEL_KIND_REVEAL and who in (None, sender)
    )


def _void(world: Dishonest) -> None:
    """End the present round as void, for all."""
    world.operator.collector.fail("given up")
    world.operator.certify()
    for seat in world.seats.values():
        seat.work()


def _newer_plan_over_an_open_round(world: Dishonest) -> None:
    """Order a round while the last one is still open: the operator certified nothing."""
    plan = world.operator.begin_round(world.roster)
    world.taken = {}
    assert set(world.offer(plan, world.roster).values()) == {"taken"}


def _before_certificate(federation: Federation) -> Federation:
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    plan = federation.operator.begin_round(roster)
    federation.order(plan, roster)
    for seat in federation.seats.values():
        seat.work()
    federation.operator.ask_reveals()
    for seat in federation.seats.values():
        seat.work()
    assert federation.operator.collector.stage is Stage.SUMMING
    return federation


def _false_total(federation: Federation, lane: int):
    """Write a sum of the operator's own: all zero but one lane, with canaries that count."""
    plan = federation.operator.plan
    total = bytearray(len(next(iter(federation.operator.vectors.values()))))
    q, z = sections(total, plan.lanes, 32)
    q[lane] = 1000
    q[plan.lanes :] = 5
    z[:] = 5
    collector = federation.operator.collector
    if collector.stage is Stage.SUMMING:
        collector.summed()
    return collector.certificate(chunks.root(len(total), [chunks.leaf(total)])), bytes(total)


def _tell(federation: Federation, who, body) -> None:
    operator = federation.operator

    signed = operator.keys.sign(Purpose.CERTIFICATE, encode(body))
    plan = operator.plans[plan_digest(operator.plan)]
    operator.post(who, pb.PARCEL_KIND_CERTIFICATE, [signed, plan])


def _publish(federation: Federation, lanes) -> dict:
    """Tell each institution a sum of its own choice; return the bodies by lane."""
    bodies = {}
    for who, lane in lanes.items():
        body, total = _false_total(federation, lane)
        federation.operator.totals[1] = total
        bodies[lane] = body
        _tell(federation, who, body)
        federation.seats[who].work()
    return bodies


def _model(federation: Federation, who) -> Digest:
    return federation.seats[who].inst.progress.get(federation.agreement.digest).model
