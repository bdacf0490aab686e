"""Directories that are copied at a boundary and come back later, and vaults that run twice.

A vault cannot know that its disk was put back. What must hold is held by the others, and by keys
that leave the disk before anything is made with them: of two uploads of one round at most one can
ever be unmasked, and of two lists at most one gets t answers. The adversary keeps everything, has
one institution on its side, and lets the copy answer as often as the original.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from comity.v1 import transfer_pb2 as pb
from comity_client.uplink import Delivery
from comity_common.crypto.derive import expand
from comity_common.crypto.shamir import combine
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import BudgetReserve, Restore
from comity_common.optimizer import state_digest
from comity_common.secagg.masking import SEED_BYTES, Masks, commitment, sections
from comity_common.secagg.messages import Plan
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage

from .dishonest import Dishonest
from .federation import World
from .test_vaults import BOUNDARIES, Federation, Seat
from .wholevector import Whole, deal

LATER = {"before-reveal", "revealed"}  # boundaries of the answer, after all uploads


class Copying:
    """Copies a seat's directory when it passes a boundary."""

    def __init__(self, world: Dishonest, who: InstitutionId, boundary: str, to: Path) -> None:
        self.seat, self.boundary, self.to = world.seats[who], boundary, to
        self.seat.vault._on_phase = self.at

    def at(self, name: str, round: int) -> None:
        """Copy the files as they are on disk now."""
        if name == self.boundary and not self.to.exists():
            self.copy()

    def copy(self) -> None:
        """Copy now."""
        shutil.copytree(self.seat.path, self.to)

    def restored(self, world: Dishonest) -> Seat:
        """Open the copy, as a daemon would after a restart.

        Witnesses, who would stop it (`test_witnessed`), are taken away: what is tested here must
        hold also where a quorum of them lies.
        """
        twin = Seat(self.to, world.agreement, world.operator)
        twin.vault.witnesses.ask = lambda size=1: None
        twin.vault.witnesses.are_enough = lambda size: True
        twin.bench.trained = 100  # it trains another delta, as fresh noise would
        world.bug(twin)
        return twin


@pytest.mark.parametrize("boundary", ["ordered", *BOUNDARIES])
def test_a_copy_of_any_boundary_uploads_the_same_bytes_or_nothing_that_opens(tmp_path, boundary):
    world = Dishonest(tmp_path)
    victim = world.honest[0]
    copying = Copying(world, victim, boundary, tmp_path / "copy")
    if boundary == "ordered":
        copying.copy()
    plan = world.collect()
    full = world.listing(world.roster)
    if boundary in LATER:
        world.show(victim, full)
    assert copying.to.exists()
    twin = copying.restored(world)
    before = len(world.taken[victim])
    if boundary == "ordered":
        twin.vault.accept_order(world.agreement.digest, plan.round, plan_digest(plan))
    twin.work()
    assert len(world.taken[victim]) - before == (boundary == "ordered")
    assert opened_of_two_lists(world, twin) <= 1
    spent = [len(seat.entries(BudgetReserve)) for seat in (world.seats[victim], twin)]
    assert spent == [1, 1]  # each believes that it has spent once; that is why a copy is out


@pytest.mark.parametrize("split", range(1, 4))
def test_a_live_clone_gets_no_second_list_of_its_round_opened(tmp_path, split):
    world = Dishonest(tmp_path)
    victim = world.honest[0]
    copying = Copying(world, victim, "", tmp_path / "copy")
    copying.copy()
    plan = world.collect()
    twin = copying.restored(world)
    twin.vault.accept_order(world.agreement.digest, plan.round, plan_digest(plan))
    twin.work()
    first, second = world.taken[victim]
    assert first.header.commitments[1:] == second.header.commitments[1:]  # the same pair seeds
    assert first.header.commitments[0] != second.header.commitments[0]  # another self seed
    assert first.vector != second.vector
    lists = [world.listing(world.roster, {victim: version}) for version in (0, 1)]
    others = world.honest[1:]
    answers = [
        [world.show(victim, lists[0]), *(world.show(who, lists[0]) for who in others[:split])],
        [world.show(twin, lists[1]), *(world.show(who, lists[1]) for who in others[split:])],
    ]
    assert all(None not in given for given in answers)
    opened = [
        world.open(listed, [*given, world.help_with(listed)])
        for listed, given in zip(lists, answers, strict=True)
    ]
    assert sum(residue is not None for residue in opened) <= 1
    assert world.show(victim, lists[1]) is None
    assert world.show(twin, lists[0]) is None
    for who in others:
        assert sum(world.show(who, listed) is not None for listed in lists) == 1


def test_a_restored_vault_that_sees_its_own_header_in_a_list_takes_no_further_order(tmp_path):
    """The design note's rule: it stops, and returns only in a new key epoch."""
    world = Dishonest(tmp_path)
    victim = world.honest[0]
    copying = Copying(world, victim, "", tmp_path / "copy")
    copying.copy()
    plan = world.collect()
    twin = copying.restored(world)
    assert world.show(twin, world.listing(world.roster)) is None
    twin.vault.accept_order(world.agreement.digest, plan.round, plan_digest(plan))
    twin.work()
    assert len(world.taken[victim]) == 1


def test_a_restored_vault_that_sees_its_upload_counted_in_a_certificate_takes_no_order(tmp_path):
    """The same rule where nobody shows a list: it catches up, and stops."""
    federation = Federation(tmp_path)
    federation.set_up_keys()
    operator, roster = federation.operator, list(federation.agreement.roster)
    victim = federation.seats[roster[0]]
    shutil.copytree(victim.path, tmp_path / "copy")
    plan = operator.begin_round(roster)
    federation.order(plan, roster)
    for seat in federation.seats.values():
        seat.work()
    collector = operator.collector
    operator.ask_reveals()
    for _ in range(2):
        for seat in federation.seats.values():
            seat.work()
        if collector.stage is Stage.SUMMING:
            operator.certify()
    told = [operator.certificate, operator.plans[plan_digest(plan)], *operator.endorsements]

    twin = Seat(tmp_path / "copy", federation.agreement, operator)
    place = twin.mailbox.cursor() + 1
    kind = pb.PARCEL_KIND_CERTIFICATE
    twin.deliver(Delivery(place, federation.agreement.digest, kind, tuple(told), ()))

    assert twin.inst.progress.get(federation.agreement.digest).model == state_digest(operator.state)
    assert len(twin.entries(Restore)) == 1
    plan = operator.begin_round(roster)
    twin.vault.accept_order(federation.agreement.digest, plan.round, plan_digest(plan))
    twin.work()
    assert operator.vectors == {}


def opened_of_two_lists(world: Dishonest, twin: Seat) -> int:
    """Count the lists that open, over every way to split the honest between two lists."""
    victim = twin.inst.me
    version = len(world.taken[victim]) - 1
    full = world.listing(world.roster)
    other = world.listing(world.roster if version else world.honest, {victim: version})
    others = world.honest[1:]
    first = [world.show(victim, full), *(world.show(who, full) for who in others[:1])]
    second = [world.show(twin, other), *(world.show(who, other) for who in others[1:])]
    helped = [world.help_with(full)], [world.help_with(other)] if version else []
    opened = [world.open(full, [*first, *helped[0]]), world.open(other, [*second, *helped[1]])]
    return sum(residue is not None for residue in opened)


# The attack itself: two uploads under the same pair keys


class Doubled:
    """One institution that masked twice under one plan, and all that the operator has of it."""

    def __init__(self, *, header_in_key: bool = True) -> None:
        self.world = World.of(5)
        self.plan: Plan = self.world.plan()
        self.who = self.plan.participants[0]
        named = bytes.fromhex(plan_digest(self.plan))
        self.keys = {
            peer: chain.turn_to(self.plan.round).round_key(named)
            for peer, chain in self.world.chains[self.who].items()
        }
        chance = np.random.default_rng(1)
        self.clear = [
            chance.integers(0, 2**20, self.plan.lanes).astype(np.uint32) for _ in range(2)
        ]
        self.dealt = [deal(self.plan, self.who, self.keys, values) for values in self.clear]
        self.boxes = [
            dealt.boxes if header_in_key else self.sketched(dealt) for dealt in self.dealt
        ]

    def shares(self, dealt: Whole) -> dict[int, bytes]:
        """Open the boxes, as their receivers can."""
        from comity_common.crypto.seal import open_box
        from comity_common.secagg.participant import _box_key

        name = dealt.held.header
        return {
            slot: open_box(
                _box_key(self.keys[peer], self.who, peer, name),
                dealt.boxes[slot],
                bytes.fromhex(name),
            )
            for slot, peer in enumerate(self.plan.participants)
            if peer != self.who
        }

    def sketched(self, dealt: Whole) -> tuple[bytes, ...]:
        """Close the boxes as the first sketch did: the header is not in the key."""
        from comity_common.crypto.seal import close_box

        shares, name = self.shares(dealt), bytes.fromhex(dealt.held.header)
        return tuple(
            close_box(expand(self.keys[peer], "box"), shares[slot], name) if slot else b""
            for slot, peer in enumerate(self.plan.participants)
        )

    def difference_of_seeds(self) -> bytes:
        """The attack: equal key and nonce, so boxes differ as shares do, and sharing is linear."""
        differing = {
            slot: bytes(a ^ b for a, b in zip(first, second, strict=True))[:-16]
            for slot, (first, second) in enumerate(zip(*self.boxes, strict=True))
            if first
        }
        return combine(dict(list(differing.items())[: self.plan.threshold]))

    def self_seed(self, version: int) -> bytes:
        """What a legitimate reveal of one of the two opens."""
        shares = self.shares(self.dealt[version])
        return combine(dict(list(shares.items())[: self.plan.threshold]))[:SEED_BYTES]

    def difference_of_deltas(self, seeds: list[bytes]) -> np.ndarray:
        """Pair masks cancel between the two; take the self masks off what is left."""
        (first, _), (second, _) = (
            sections(bytearray(dealt.vector), len(self.clear[0]), 32) for dealt in self.dealt
        )
        left = first - second
        Masks("q", added=[seeds[1]], subtracted=[seeds[0]]).apply(left)
        return left[: len(self.clear[0])]


def test_boxes_whose_key_has_no_header_give_away_the_difference_of_two_deltas():
    """The attack works on the sketch: one honest reveal of one upload opens the other."""
    doubled = Doubled(header_in_key=False)
    difference = doubled.difference_of_seeds()
    assert difference[SEED_BYTES:] == bytes(4 * SEED_BYTES)  # the pair seeds are the same
    one = doubled.self_seed(0)
    other = bytes(a ^ b for a, b in zip(one, difference[:SEED_BYTES], strict=True))
    exposed = doubled.difference_of_deltas([one, other])
    assert np.array_equal(exposed, doubled.clear[0] - doubled.clear[1])


def test_the_same_attack_on_real_boxes_gives_no_seed_and_no_difference():
    doubled = Doubled()
    difference = doubled.difference_of_seeds()
    assert any(difference[SEED_BYTES:])
    one = doubled.self_seed(0)
    other = bytes(a ^ b for a, b in zip(one, difference[:SEED_BYTES], strict=True))
    named = bytes.fromhex(plan_digest(doubled.plan))
    assert commitment(named, other) != doubled.dealt[1].header.commitments[0]
    exposed = doubled.difference_of_deltas([one, other])
    assert np.count_nonzero(exposed == doubled.clear[0] - doubled.clear[1]) < 3


def test_no_box_key_is_used_for_two_uploads_of_one_round():
    doubled = Doubled()
    first, second = (dealt.upload.keys[1:] for dealt in doubled.dealt)
    assert not set(first) & set(second)
    assert len({*first, *second}) == 8
