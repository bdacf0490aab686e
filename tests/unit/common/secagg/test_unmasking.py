"""The operator unmasks a sum from any t true reveals, whatever else it was sent."""

import random
import time
from collections import defaultdict
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from tests.simulation.federation import World
from tests.simulation.storedrounds import deals_a_false_share

from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest, expand
from comity_common.crypto.seal import close_box, open_box
from comity_common.crypto.shamir import combine
from comity_common.crypto.sign import Purpose, Signed
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg import reasons
from comity_common.secagg.collector import Collector
from comity_common.secagg.masking import commitment, pair_seed, sections
from comity_common.secagg.messages import Complaint, Decline, Reveal, Survivors
from comity_common.secagg.participant import header_digest, upload_digest
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage
from comity_common.secagg.unmasking import Residue, check_canaries, residue


def collected(world: World, dropped: tuple[int, ...] = ()) -> Collector:
    """A round up to its survivor list."""
    plan = world.plan()
    collector = Collector(world.agreement, plan)
    for k, who in enumerate(plan.participants):
        world.deal(plan, who, random.Random(k))
        if k not in dropped:
            collector.upload(*world.signed[who], world.dealt[who].boxes)
    if dropped:
        collector.expire()
    assert collector.stage is Stage.REVEALING
    return collector


def reveal_of(world: World, collector: Collector, who: InstitutionId) -> Reveal:
    return decode(Reveal, world.reveal(collector.plan, who, collector.survivors).body)


def signed(world: World, reveal: Reveal) -> Signed:
    return world.keys[reveal.institution].sign(Purpose.REVEAL, encode(reveal))


def spoiled(reveal: Reveal) -> Reveal:
    """The same reveal with one bit of one share turned."""
    first = reveal.shares[0]
    return replace(reveal, shares=(bytes([first[0] ^ 1]) + first[1:], *reveal.shares[1:]))


def assert_right(world: World, collector: Collector) -> None:
    total, canaries = world.total(collector)
    listed = collector.survivors.survivors
    assert np.array_equal(total, sum(world.clear[who] for who in listed))
    assert np.all(canaries == len(listed))


@pytest.fixture(scope="module")
def five():
    return World.of(5)


@pytest.mark.slow
def test_liars_who_come_first_do_not_hold_the_operator_up():
    """Hundreds of choices hold a false share; each is tried over all dealers at once."""
    world = World.of(20, collusion=5)
    collector = collected(world)
    listed, threshold = collector.survivors.survivors, collector.plan.threshold
    for k, who in enumerate(listed[: threshold + 4]):
        reveal = reveal_of(world, collector, who)
        if k < 5:  # the last dealer's share is false, so all before it fit
            reveal = replace(reveal, shares=(*reveal.shares[:-1], bytes(len(reveal.shares[-1]))))
        began = time.process_time()
        collector.reveal(signed(world, reveal))
        assert time.process_time() - began < 1.5
    assert collector.stage is Stage.REVEALING


@pytest.mark.parametrize("dropped", [(), (0,), (2,), (4,)])
def test_any_t_reveals_give_the_same_residue(five, dropped):
    collector = collected(five, dropped)
    listed = collector.survivors.survivors
    reveals = {who: reveal_of(five, collector, who) for who in listed}
    headers = {who: collector.uploads[who].header for who in listed}
    named = bytes.fromhex(plan_digest(collector.plan))
    found = {
        residue(collector.plan, named, listed, headers, {who: reveals[who] for who in chosen})
        for chosen in combinations(listed, collector.plan.threshold)
    }
    (only,) = found
    assert len(only.self_seeds) == len(listed)
    assert len(only.added_pairs) + len(only.subtracted_pairs) == len(listed) * len(dropped)


def test_fewer_than_t_reveals_give_nothing(five):
    collector = collected(five)
    listed = collector.survivors.survivors
    reveals = {who: reveal_of(five, collector, who) for who in listed[:3]}
    headers = {who: collector.uploads[who].header for who in listed}
    with pytest.raises(PeerError):
        residue(
            collector.plan, bytes.fromhex(plan_digest(collector.plan)), listed, headers, reveals
        )


@pytest.mark.parametrize("liar", range(5))
def test_one_false_reveal_is_left_out_when_t_others_are_true(five, liar):
    collector = collected(five)
    for k, who in enumerate(collector.survivors.survivors):
        reveal = reveal_of(five, collector, who)
        collector.reveal(signed(five, spoiled(reveal) if k == liar else reveal))
    assert collector.stage is Stage.SUMMING
    assert_right(five, collector)


@pytest.mark.parametrize(
    ("n", "c", "liars"),
    [
        (10, 2, (0, 1)),
        (10, 2, (8, 9)),
        (10, 2, (2, 7)),
        pytest.param(
            *(13, 3, (0, 1, 2)),
        ),
    ],
    ids=str,
)
def test_c_liars_do_not_void_a_round_in_which_t_others_are_true(n, c, liars):
    """All answer, c of them falsely, whatever their names; n − c ≥ t."""
    world = World.of(n, collusion=c)
    collector = collected(world)
    for k, who in enumerate(collector.survivors.survivors):
        reveal = reveal_of(world, collector, who)
        collector.reveal(signed(world, spoiled(reveal) if k in liars else reveal))
    assert collector.stage is Stage.SUMMING
    assert_right(world, collector)


def test_answers_to_different_lists_add_up_share_by_share():
    """The adversary of `test_thresholds` is real: no list here is answered by t institutions.

    Seven honest ones see lists in which 4, 5 and 6 are missing by turns, 0 answers two of them, 7
    gives its shares away. Each needed seed is known from five reveals and from 7; the sum of 0 to 3
    comes out. That is as small as a sum can get; t and m are chosen so that it is never below 3.
    """
    world = World.of(8)
    plan = world.plan()
    roster = plan.participants
    for k, who in enumerate(roster):
        world.deal(plan, who, random.Random(k))
    known: dict[tuple[int, int], dict[int, bytes]] = defaultdict(dict)  # by dealer and slot
    for helper, lists in EIGHT.items():
        for missing in lists:
            listed = [k for k in range(8) if k not in missing]
            survivors = Survivors(
                plan=plan_digest(plan),
                survivors=tuple(roster[k] for k in listed),
                headers=tuple(header_digest(world.dealt[roster[k]].header) for k in listed),
                uploads=tuple(upload_digest(world.dealt[roster[k]].upload) for k in listed),
            )
            reveal = decode(Reveal, world.reveal(plan, roster[helper], survivors).body)
            for dealer, shares in zip(listed, reveal.shares, strict=True):
                for place, slot in enumerate((dealer, *sorted(missing))):
                    known[dealer, slot][helper] = shares[32 * place :][:32]
    named = bytes.fromhex(plan_digest(plan))
    self_seeds, pairs = [], []
    for k in range(4):
        header = world.dealt[roster[k]].header
        name = bytes.fromhex(header_digest(header))
        key = expand(world.dealt[roster[7]].held.box_roots[k], "box", name)
        given = open_box(key, world.dealt[roster[k]].boxes[7], name)
        for slot in (k, 4, 5, 6):
            shares = known[k, slot] | {7: given[32 * slot :][:32]}
            seed = combine(dict(list(shares.items())[-plan.threshold :]))
            assert commitment(named, seed) == header.commitments[slot]
            (self_seeds if slot == k else pairs).append(seed)
        shared = world.chains[roster[7]][roster[k]].turn_to(plan.round).round_key(named)
        pairs.append(pair_seed(shared, roster[7], roster[k]))
    total = sum(sections(world.dealt[roster[k]].vector, plan.lanes, 32)[0] for k in range(4))
    residue_of_four = Residue(
        self_seeds=tuple(self_seeds), added_pairs=tuple(pairs), subtracted_pairs=()
    )
    residue_of_four.masks("q").apply(total)
    assert np.array_equal(
        total[: plan.lanes].view(np.int32), sum(world.clear[roster[k]] for k in range(4))
    )
    assert total[plan.lanes :].tolist() == [4] * 4


EIGHT = {  # the lists of `test_thresholds.EIGHT`: who is missing, by who answers
    0: [{4, 5}, {4, 6}],
    1: [{4, 5}],
    2: [{4, 6}],
    3: [{5, 6}],
    4: [{5, 6}],
    5: [{4, 6}],
    6: [{4, 5}],
}


def test_a_false_complaint_spoils_nothing(five):
    collector = collected(five)
    listed = collector.survivors.survivors
    for k, who in enumerate(listed):
        reveal = reveal_of(five, collector, who)
        if k == 0:
            complaints = tuple(Complaint(dealer=dealer, box_key=bytes(32)) for dealer in listed[1:])
            reveal = replace(reveal, shares=(b"",) * 5, complaints=complaints)
        collector.reveal(signed(five, reveal))
    assert collector.stage is Stage.SUMMING
    assert_right(five, collector)


def deals_behind_a_false_key_digest(world: World, *helpers: str, false: bool = False) -> Collector:
    """A round in which inst-01 signs for other box keys than those that it and the helpers have.

    Args:
        helpers: whose box keys these are.
        false: whether their boxes hold other shares than those that were promised.
    """
    plan = world.plan()
    for k, who in enumerate(plan.participants):
        world.deal(plan, who, random.Random(k))
    deals_a_false_share("inst-01", *(helpers if false else ()))(world, plan)
    dealt = world.dealt["inst-01"]
    keys = tuple(
        digest("box-key", b"another") if who in helpers else key
        for who, key in zip(plan.participants, dealt.upload.keys, strict=True)
    )
    upload = replace(dealt.upload, keys=keys)
    signed_upload = world.keys["inst-01"].sign(Purpose.UPLOAD, encode(upload))
    world.signed["inst-01"] = (world.signed["inst-01"][0], signed_upload)
    collector = Collector(world.agreement, plan)
    for who in plan.participants:
        collector.upload(*world.signed[who], world.dealt[who].boxes)
    return collector


def test_a_false_key_digest_before_a_true_share_harms_nothing(five):
    collector = deals_behind_a_false_key_digest(five, "inst-00", "inst-02", "inst-03", "inst-04")
    for who in collector.survivors.survivors[:4]:
        reveal = reveal_of(five, collector, who)
        assert reveal.complaints == ()
        collector.reveal(signed(five, reveal))
    assert collector.stage is Stage.SUMMING
    assert_right(five, collector)


def test_a_false_share_behind_a_false_key_digest_is_got_past_with_t_others(five):
    collector = deals_behind_a_false_key_digest(five, "inst-03", false=True)
    for who in reversed(collector.survivors.survivors):
        collector.reveal(signed(five, reveal_of(five, collector, who)))
    assert [c.dealer for c in collector.reveals["inst-03"].complaints] == ["inst-01"]
    assert collector.stage is Stage.SUMMING
    assert_right(five, collector)


def test_false_shares_behind_false_key_digests_name_their_dealer_and_who_complained(five):
    """Neither can prove which key is right, so the void round says who says what of whom."""
    collector = deals_behind_a_false_key_digest(five, "inst-03", "inst-04", false=True)
    for who in collector.survivors.survivors:
        collector.reveal(signed(five, reveal_of(five, collector, who)))
    assert collector.stage is Stage.VOID
    assert collector.reason == (
        "the reveals do not fit the commitments of inst-01; "
        "complaints without proof: inst-03, inst-04 about inst-01"
    )


def test_shares_that_fit_their_digests_and_not_the_commitments_name_their_dealer(five):
    """Every helper is content with its share; only together do they open other seeds."""
    plan = five.plan()
    for k, who in enumerate(plan.participants):
        five.deal(plan, who, random.Random(k))
    dealer, dealt = plan.participants[2], five.dealt[plan.participants[2]]
    header = replace(dealt.header, commitments=(*dealt.header.commitments[:2], bytes(32),
                                                *dealt.header.commitments[3:]))  # fmt: skip
    named = bytes.fromhex(plan_digest(plan))
    keys = {
        peer: chain.turn_to(plan.round).round_key(named)
        for peer, chain in five.chains[dealer].items()
    }
    name = header_digest(header)
    boxes, promised = [], []
    for k, peer in enumerate(plan.participants):
        old = bytes.fromhex(header_digest(dealt.header))
        if peer == dealer:
            boxes.append(b"")
            promised.append(b"")
            continue
        root = expand(keys[peer], "box-root", dealer.encode(), peer.encode())
        share = open_box(expand(root, "box", old), dealt.boxes[k], old)
        key = expand(root, "box", bytes.fromhex(name))
        boxes.append(close_box(key, share, bytes.fromhex(name)))
        promised.append(digest("box-key", key))
    upload = replace(
        dealt.upload,
        header=name,
        boxes=tuple(digest("box", box) if box else b"" for box in boxes),
        keys=tuple(promised),
    )
    five.dealt[dealer] = replace(
        dealt,
        header=header,
        boxes=tuple(boxes),
        upload=upload,
        held=replace(dealt.held, header=name),
    )
    five.signed[dealer] = (
        five.keys[dealer].sign(Purpose.HEADER, encode(header)),
        five.keys[dealer].sign(Purpose.UPLOAD, encode(upload)),
    )
    collector = Collector(five.agreement, plan)
    for who in plan.participants:
        collector.upload(*five.signed[who], five.dealt[who].boxes)
    for who in plan.participants:
        reveal = reveal_of(five, collector, who)
        assert reveal.complaints == ()
        collector.reveal(signed(five, reveal))
    assert collector.stage is Stage.VOID
    assert collector.reason == f"the reveals do not fit the commitments of {dealer}"


def test_helpers_who_lie_about_unlike_dealers_do_not_add_up(five):
    """Each dealer is opened by the four who tell the truth about it."""
    collector = collected(five)
    listed = collector.survivors.survivors
    for k, who in enumerate(listed):
        reveal = reveal_of(five, collector, who)
        shares = tuple(b"" if j == (k + 1) % 5 else share for j, share in enumerate(reveal.shares))
        collector.reveal(signed(five, replace(reveal, shares=shares)))
    assert collector.stage is Stage.SUMMING
    assert_right(five, collector)


def test_where_all_reveals_are_needed_one_false_complaint_voids_and_frames_nobody():
    """n = t = 4: the reason repeats who says what, and calls it unproven."""
    world = World.of(4)
    collector = collected(world)
    for k, who in enumerate(collector.survivors.survivors):
        reveal = reveal_of(world, collector, who)
        if k == 3:
            reveal = replace(
                reveal,
                shares=(b"", *reveal.shares[1:]),
                complaints=(Complaint(dealer=InstitutionId("inst-00"), box_key=bytes(32)),),
            )
        collector.reveal(signed(world, reveal))
    assert collector.stage is Stage.VOID
    assert "dealt a false share" not in collector.reason
    assert collector.reason == (
        "the reveals do not fit the commitments of inst-00; "
        "complaints without proof: inst-03 about inst-00"
    )


def test_a_reason_names_a_few_of_many():
    ids = [InstitutionId(f"inst-{k:03}") for k in range(255)]
    told = reasons.false_reveals(ids, [(dealer, helper) for dealer in ids for helper in ids])
    assert len(told) < 2000
    assert told.startswith("the reveals do not fit the commitments of inst-000, ")
    assert "and 247 more" in told


SHAPES = {
    "no shares": lambda r: replace(r, shares=()),
    "a share too few": lambda r: replace(r, shares=r.shares[:-1]),
    "a share too many": lambda r: replace(r, shares=(*r.shares, b"")),
    "another list": lambda r: replace(r, survivors=Digest("0" * 64)),
    "a complaint about a stranger": lambda r: replace(
        r, complaints=(Complaint(dealer=InstitutionId("stranger"), box_key=b""),)
    ),
    "a complaint about itself": lambda r: replace(
        r, complaints=(Complaint(dealer=r.institution, box_key=b""),)
    ),
    "two complaints about one": lambda r: replace(
        r, complaints=(Complaint(dealer=InstitutionId("inst-00"), box_key=b""),) * 2
    ),
}


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES)
def test_a_reveal_of_a_wrong_shape_is_refused_and_changes_nothing(five, change):
    collector = collected(five)
    who = collector.survivors.survivors[1]
    hostile = signed(five, change(reveal_of(five, collector, who)))
    with pytest.raises(PeerError):
        collector.reveal(hostile)
    assert collector.reveals == {}


@pytest.mark.parametrize("share", [b"", bytes(31), bytes(33), bytes(64), bytes(1 << 16)], ids=len)
def test_shares_of_hostile_lengths_are_left_out(five, share):
    collector = collected(five)
    listed = collector.survivors.survivors
    hostile = reveal_of(five, collector, listed[2])
    collector.reveal(signed(five, replace(hostile, shares=(*hostile.shares[:4], share))))
    for who in (*listed[:2], *listed[3:]):
        collector.reveal(signed(five, reveal_of(five, collector, who)))
    assert collector.stage is Stage.SUMMING
    assert_right(five, collector)


def test_forged_reveals_are_refused(five):
    collector = collected(five, dropped=(4,))
    a, b = collector.survivors.survivors[:2]
    reveal = reveal_of(five, collector, a)
    outsider = collector.plan.participants[4]
    for hostile in (
        five.keys[b].sign(Purpose.REVEAL, encode(reveal)),
        five.operator.sign(Purpose.REVEAL, encode(reveal)),
        five.keys[a].sign(Purpose.HEADER, encode(reveal)),
        five.keys[a].sign(Purpose.REVEAL, encode(reveal) + b" "),
        five.keys[a].sign(Purpose.REVEAL, b"\xff"),
        five.keys[outsider].sign(Purpose.REVEAL, encode(replace(reveal, institution=outsider))),
        five.keys[a].sign(
            Purpose.REVEAL, encode(replace(reveal, institution=InstitutionId("stranger")))
        ),
    ):
        with pytest.raises(PeerError):
            collector.reveal(hostile)
    assert collector.reveals == {}


def test_a_second_different_reveal_is_refused_and_the_same_again_changes_nothing(five):
    collector = collected(five)
    who = collector.survivors.survivors[0]
    reveal = reveal_of(five, collector, who)
    collector.reveal(signed(five, reveal))
    collector.reveal(signed(five, reveal))
    with pytest.raises(PeerError):
        collector.reveal(signed(five, spoiled(reveal)))
    assert collector.reveals == {who: reveal}


def test_uploads_that_do_not_hang_together_are_refused(five):
    plan = five.plan()
    collector = Collector(five.agreement, plan)
    a, b = plan.participants[:2]
    for who in (a, b):
        five.deal(plan, who, random.Random(1))
    header, upload = five.signed[a]
    boxes = five.dealt[a].boxes
    keys, body = five.keys[a], five.dealt[a].upload

    def sign(**change: object) -> Signed:
        return keys.sign(Purpose.UPLOAD, encode(replace(body, **change)))

    for hostile in (
        (header, upload, boxes[:-1]),
        (header, upload, (*boxes, b"")),
        (header, upload, (boxes[0], boxes[2], boxes[1], *boxes[3:])),
        (header, upload, five.dealt[b].boxes),
        (header, five.signed[b][1], boxes),
        (header, header, boxes),
        (five.signed[b][0], upload, boxes),
        (upload, upload, boxes),
        (header, five.keys[b].sign(Purpose.UPLOAD, encode(body)), boxes),
        (header, sign(header=Digest("0" * 64)), boxes),
        (header, sign(keys=body.keys[:-1]), boxes),
        (header, sign(keys=()), boxes),
        (header, sign(boxes=body.boxes[:-1]), boxes[:-1]),
        (header, sign(boxes=()), ()),
        (header, sign(keys=(*body.keys[:4], b"")), boxes),
        (header, sign(keys=(*body.keys[:4], body.keys[4] + b"\0")), boxes),
        (header, sign(keys=(bytes(32), *body.keys[1:])), boxes),
        (header, sign(boxes=(*body.boxes[:4], b""), keys=(*body.keys[:4], b"")), (*boxes[:4], b"")),
    ):
        with pytest.raises(PeerError):
            collector.upload(*hostile)
        assert collector.uploads == {}
    collector.upload(header, upload, boxes)
    assert list(collector.uploads) == [a]


def test_a_pair_that_disagrees_is_named_before_anything_is_revealed(five):
    plan = five.plan()
    collector = Collector(five.agreement, plan)
    for who in plan.participants:
        five.deal(plan, who, random.Random(1))
    liar = plan.participants[3]
    dealt = five.dealt[liar]
    changed = replace(dealt.header, commitments=(*dealt.header.commitments[:4], bytes(32)))
    boxes = dealt.boxes
    upload = replace(dealt.upload, header=header_digest(changed))
    five.signed[liar] = (
        five.keys[liar].sign(Purpose.HEADER, encode(changed)),
        five.keys[liar].sign(Purpose.UPLOAD, encode(upload)),
    )
    for who in plan.participants:
        collector.upload(*five.signed[who], boxes if who == liar else five.dealt[who].boxes)
    assert collector.stage is Stage.VOID
    assert collector.survivors is None
    assert collector.reason == "the seeds of inst-03 and inst-04 differ"


def test_declines_are_signed_by_participants_of_this_plan(five):
    plan = five.plan()
    collector = Collector(five.agreement, plan)
    who = plan.participants[0]
    message = Decline(
        agreement=plan.agreement,
        round=plan.round,
        plan=plan_digest(plan),
        institution=who,
        code=RefusalCode.BUDGET,
    )
    for hostile in (
        five.keys[plan.participants[1]].sign(Purpose.DECLINE, encode(message)),
        five.keys[who].sign(Purpose.HEADER, encode(message)),
        five.keys[who].sign(Purpose.DECLINE, encode(replace(message, plan=Digest("0" * 64)))),
        five.keys[who].sign(
            Purpose.DECLINE, encode(replace(message, institution=InstitutionId("stranger")))
        ),
    ):
        with pytest.raises(PeerError):
            collector.decline(hostile)
    assert collector.declined == {}
    collector.decline(five.keys[who].sign(Purpose.DECLINE, encode(message)))
    assert collector.declined == {who: RefusalCode.BUDGET}


def test_late_uploads_do_not_enter_a_closed_list(five):
    collector = collected(five, dropped=(1,))
    late = collector.plan.participants[1]
    with pytest.raises(PeerError):
        collector.upload(*five.signed[late], five.dealt[late].boxes)
    assert late not in collector.uploads


@pytest.mark.parametrize(
    ("q", "z", "right"),
    [
        ((4, 4, 4, 4), (4,), True),
        ((4, 4, 4, 5), (4,), False),
        ((4, 4, 4, 4), (5,), False),
        ((4, 4, 4), (4,), False),
        ((4, 4, 4, 4, 4), (4,), False),
        ((3, 3, 3, 3), (3,), False),
    ],
)
def test_every_canary_counts(q, z, right):
    lanes = np.array(q, np.uint32), np.array(z, np.uint64)
    if right:
        check_canaries(*lanes, survivors=4)
    else:
        with pytest.raises(PeerError):
            check_canaries(*lanes, survivors=4)


def test_a_survivor_who_masked_with_another_seed_than_it_dealt_is_caught_by_the_canaries(five):
    collector = collected(five, dropped=(2,))
    liar = collector.survivors.survivors[0]
    vector = five.dealt[liar].vector
    for at in range(0, len(vector), 4):
        vector[at] ^= 0x80
    for who in collector.survivors.survivors:
        collector.reveal(signed(five, reveal_of(five, collector, who)))
    _, canaries = five.total(collector)
    with pytest.raises(PeerError):
        check_canaries(canaries[:4].astype(np.uint32), canaries[4:], survivors=4)
    assert digest("chunk", bytes(vector)) != five.dealt[liar].leaves[0]
