"""Every pair of an epoch comes to one chain, or the epoch is refused; chains turn one way."""

from dataclasses import dataclass, replace

import pytest
from tests.simulation.federation import make_agreement

from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import expand
from comity_common.crypto.seal import SealingKey, seal
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.keyepoch import (
    MAX_LEAP,
    PairChain,
    _info,
    check_open,
    check_views,
    make_halves,
    pair_chains,
    read_halves,
    read_keys,
    view_digest,
)
from comity_common.secagg.messages import EpochHalves, EpochKey, EpochOpen, EpochView


@dataclass
class Member:
    """One institution during a set-up."""

    id: InstitutionId
    signing: SigningKeys
    sealing: SealingKey

    def key(self, opened: EpochOpen) -> Signed:
        message = EpochKey(
            agreement=opened.agreement,
            epoch=opened.epoch,
            institution=self.id,
            key=self.sealing.public(),
        )
        return self.signing.sign(Purpose.EPOCH_KEY, encode(message))

    def view(self, opened: EpochOpen, view: Digest) -> Signed:
        message = EpochView(
            agreement=opened.agreement, epoch=opened.epoch, institution=self.id, view=view
        )
        return self.signing.sign(Purpose.EPOCH_VIEW, encode(message))


@dataclass
class SetUp:
    """A set-up whose operator can hand different messages to different members."""

    agreement: Agreement
    opened: EpochOpen
    members: dict[InstitutionId, Member]

    @classmethod
    def of(cls, n: int = 4, epoch: int = 1) -> "SetUp":
        ids = [InstitutionId(f"inst-{k:02d}") for k in range(n)]
        members = {id: Member(id, SigningKeys.generate(), SealingKey.generate()) for id in ids}
        agreement = make_agreement(
            {id: m.signing for id, m in members.items()}, SigningKeys.generate()
        )
        opened = EpochOpen(agreement=agreement.digest, epoch=epoch, members=agreement.roster)
        return cls(agreement, opened, members)

    def keys(self) -> list[Signed]:
        return [member.key(self.opened) for member in self.members.values()]

    def halves(self, keys: list[Signed]) -> tuple[list[Signed], dict]:
        """Everyone's halves for these key messages, and what each keeps in the clear."""
        read = read_keys(self.agreement, self.opened, keys)
        signed, own = [], {}
        for member in self.members.values():
            message, own[member.id] = make_halves(self.agreement, self.opened, member.id, read)
            signed.append(member.signing.sign(Purpose.EPOCH_HALVES, encode(message)))
        return signed, own

    def chains(self, id: InstitutionId, keys: list[Signed], halves: list[Signed], own: dict):
        return pair_chains(
            self.opened,
            id,
            self.members[id].sealing,
            own[id],
            read_keys(self.agreement, self.opened, keys),
            read_halves(self.agreement, self.opened, halves),
        )

    def seen(self, keys: list[Signed], halves: list[Signed]) -> Digest:
        return view_digest(
            self.opened,
            read_keys(self.agreement, self.opened, keys),
            read_halves(self.agreement, self.opened, halves),
        )

    def resigned(self, message: object, id: InstitutionId, purpose: Purpose) -> Signed:
        return self.members[id].signing.sign(purpose, encode(message))


A, B, C, D = (InstitutionId(f"inst-{k:02d}") for k in range(4))


@pytest.fixture(scope="module")
def setup():
    return SetUp.of()


@pytest.fixture(scope="module")
def done(setup):
    keys = setup.keys()
    halves, own = setup.halves(keys)
    chains = {id: setup.chains(id, keys, halves, own) for id in setup.members}
    return keys, halves, own, chains


def test_every_pair_comes_to_the_same_chain_and_no_two_pairs_to_one(setup, done):
    *_, chains = done
    keys = set()
    for a in setup.members:
        assert set(chains[a]) == set(setup.members) - {a}
        for b, chain in chains[a].items():
            assert chain == chains[b][a]
            assert (len(chain.key), chain.round) == (32, 0)
            keys.add(chain.key)
    assert len(keys) == 6


def test_a_second_set_up_of_the_same_epoch_has_other_keys(setup, done):
    *_, chains = done
    keys = setup.keys()
    halves, own = setup.halves(keys)
    assert setup.chains(A, keys, halves, own)[B] != chains[A][B]


def test_the_order_in_which_messages_arrive_does_not_matter(setup, done):
    keys, halves, own, chains = done
    assert setup.chains(A, keys[::-1], halves[::-1], own) == chains[A]
    assert setup.seen(keys[::-1], halves[::-1]) == setup.seen(keys, halves)


def test_both_halves_of_a_pair_enter_its_key(setup, done):
    keys, halves, own, chains = done
    other = {A: own[A] | {B: bytes(32)}}
    changed = setup.chains(A, keys, halves, own | other)
    assert changed[B].key != chains[A][B].key
    assert changed[C] == chains[A][C]
    _, others_own = setup.halves(keys)
    fresh, _ = setup.halves(keys)
    mixed = [halves[0], fresh[1], *halves[2:]]  # B sealed another half
    assert setup.chains(A, keys, mixed, own)[B].key != chains[A][B].key
    assert others_own[A][B] != own[A][B]


def test_agreement_epoch_and_key_messages_enter_every_key(setup, done):
    keys, halves, own, chains = done
    read = read_keys(setup.agreement, setup.opened, keys)
    sealed = read_halves(setup.agreement, setup.opened, halves)
    swapped = dict(read)
    swapped[A] = replace(read[A], key=read[D].key)
    again = pair_chains(setup.opened, A, setup.members[A].sealing, own[A], swapped, sealed)
    assert all(again[peer].key != chains[A][peer].key for peer in (B, C, D))
    for opened in (
        replace(setup.opened, epoch=2),
        replace(setup.opened, agreement=Digest("0" * 64)),
    ):
        with pytest.raises(PeerError):  # the seal itself is bound to both
            pair_chains(opened, A, setup.members[A].sealing, own[A], read, sealed)


def test_a_half_sealed_for_another_receiver_or_by_another_sender_does_not_open(setup, done):
    keys, halves, own, _ = done
    read = read_keys(setup.agreement, setup.opened, keys)
    sealed = read_halves(setup.agreement, setup.opened, halves)
    first = sealed[B].sealed
    for hostile in (
        replace(sealed[B], sealed=(first[2], *first[1:])),  # what B sealed for C
        replace(sealed[B], sealed=(sealed[C].sealed[0], *first[1:])),  # what C sealed for A
        replace(sealed[B], sealed=(b"", *first[1:])),
        replace(sealed[B], sealed=(first[0][:-1], *first[1:])),
        replace(sealed[B], sealed=(first[0] + b"x", *first[1:])),
    ):
        with pytest.raises(PeerError):
            pair_chains(
                setup.opened, A, setup.members[A].sealing, own[A], read, sealed | {B: hostile}
            )


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_half_of_another_length_is_refused(setup, done, size):
    keys, halves, own, _ = done
    read = read_keys(setup.agreement, setup.opened, keys)
    sealed = read_halves(setup.agreement, setup.opened, halves)
    odd = seal(read[A].key, bytes(size), _info(setup.opened, B, A))
    hostile = replace(sealed[B], sealed=(odd, *sealed[B].sealed[1:]))
    with pytest.raises(PeerError):
        pair_chains(setup.opened, A, setup.members[A].sealing, own[A], read, sealed | {B: hostile})


def test_a_member_that_lost_its_sealing_key_opens_nothing(setup, done):
    keys, halves, own, _ = done
    read = read_keys(setup.agreement, setup.opened, keys)
    sealed = read_halves(setup.agreement, setup.opened, halves)
    with pytest.raises(PeerError):
        pair_chains(setup.opened, A, SealingKey.generate(), own[A], read, sealed)


READERS = {
    "keys": (read_keys, EpochKey, Purpose.EPOCH_KEY, 0),
    "halves": (read_halves, EpochHalves, Purpose.EPOCH_HALVES, 1),
}


@pytest.fixture(params=READERS)
def reader(request, setup, done):
    """A reading function, its messages, and how to sign a changed one."""
    read, kind, purpose, place = READERS[request.param]
    return lambda signed: read(setup.agreement, setup.opened, signed), done[place], kind, purpose


def test_a_missing_doubled_or_foreign_message_is_refused(setup, reader):
    read, signed, kind, purpose = reader
    assert set(read(signed)) == set(setup.members)
    stranger = SetUp.of(5)
    id = InstitutionId("inst-04")
    message = replace(decode(kind, signed[0].body), institution=id)
    foreign = stranger.resigned(message, id, purpose)
    for hostile in (
        [],
        signed[1:],
        signed[:-1],
        [*signed, signed[0]],
        [signed[0], *signed[:-1]],
        [*signed, foreign],
        [*signed[:-1], foreign],
    ):
        with pytest.raises(PeerError):
            read(hostile)


def test_a_message_signed_by_another_or_for_another_purpose_is_refused(setup, reader):
    read, signed, kind, purpose = reader
    message = decode(kind, signed[1].body)
    assert message.institution == B
    for who in setup.members:
        for use in Purpose:
            if (who, use) != (B, purpose):
                forged = setup.resigned(message, who, use)
                with pytest.raises(PeerError):
                    read([signed[0], forged, *signed[2:]])


@pytest.mark.parametrize("field", ["agreement", "epoch"])
def test_a_message_of_another_epoch_is_refused(setup, reader, field):
    read, signed, kind, purpose = reader
    other = {"agreement": Digest("0" * 64), "epoch": 2}[field]
    message = replace(decode(kind, signed[2].body), **{field: other})
    with pytest.raises(PeerError):
        read([*signed[:2], setup.resigned(message, C, purpose), signed[3]])


def test_any_tampering_with_bytes_is_refused(reader):
    read, signed, *_ = reader
    body, signature = signed[0].body, signed[0].signature
    for hostile in (
        Signed(body=body + b" ", signature=signature),
        Signed(body=b"", signature=signature),
        Signed(body=b"\xff" * 100, signature=signature),
        Signed(body=body.replace(b'"epoch":1', b'"epoch":1.0'), signature=signature),
        Signed(body=body[:60] + bytes([body[60] ^ 1]) + body[61:], signature=signature),
        Signed(body=body, signature=signature[:64]),
        Signed(body=body, signature=signed[1].signature),
    ):
        with pytest.raises(PeerError):
            read([hostile, *signed[1:]])


@pytest.mark.parametrize("count", [0, 3, 5])
def test_halves_for_too_few_or_too_many_members_are_refused(setup, done, count):
    _, halves, *_ = done
    message = decode(EpochHalves, halves[0].body)
    wrong = replace(message, sealed=(message.sealed * 2)[:count])
    with pytest.raises(PeerError):
        read_halves(
            setup.agreement,
            setup.opened,
            [setup.resigned(wrong, A, Purpose.EPOCH_HALVES), *halves[1:]],
        )


def test_an_epoch_key_that_is_no_key_stops_the_set_up(setup, done):
    keys, *_ = done
    message = replace(decode(EpochKey, keys[3].body), key=b"not a key")
    hostile = [*keys[:3], setup.resigned(message, D, Purpose.EPOCH_KEY)]
    with pytest.raises(PeerError):
        setup.halves(hostile)


def test_equal_views_are_accepted(setup, done):
    keys, halves, *_ = done
    mine = setup.seen(keys, halves)
    views = [member.view(setup.opened, mine) for member in setup.members.values()]
    check_views(setup.agreement, setup.opened, views, mine)


def test_a_member_who_was_shown_another_key_is_found_by_the_views(setup, done):
    keys, halves, *_ = done
    other = SetUp(setup.agreement, setup.opened, dict(setup.members))
    other.members[C] = replace(setup.members[C], sealing=SealingKey.generate())
    split = [*keys[:2], other.members[C].key(setup.opened), keys[3]]  # C itself signs two keys
    mine, theirs = setup.seen(keys, halves), setup.seen(split, halves)
    assert mine != theirs
    views = [
        member.view(setup.opened, theirs if id == D else mine)
        for id, member in setup.members.items()
    ]
    for digest in (mine, theirs):
        with pytest.raises(PeerError):
            check_views(setup.agreement, setup.opened, views, digest)


def test_a_member_who_was_shown_other_halves_is_found_by_the_views(setup, done):
    keys, halves, *_ = done
    fresh, _ = setup.halves(keys)
    assert setup.seen(keys, halves) != setup.seen(keys, [*halves[:3], fresh[3]])


def test_a_missing_doubled_or_forged_view_is_refused(setup, done):
    keys, halves, *_ = done
    mine = setup.seen(keys, halves)
    views = [member.view(setup.opened, mine) for member in setup.members.values()]
    forged = replace(decode(EpochView, views[3].body), view=mine)
    for hostile in (
        [],
        views[:3],
        [*views, views[0]],
        [*views[:3], views[0]],
        [*views[:3], setup.resigned(forged, C, Purpose.EPOCH_VIEW)],
        [*views[:3], setup.resigned(replace(forged, epoch=2), D, Purpose.EPOCH_VIEW)],
        [*views[:3], setup.resigned(forged, D, Purpose.EPOCH_KEY)],
    ):
        with pytest.raises(PeerError):
            check_views(setup.agreement, setup.opened, hostile, mine)


def test_the_view_covers_the_invitation(setup, done):
    keys, halves, *_ = done
    read = read_keys(setup.agreement, setup.opened, keys)
    sealed = read_halves(setup.agreement, setup.opened, halves)
    views = {
        view_digest(opened, read, sealed)
        for opened in (
            setup.opened,
            replace(setup.opened, epoch=2),
            replace(setup.opened, members=setup.opened.members[:3]),
        )
    }
    assert len(views) == 3


def test_an_invitation_to_this_agreement_is_accepted(setup):
    check_open(setup.agreement, setup.opened, A, newest=0)
    check_open(setup.agreement, replace(setup.opened, members=(A, B, D)), A, newest=0)


@pytest.mark.parametrize(
    ("change", "me", "newest"),
    [
        ({"agreement": Digest("0" * 64)}, A, 0),
        ({"epoch": 1}, A, 1),
        ({"epoch": 1}, A, 7),
        ({"epoch": 0}, A, 0),
        ({"epoch": -1}, A, 0),
        ({"members": (B, A, C, D)}, A, 0),
        ({"members": (A, A, B, C, D)}, A, 0),
        ({"members": (A, B, C, InstitutionId("stranger"))}, A, 0),
        ({"members": (B, C, D)}, A, 0),
        ({"members": (A, B)}, A, 0),  # below the minimum of 3
        ({"members": ()}, A, 0),
    ],
)
def test_an_invitation_that_the_agreement_does_not_allow_is_refused(setup, change, me, newest):
    with pytest.raises(PeerError):
        check_open(setup.agreement, replace(setup.opened, **change), me, newest)


CHAIN = PairChain(bytes(range(32)), 3)


def test_a_chain_turns_link_by_link():
    key = CHAIN.key
    for round in range(3, 12):
        assert CHAIN.turn_to(round) == PairChain(key, round)
        key = expand(key, "ratchet")
    assert CHAIN.turn_to(7).turn_to(9) == CHAIN.turn_to(9)


def test_a_chain_never_turns_back():
    turned = CHAIN.turn_to(5)
    for round in (4, 3, 0, -1):
        with pytest.raises(PeerError):
            turned.turn_to(round)
    assert turned.turn_to(5) == turned


def test_a_chain_leaps_no_further_than_the_maximum():
    assert CHAIN.turn_to(3 + MAX_LEAP).round == 3 + MAX_LEAP
    for round in (4 + MAX_LEAP, 2**53 - 1):
        with pytest.raises(PeerError):
            CHAIN.turn_to(round)


def test_links_and_round_keys_never_repeat():
    links = [CHAIN.turn_to(round) for round in range(3, 40)]
    values = [link.key for link in links]
    for link in links:
        values += [link.round_key(plan) for plan in (bytes(32), b"\x01" + bytes(31))]
    assert len(set(values)) == len(values)


def test_a_round_key_says_nothing_of_the_next_link_by_one_derivation():
    link = CHAIN.turn_to(4)
    assert link.round_key(bytes(32)) == expand(link.key, "round", bytes(32))
    assert expand(link.round_key(bytes(32)), "ratchet") != CHAIN.turn_to(5).key


def test_the_repr_shows_the_round_and_no_key():
    assert repr(CHAIN) == "PairChain(round=3)"


def test_a_late_key_epoch_reaches_every_round_that_the_agreement_allows():
    signing = {id: SigningKeys.generate() for id in (A, B, C)}
    try:
        agreement = make_agreement(signing, SigningKeys.generate(), rounds=1500, spare_rounds=10)
    except Exception:
        return  # an agreement that cannot be carried out is refused before anyone signs it
    fresh = PairChain(bytes(32), 0)
    assert fresh.turn_to(agreement.schedule.attempts).round == agreement.schedule.attempts
