"""What an institution deals, which lists it answers, and what it takes for the end of a round."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from tests.simulation.federation import World
from tests.simulation.wholevector import deal

from comity_common import chunks
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest, expand
from comity_common.crypto.seal import close_box, open_box
from comity_common.crypto.shamir import combine
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import ComityError, PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.masking import commitment, sections, vector_bytes
from comity_common.secagg.messages import (
    CertificateBody,
    Complaint,
    Endorsement,
    Header,
    Plan,
    Reveal,
    Survivors,
    Upload,
)
from comity_common.secagg.participant import (
    answer,
    certificate_digest,
    check_certificate,
    endorsed_model,
    header_digest,
    is_justified,
    list_digest,
    read_header,
    upload_digest,
)
from comity_common.secagg.plan import make_plan, plan_digest
from comity_common.secagg.unmasking import Residue

SEED = 32


@dataclass
class Round:
    """One round in which everybody has dealt; the operator may ask for anything."""

    world: World
    plan: Plan

    @classmethod
    def of(cls, world: World, seed: int = 1, round: int = 1) -> "Round":
        plan = world.plan(round)
        for who in plan.participants:
            world.deal(plan, who, random.Random(seed))
        return cls(world, plan)

    @property
    def roster(self) -> tuple[InstitutionId, ...]:
        return self.plan.participants

    def header(self, who: InstitutionId) -> Header:
        return self.world.dealt[who].header

    def listing(self, listed: Sequence[InstitutionId]) -> Survivors:
        """A survivor list over the headers that were really dealt."""
        return Survivors(
            plan=plan_digest(self.plan),
            survivors=tuple(listed),
            headers=tuple(
                header_digest(self.header(who)) if who in self.world.dealt else Digest("0" * 64)
                for who in listed
            ),
            uploads=tuple(
                upload_digest(self.world.dealt[who].upload)
                if who in self.world.dealt
                else Digest("0" * 64)
                for who in listed
            ),
        )

    def headers(self, listed: Sequence[InstitutionId]) -> list[Signed]:
        return [self.world.signed[who][0] for who in listed if who in self.world.signed]

    def boxes(self, helper: InstitutionId, listed: Sequence[InstitutionId]) -> list[bytes]:
        slot = self.roster.index(helper)
        return [self.world.dealt[who].boxes[slot] for who in listed if who in self.world.dealt]

    def ask(
        self,
        who: InstitutionId,
        listed: Sequence[InstitutionId] | None = None,
        *,
        survivors: Survivors | None = None,
        headers: list[Signed] | None = None,
        uploads: list[Signed] | None = None,
        boxes: list[bytes] | None = None,
    ) -> Reveal:
        """Show an institution a list; what is not given is what an honest operator would show."""
        listed = self.roster if listed is None else listed
        return answer(
            self.world.agreement,
            self.plan,
            who,
            self.world.dealt[who].held,
            self.listing(listed) if survivors is None else survivors,
            self.headers(listed) if headers is None else headers,
            [self.world.signed[party][1] for party in listed if party in self.world.signed]
            if uploads is None
            else uploads,
            self.boxes(who, listed) if boxes is None else boxes,
        )

    def share(self, dealer: InstitutionId, helper: InstitutionId) -> bytes:
        """The whole share that a dealer dealt to a helper, which only these two know."""
        if dealer == helper:
            return self.world.dealt[dealer].held.own_share
        helper_held = self.world.dealt[helper].held
        name = bytes.fromhex(header_digest(self.header(dealer)))
        key = expand(helper_held.box_roots[self.roster.index(dealer)], "box", name)
        return open_box(key, self.world.dealt[dealer].boxes[self.roster.index(helper)], name)

    def sign_header(self, header: Header, purpose: Purpose = Purpose.HEADER) -> Signed:
        return self.world.keys[header.institution].sign(purpose, encode(header))


@pytest.fixture(scope="module")
def round5():
    """n = 5, c = 1, t = m = 4."""
    return Round.of(World.of(5))


# What is dealt


def test_a_deal_is_what_its_header_says(round5):
    plan = round5.plan
    for who in round5.roster:
        dealt = round5.world.dealt[who]
        assert len(dealt.vector) == dealt.header.size == vector_bytes(plan.lanes, 32)
        chunks.check_leaves(dealt.header.size, dealt.leaves, dealt.header.root)
        assert dealt.upload.header == dealt.held.header == header_digest(dealt.header)
        me = round5.roster.index(who)
        assert dealt.boxes[me] == dealt.upload.boxes[me] == dealt.upload.keys[me] == b""
        assert dealt.held.box_roots[me] == b""
        for k, box in enumerate(dealt.boxes):
            if k != me:
                assert dealt.upload.boxes[k] == digest("box", box)
                assert round5.header(who).shares[k] == digest(
                    "share", round5.share(who, round5.roster[k])
                )


def test_any_t_shares_of_a_dealer_hold_its_self_seed_and_its_pair_seeds(round5):
    named = bytes.fromhex(plan_digest(round5.plan))
    seeds = {}
    for dealer in round5.roster:
        shares = {k: round5.share(dealer, helper) for k, helper in enumerate(round5.roster)}
        for left_out in range(5):
            chosen = {k: share for k, share in shares.items() if k != left_out}
            secret = combine(chosen)
            slots = [secret[at : at + SEED] for at in range(0, len(secret), SEED)]
            assert [commitment(named, slot) for slot in slots] == list(
                round5.header(dealer).commitments
            )
        for k, peer in enumerate(round5.roster):
            seeds[dealer, peer] = slots[k]
    for a in round5.roster:
        for b in round5.roster:
            assert seeds[a, b] == seeds[b, a]
    assert len(set(seeds.values())) == 5 + 10


def test_two_deals_of_one_vector_share_no_seed_of_their_own_no_box_key_and_no_byte_run(round5):
    world = World(
        round5.world.agreement, round5.world.operator, round5.world.keys, round5.world.chains
    )
    who = round5.roster[0]
    dealt = []
    for _ in range(2):
        world.deal(round5.plan, who, random.Random(7))
        dealt.append(world.dealt[who])
    one, other = dealt
    assert header_digest(one.header) != header_digest(other.header)
    assert one.header.commitments[0] != other.header.commitments[0]
    assert one.header.commitments[1:] == other.header.commitments[1:]
    for kind in ("boxes", "keys"):
        a, b = getattr(one.upload, kind), getattr(other.upload, kind)
        assert not set(a[1:]) & set(b)
    a, b = (np.frombuffer(deal.vector, np.uint8) for deal in dealt)
    assert np.count_nonzero(a == b) < 12  # of 224


def test_a_vector_of_another_length_is_refused(round5):
    keys = {peer: bytes(32) for peer in round5.roster[1:]}
    for lanes in (0, round5.plan.lanes - 1, round5.plan.lanes + 1):
        with pytest.raises(ComityError):
            deal(round5.plan, round5.roster[0], keys, np.zeros(lanes, np.uint32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint64, np.uint8])
def test_a_vector_of_another_dtype_is_refused(round5, dtype):
    """A delta that was never quantised would be summed as zeros and nobody would notice."""
    keys = {peer: bytes(32) for peer in round5.roster[1:]}
    with pytest.raises(ComityError):
        deal(round5.plan, round5.roster[0], keys, np.full(50, 0.25).astype(dtype))


def test_nothing_that_is_kept_shows_a_key(round5):
    dealt = round5.world.dealt[round5.roster[0]]
    assert repr(dealt) == f"Whole({len(dealt.vector)} bytes)"
    assert repr(dealt.held) == "Held(5 boxes)"
    residue = Residue(self_seeds=(b"s" * 32,), added_pairs=(b"p" * 32,), subtracted_pairs=())
    assert "sss" not in repr(residue)
    assert "ppp" not in repr(residue)


# Which lists are answered


LISTS = [(0, 1, 2, 3, 4), (0, 1, 2, 3), (0, 2, 3, 4), (1, 2, 3, 4), (0, 1, 2, 4), (0, 1, 3, 4)]


@pytest.mark.parametrize("chosen", LISTS)
def test_a_reveal_holds_exactly_the_shares_of_self_seeds_of_s_and_pair_seeds_with_the_rest(
    round5, chosen
):
    listed = [round5.roster[k] for k in chosen]
    dropped = [k for k in range(5) if k not in chosen]
    for helper in listed:
        reveal = round5.ask(helper, listed)
        assert reveal.survivors == list_digest(round5.listing(listed))
        assert reveal.institution == helper
        assert reveal.complaints == ()
        for dealer, shown in zip(listed, reveal.shares, strict=True):
            whole = round5.share(dealer, helper)
            slots = [whole[at : at + SEED] for at in range(0, len(whole), SEED)]
            own = round5.roster.index(dealer)
            assert shown == b"".join(slots[k] for k in (own, *dropped))
            for k in set(range(5)) - {own, *dropped}:
                assert slots[k] not in shown


@pytest.mark.parametrize("chosen", LISTS)
def test_a_reveal_never_holds_both_kinds_of_share_for_one_peer(round5, chosen):
    """For any peer p: shares of p's self seed, or of a seed between p and a survivor, not both."""
    listed = [round5.roster[k] for k in chosen]
    helper = listed[0]
    shown = b"".join(round5.ask(helper, listed).shares)
    slots = {}
    for dealer in round5.roster:
        whole = round5.share(dealer, helper)
        for k, peer in enumerate(round5.roster):
            slots[dealer, peer] = whole[SEED * k :][:SEED]
    for peer in round5.roster:
        self_share = slots[peer, peer] in shown
        pair_shares = [
            other
            for other in round5.roster
            if other != peer and (slots[peer, other] in shown or slots[other, peer] in shown)
        ]
        assert self_share == (peer in listed)
        if self_share:
            assert set(pair_shares) == set(round5.roster) - set(listed)
        else:
            assert set(pair_shares) == set(listed)


def test_the_same_question_gets_the_same_answer(round5):
    assert round5.ask(round5.roster[0]) == round5.ask(round5.roster[0])


def test_a_list_is_named_by_plan_survivors_every_header_and_every_upload_message(round5):
    full = round5.listing(round5.roster)
    names = {
        list_digest(survivors)
        for survivors in (
            full,
            round5.listing(round5.roster[:4]),
            round5.listing(round5.roster[1:]),
            replace(full, plan=Digest("0" * 64)),
            *(
                replace(full, headers=(*full.headers[:k], Digest("0" * 64), *full.headers[k + 1 :]))
                for k in range(5)
            ),
            *(
                replace(full, uploads=(*full.uploads[:k], Digest("0" * 64), *full.uploads[k + 1 :]))
                for k in range(5)
            ),
        )
    }
    assert len(names) == 14


A, B, C, D, E = (InstitutionId(f"inst-{k:02d}") for k in range(5))


@pytest.mark.parametrize(
    "listed",
    [
        (),
        (A,),
        (A, B, C),  # below m
        (B, C, D, E),  # without me
        (A, B, C, E, D),  # out of order
        (E, D, C, B, A),
        (A, A, B, C, D),  # one twice
        (A, A, A, A),
        (A, B, C, D, D),
        (A, B, C, InstitutionId("stranger")),
        (A, B, C, D, E, InstitutionId("stranger")),
        (A, B, C, InstitutionId("operator")),
        (A, B, C, InstitutionId("")),
    ],
    ids=lambda listed: "-".join(listed) or "nobody",
)
def test_a_list_too_short_doubled_unordered_or_with_strangers_is_refused(round5, listed):
    headers = [round5.world.signed.get(who, round5.world.signed[A])[0] for who in listed]
    boxes = [b""] * len(listed)
    with pytest.raises(PeerError):
        round5.ask(A, survivors=round5.listing(listed), headers=headers, boxes=boxes)


def test_a_list_of_another_plan_is_refused(round5):
    for plan in (Digest("0" * 64), Digest(""), plan_digest(round5.world.plan())):
        with pytest.raises(PeerError):
            round5.ask(A, survivors=replace(round5.listing(round5.roster), plan=plan))


def test_every_list_of_a_wrong_length_is_refused(round5):
    full, headers = round5.listing(round5.roster), round5.headers(round5.roster)
    boxes = round5.boxes(A, round5.roster)
    for hostile in (
        {"headers": headers[:4]},
        {"headers": [*headers, headers[0]]},
        {"headers": []},
        {"boxes": boxes[:4]},
        {"boxes": [*boxes, b""]},
        {"boxes": []},
        {"survivors": replace(full, headers=full.headers[:4])},
        {"survivors": replace(full, headers=(*full.headers, full.headers[0]))},
        {"survivors": replace(full, headers=())},
        {"survivors": replace(full, uploads=full.uploads[:4])},
        {"survivors": replace(full, uploads=(*full.uploads, full.uploads[0]))},
        {"survivors": replace(full, uploads=())},
    ):
        with pytest.raises(PeerError):
            round5.ask(A, **hostile)


def test_a_list_without_my_own_stored_header_is_refused(round5):
    """My signature under another header means that a copy of me is running: nothing is said."""
    world = World(
        round5.world.agreement,
        round5.world.operator,
        round5.world.keys,
        round5.world.chains,
        dict(round5.world.dealt),
        {},
        dict(round5.world.signed),
    )
    world.deal(round5.plan, A, random.Random(9))  # the copy deals under the same keys
    other = Round(world, round5.plan)
    with pytest.raises(PeerError, match="my own header"):
        round5.ask(A, survivors=other.listing(other.roster), headers=other.headers(other.roster))


def test_headers_swapped_replayed_forged_or_changed_are_refused(round5):
    full, headers = round5.listing(round5.roster), round5.headers(round5.roster)
    theirs = round5.header(B)
    older = Round.of(World(
        round5.world.agreement, round5.world.operator, round5.world.keys, round5.world.chains
    ))  # fmt: skip
    impostor = SigningKeys.generate().sign(Purpose.HEADER, encode(theirs))
    for name, hostile in {
        "another's header": headers[2],
        "my header": headers[0],
        "a header of another plan": older.world.signed[B][0],
        "signed by another institution": round5.world.keys[C].sign(Purpose.HEADER, encode(theirs)),
        "signed by the operator": round5.world.operator.sign(Purpose.HEADER, encode(theirs)),
        "signed by nobody": impostor,
        "signed for another purpose": round5.sign_header(theirs, Purpose.UPLOAD),
        "in another's name": round5.world.keys[B].sign(
            Purpose.HEADER, encode(replace(theirs, institution=C))
        ),
        "in a stranger's name": round5.world.keys[B].sign(
            Purpose.HEADER, encode(replace(theirs, institution=InstitutionId("stranger")))
        ),
        "changed after signing": Signed(
            body=encode(replace(theirs, root=bytes(32))), signature=headers[1].signature
        ),
        "changed and signed, not listed": round5.sign_header(replace(theirs, root=bytes(32))),
        "not canonical": Signed(body=headers[1].body + b" ", signature=headers[1].signature),
        "no header": Signed(body=b"", signature=b""),
        "another message": round5.world.signed[B][1],
    }.items():
        try:
            round5.ask(A, survivors=full, headers=[headers[0], hostile, *headers[2:]])
        except PeerError:
            continue
        pytest.fail(f"answered a list with {name}")


def test_headers_listed_under_each_other_s_names_are_refused(round5):
    """Names and digests agree with each other, but not with whose header it is."""
    full, headers = round5.listing(round5.roster), round5.headers(round5.roster)
    order = [0, 2, 1, 3, 4]
    swapped = replace(full, headers=tuple(full.headers[k] for k in order))
    with pytest.raises(PeerError, match="listed header of inst-01"):
        round5.ask(A, survivors=swapped, headers=[headers[k] for k in order])


def with_header(round5: Round, changed: Header) -> tuple[Survivors, list[Signed]]:
    """The full list in which one institution shows another, properly signed header."""
    full, headers = round5.listing(round5.roster), round5.headers(round5.roster)
    k = round5.roster.index(changed.institution)
    named = (*full.headers[:k], header_digest(changed), *full.headers[k + 1 :])
    headers[k] = round5.sign_header(changed)
    return replace(full, headers=named), headers


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": -1},
        {"size": 225},
        {"size": 2**53 - 1},
        {"commitments": ()},
        {"commitments": (bytes(32),) * 4},
        {"commitments": (bytes(32),) * 6},
        {"shares": ()},
        {"shares": (bytes(32),) * 6},
        {"plan": Digest("0" * 64)},
    ],
    ids=str,
)
def test_a_signed_header_of_a_wrong_shape_is_refused(round5, change):
    changed = replace(round5.header(B), **change)
    with pytest.raises(PeerError):
        read_header(round5.world.agreement, round5.plan, round5.sign_header(changed))
    survivors, headers = with_header(round5, changed)
    with pytest.raises(PeerError):
        round5.ask(A, survivors=survivors, headers=headers)


@pytest.mark.parametrize(
    "change",
    [
        {"root": b""},
        {"root": bytes(33)},
        {"shares": (bytes(1 << 16),) * 5},
        {"commitments": (b"",) * 5},
    ],
    ids=["no root", "long root", "huge shares", "no commitments"],
)
def test_a_signed_header_with_digests_of_a_wrong_length_is_refused(round5, change):
    changed = replace(round5.header(B), **change)
    with pytest.raises(PeerError):
        read_header(round5.world.agreement, round5.plan, round5.sign_header(changed))


def test_a_peer_that_commits_to_another_pair_seed_with_me_is_refused(round5):
    theirs = round5.header(B)
    changed = replace(theirs, commitments=(bytes(32), *theirs.commitments[1:]))
    survivors, headers = with_header(round5, changed)
    with pytest.raises(PeerError, match="commit to the seed"):
        round5.ask(A, survivors=survivors, headers=headers)


# False shares and complaints


def test_an_upload_message_that_the_list_does_not_name_is_refused(round5):
    """Its dealer signed both: which of them a complaint is about would be the operator's word."""
    dealt, name = round5.world.dealt[B], bytes.fromhex(header_digest(round5.header(B)))
    key = expand(round5.world.dealt[A].held.box_roots[1], "box", name)
    box = close_box(key, bytes(5 * SEED), name)
    other = replace(dealt.upload, boxes=(digest("box", box), *dealt.upload.boxes[1:]))
    signed = round5.world.keys[B].sign(Purpose.UPLOAD, encode(other))
    uploads = [round5.world.signed[who][1] for who in round5.roster]
    boxes = round5.boxes(A, round5.roster)
    full = round5.listing(round5.roster)
    shown = {
        "uploads": [uploads[0], signed, *uploads[2:]],
        "boxes": [boxes[0], box, *boxes[2:]],
    }
    with pytest.raises(PeerError, match="the listed upload message of inst-01"):
        round5.ask(A, **shown)
    named = replace(full, uploads=(full.uploads[0], upload_digest(other), *full.uploads[2:]))
    (complaint,) = round5.ask(A, survivors=named, **shown).complaints
    assert is_justified(complaint, round5.plan, A, round5.header(B), other, box)
    assert list_digest(named) != list_digest(full)


def test_the_operator_gets_no_box_key_by_showing_boxes_that_were_never_sent(round5):
    """A box key opens the whole share, both kinds of it; t keys of a dealer unmask it alone."""
    stolen = {}
    for position, helper in enumerate(round5.roster):
        if helper == C:
            continue
        boxes = round5.boxes(helper, round5.roster)
        boxes[2] = b"not what C sent"
        try:
            reveal = round5.ask(helper, boxes=boxes)
        except PeerError:
            continue
        for complaint in reveal.complaints:
            name = bytes.fromhex(header_digest(round5.header(C)))
            kept = round5.world.dealt[C].boxes[position]
            stolen[position] = open_box(complaint.box_key, kept, name)
    if len(stolen) >= round5.plan.threshold:
        secret = combine(stolen)
        seeds = dict(
            zip(round5.roster, (secret[k : k + 32] for k in range(0, 160, 32)), strict=True)
        )
        residue = Residue(
            self_seeds=(seeds[C],),
            added_pairs=tuple(seeds[peer] for peer in (D, E)),
            subtracted_pairs=tuple(seeds[peer] for peer in (A, B)),
        )
        q = sections(bytearray(round5.world.dealt[C].vector), round5.plan.lanes, 32)[0].copy()
        residue.masks("q").apply(q)
        assert not np.array_equal(q[:50].view(np.int32), round5.world.clear[C])
    assert not stolen


@dataclass
class FalseShare:
    """B boxes a wrong share for A, and signs for that box."""

    round: Round
    box: bytes
    signed_upload: Signed
    upload: Upload

    @classmethod
    def of(cls, world: World, share: bytes | None = None) -> "FalseShare":
        round = Round.of(world)
        dealt = world.dealt[B]
        name = bytes.fromhex(dealt.held.header)
        key = expand(world.dealt[A].held.box_roots[1], "box", name)
        box = close_box(key, bytes(5 * SEED) if share is None else share, name)
        upload = replace(dealt.upload, boxes=(digest("box", box), *dealt.upload.boxes[1:]))
        world.dealt[B] = replace(dealt, boxes=(box, *dealt.boxes[1:]), upload=upload)
        signed = world.keys[B].sign(Purpose.UPLOAD, encode(upload))
        world.signed[B] = (world.signed[B][0], signed)
        return cls(round, box, signed, upload)


@pytest.mark.parametrize(
    "share", [bytes(5 * SEED), b"", bytes(4 * SEED), bytes(6 * SEED), bytes(5 * SEED + 1)]
)
def test_a_false_share_is_answered_with_its_box_key_and_nothing_else(share):
    case = FalseShare.of(World.of(5), share)
    reveal = case.round.ask(A)
    (complaint,) = reveal.complaints
    assert complaint.dealer == B
    assert reveal.shares[1] == b""
    assert [len(shown) for shown in reveal.shares] == [32, 0, 32, 32, 32]
    header = case.round.header(B)
    assert is_justified(complaint, case.round.plan, A, header, case.upload, case.box)


@pytest.mark.parametrize("size", [0, 32, 4 * SEED, 5 * SEED - 1, 5 * SEED + 1, 6 * SEED])
def test_a_promised_share_of_a_wrong_length_is_a_false_share(size):
    """The dealer signs for exactly what it boxed: the digest fits and the length does not."""
    world = World.of(5)
    round = Round.of(world)
    share, dealt = bytes(size), world.dealt[B]
    shares = (digest("share", share), *dealt.header.shares[1:])
    header = replace(dealt.header, shares=shares)
    name = bytes.fromhex(header_digest(header))
    key = expand(world.dealt[A].held.box_roots[1], "box", name)
    box = close_box(key, share, name)
    upload = Upload(
        header=header_digest(header),
        boxes=(digest("box", box), *dealt.upload.boxes[1:]),
        keys=(digest("box-key", key), *dealt.upload.keys[1:]),
    )
    world.dealt[B] = replace(dealt, header=header, upload=upload, boxes=(box, *dealt.boxes[1:]))
    world.signed[B] = (
        round.sign_header(header),
        world.keys[B].sign(Purpose.UPLOAD, encode(upload)),
    )
    reveal = round.ask(A)
    (complaint,) = reveal.complaints
    assert reveal.shares[1] == b""
    assert is_justified(complaint, round.plan, A, header, upload, box)


def test_nobody_can_be_framed(round5):
    header, upload = round5.header(B), round5.world.dealt[B].upload
    box = round5.world.dealt[B].boxes[0]
    name = bytes.fromhex(header_digest(header))
    true_key = expand(round5.world.dealt[A].held.box_roots[1], "box", name)
    assert digest("box-key", true_key) == upload.keys[0]
    for key in (true_key, bytes(32), b"", bytes(31), true_key[:-1], true_key + b"\x00"):
        complaint = Complaint(dealer=B, box_key=key)
        assert not is_justified(complaint, round5.plan, A, header, upload, box)
    for helper in (B, C, D, E):  # the key of A's box says nothing about another's
        k = round5.roster.index(helper)
        theirs = round5.world.dealt[B].boxes[k]
        complaint = Complaint(dealer=B, box_key=true_key)
        assert not is_justified(complaint, round5.plan, helper, header, upload, theirs)


def test_a_box_key_opens_one_box_alone():
    case = FalseShare.of(World.of(5))
    (complaint,) = case.round.ask(A).complaints
    name = bytes.fromhex(header_digest(case.round.header(B)))
    for dealer in case.round.roster:
        for k, box in enumerate(case.round.world.dealt[dealer].boxes):
            if box and (dealer, k) != (B, 0):
                for aad in (name, bytes.fromhex(header_digest(case.round.header(dealer)))):
                    with pytest.raises(PeerError):
                        open_box(complaint.box_key, box, aad)


# How a round ended


def body_of(round5: Round, **change: object) -> CertificateBody:
    whole = {
        "agreement": round5.world.agreement.digest,
        "epoch": 1,
        "round": 1,
        "plan": plan_digest(round5.plan),
        "survivors": round5.roster,
        "total": bytes(32),
        "reason": "",
    }
    return CertificateBody(**whole | change)


def certified(round5: Round, body: CertificateBody) -> Signed:
    return round5.world.operator.sign(Purpose.CERTIFICATE, encode(body))


MODEL = Digest("d" * 64)


def endorse(round5: Round, who: InstitutionId, body: CertificateBody, **change: object) -> Signed:
    whole = {
        "agreement": round5.world.agreement.digest,
        "epoch": body.epoch,
        "round": body.round,
        "institution": who,
        "certificate": certificate_digest(body),
        "model": MODEL,
    }
    message = Endorsement(**whole | change)
    return round5.world.keys[who].sign(Purpose.ENDORSEMENT, encode(message))


def check(round5: Round, signed: Signed, *, answered=None, plan="mine", endorsements=()):
    return check_certificate(
        round5.world.agreement,
        round5.plan if plan == "mine" else plan,
        answered,
        signed,
        list(endorsements),
    )


def test_a_certificate_over_the_list_that_i_answered_is_accepted(round5):
    body = body_of(round5)
    assert check(round5, certified(round5, body), answered=round5.listing(round5.roster)) == body


@pytest.mark.parametrize("survivors", [(A, B, C, D), (A, B, C), (A,), (A, B, C, D, D)])
def test_a_certificate_over_another_list_is_refused_even_if_endorsed(round5, survivors):
    body = body_of(round5, survivors=survivors)
    with pytest.raises(PeerError):
        check(
            round5,
            certified(round5, body),
            answered=round5.listing(round5.roster),
            endorsements=[endorse(round5, who, body) for who in round5.roster],
        )


def test_a_certificate_of_another_plan_or_agreement_is_refused(round5):
    for change in (
        {"plan": Digest("0" * 64)},
        {"plan": plan_digest(round5.world.plan())},
        {"agreement": Digest("0" * 64)},
        {"plan": Digest("0" * 64), "survivors": (), "total": b"", "reason": "void"},
        {"agreement": Digest("0" * 64), "survivors": (), "total": b"", "reason": "void"},
    ):
        body = body_of(round5, **change)
        with pytest.raises(PeerError):
            check(round5, certified(round5, body), answered=round5.listing(round5.roster))


def test_a_certificate_that_the_operator_did_not_sign_is_refused(round5):
    raw = encode(body_of(round5))
    for signed in (
        round5.world.keys[B].sign(Purpose.CERTIFICATE, raw),
        round5.world.operator.sign(Purpose.PLAN, raw),
        SigningKeys.generate().sign(Purpose.CERTIFICATE, raw),
        Signed(body=raw, signature=b""),
        replace(round5.world.operator.sign(Purpose.CERTIFICATE, raw), body=raw + b" "),
        round5.world.operator.sign(Purpose.CERTIFICATE, b"{}"),
    ):
        with pytest.raises(PeerError):
            check(round5, signed, answered=round5.listing(round5.roster))


@pytest.mark.parametrize("change", [{"round": 2}, {"epoch": 9}, {"round": -1}])
@pytest.mark.parametrize("void", [False, True])
def test_a_certificate_that_numbers_the_round_otherwise_than_its_plan_is_refused(
    round5, change, void
):
    ended = {"survivors": (), "total": b"", "reason": "void"} if void else {}
    body = body_of(round5, **change, **ended)
    with pytest.raises(PeerError):
        check(round5, certified(round5, body), answered=round5.listing(round5.roster))


def test_a_certificate_of_a_plan_that_i_do_not_hold_is_refused_even_over_my_survivors(round5):
    body = body_of(round5, plan=Digest("0" * 64))
    with pytest.raises(PeerError):
        check(round5, certified(round5, body), answered=round5.listing(round5.roster), plan=None)


def test_a_void_certificate_needs_the_operator_alone(round5):
    body = body_of(round5, survivors=(), total=b"", reason="too few uploads")
    assert check(round5, certified(round5, body)).void
    assert check(round5, certified(round5, body), plan=None).void


@pytest.mark.parametrize(
    "change",
    [
        {"survivors": ()},
        {"survivors": (), "total": b"", "reason": ""},
        {"reason": "void"},
        {"total": b""},
        {"total": bytes(31)},
        {"total": bytes(33)},
        {"survivors": (), "reason": "void"},
    ],
    ids=str,
)
def test_a_certificate_is_void_or_has_survivors_and_a_total(round5, change):
    with pytest.raises(ComityError):
        body_of(round5, **change)


def test_a_void_certificate_has_no_total(round5):
    with pytest.raises(ComityError):
        body_of(round5, survivors=(), total=b"12345", reason="void")


def test_t_endorsements_of_one_model_stand_for_a_round_that_i_was_not_in(round5):
    body = body_of(round5, survivors=(B, C, D, E))
    votes = [endorse(round5, who, body) for who in (B, C, D, E)]
    assert check(round5, certified(round5, body), endorsements=votes) == body
    assert endorsed_model(round5.world.agreement, round5.plan, body, votes) == MODEL


def refused_votes(round5: Round, votes: list[Signed], body: CertificateBody | None = None) -> None:
    body = body or body_of(round5, survivors=(B, C, D, E))
    with pytest.raises(PeerError):
        check(round5, certified(round5, body), endorsements=votes)


def test_fewer_than_t_endorsements_are_not_enough(round5):
    body = body_of(round5, survivors=(B, C, D, E))
    votes = [endorse(round5, who, body) for who in (B, C, D)]
    refused_votes(round5, votes)
    refused_votes(round5, [])
    refused_votes(round5, [*votes, votes[0], votes[1]])  # one counts once
    refused_votes(round5, [*votes, endorse(round5, B, body, model=Digest("e" * 64))])
    other = endorse(round5, E, body, model=Digest("e" * 64))
    refused_votes(round5, [*votes, other])  # the fourth computed another model


def test_one_who_endorses_two_models_is_not_counted_as_two(round5):
    body = body_of(round5, survivors=(B, C, D, E))
    other = Digest("e" * 64)
    votes = [endorse(round5, who, body) for who in (B, C)]
    votes += [endorse(round5, who, body, model=other) for who in (C, D, E)]
    refused_votes(round5, votes)


def test_endorsements_of_strangers_do_not_count(round5):
    body = body_of(round5, survivors=(B, C, D, E))
    votes = [endorse(round5, who, body) for who in (B, C, D)]
    stranger = SigningKeys.generate()
    message = decode(Endorsement, endorse(round5, E, body).body)
    for name in ("stranger", "operator", ""):
        forged = replace(message, institution=InstitutionId(name))
        refused_votes(round5, [*votes, stranger.sign(Purpose.ENDORSEMENT, encode(forged))])


def test_forged_or_foreign_endorsements_are_refused(round5):
    body = body_of(round5, survivors=(B, C, D, E))
    votes = [endorse(round5, who, body) for who in (B, C, D)]
    good = decode(Endorsement, endorse(round5, E, body).body)
    keys = round5.world.keys
    for forged in (
        keys[B].sign(Purpose.ENDORSEMENT, encode(good)),
        round5.world.operator.sign(Purpose.ENDORSEMENT, encode(good)),
        keys[E].sign(Purpose.CERTIFICATE, encode(good)),
        keys[E].sign(Purpose.ENDORSEMENT, encode(good) + b" "),
        keys[E].sign(Purpose.ENDORSEMENT, b""),
        endorse(round5, E, body, round=2),
        endorse(round5, E, body, epoch=2),
        endorse(round5, E, body, agreement=Digest("0" * 64)),
        endorse(round5, E, body, certificate=Digest("0" * 64)),
        endorse(round5, E, body_of(round5)),
    ):
        refused_votes(round5, [*votes, forged])


def test_a_round_that_i_was_not_in_needs_its_plan(round5):
    body = body_of(round5, survivors=(B, C, D, E))
    votes = [endorse(round5, who, body) for who in (B, C, D, E)]
    with pytest.raises(PeerError):
        check(round5, certified(round5, body), plan=None, endorsements=votes)


def forged_plan(round5: Round, **change: object) -> Plan:
    return replace(round5.world.plan(round=2), **change)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 1},
        {"threshold": 0},
        {"threshold": -1},
        {"participants": (B,), "threshold": 1},
        {"participants": (B, InstitutionId("nobody")), "threshold": 1},
    ],
    ids=str,
)
def test_a_forged_history_of_one_colluding_institution_is_refused(round5, change):
    """The plan of a round that I was not in comes from the operator; its t must not."""
    plan = forged_plan(round5, **change)
    body = body_of(round5, round=2, plan=plan_digest(plan), survivors=(B,))
    votes = [endorse(round5, B, body, model=Digest("e" * 64))]
    with pytest.raises(PeerError):
        check(round5, certified(round5, body), plan=plan, endorsements=votes)


def test_a_plan_of_strangers_raises_only_peer_errors(round5):
    plan = forged_plan(round5, participants=(InstitutionId("stranger"),), threshold=1)
    body = body_of(round5, round=2, plan=plan_digest(plan), survivors=(B,))
    message = Endorsement(
        agreement=round5.world.agreement.digest,
        epoch=1,
        round=2,
        institution=InstitutionId("stranger"),
        certificate=certificate_digest(body),
        model=MODEL,
    )
    forged = SigningKeys.generate().sign(Purpose.ENDORSEMENT, encode(message))
    with pytest.raises(PeerError):
        check(round5, certified(round5, body), plan=plan, endorsements=[forged])


def test_every_field_of_a_certificate_s_body_is_in_its_digest(round5):
    bodies = [
        body_of(round5),
        body_of(round5, agreement=Digest("0" * 64)),
        body_of(round5, epoch=2),
        body_of(round5, round=2),
        body_of(round5, plan=Digest("0" * 64)),
        body_of(round5, survivors=(B, C, D, E)),
        body_of(round5, total=b"\x01" * 32),
        body_of(round5, survivors=(), total=b"", reason="a"),
        body_of(round5, survivors=(), total=b"", reason="b"),
    ]
    assert len({certificate_digest(body) for body in bodies}) == len(bodies)


def test_make_plan_and_world_agree(round5):
    """The fixtures above use the plan that the agreement prescribes."""
    plan = round5.plan
    assert plan == make_plan(
        round5.world.agreement,
        epoch=plan.epoch,
        round=plan.round,
        participants=plan.participants,
        previous=plan.previous,
        model=plan.model,
        nonce=plan.nonce,
    )
