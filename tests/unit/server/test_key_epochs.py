"""The operator's relay of a key epoch: each step once, in order, and who is at fault."""

from pathlib import Path

import pytest
from tests.operator_store import operator_store
from tests.simulation.federation import World

from comity_common import wire
from comity_common.canonical import decode, encode
from comity_common.crypto.seal import SealingKey
from comity_common.crypto.sign import Purpose
from comity_common.errors import PeerError
from comity_common.ids import Digest
from comity_common.secagg.keyepoch import (
    check_views,
    make_halves,
    pair_chains,
    read_halves,
    read_keys,
    view_digest,
)
from comity_common.secagg.messages import EpochHalves, EpochKey, EpochOpen, EpochView
from comity_server.epochs import EpochStep, KeyEpoch
from comity_server.errors import WrongTime
from comity_server.mailbox import Mailbox


class Setup:
    """Three members and a relay that can be killed."""

    def __init__(self, directory: Path) -> None:
        self.world = World.of(3)
        self.agreement = self.world.agreement
        self.members = self.agreement.roster
        self.store = operator_store(directory / "server.db")
        self.mailbox = Mailbox(self.store, lambda: None)
        self.epoch = KeyEpoch.open(
            self.store, self.mailbox, self.world.operator, self.agreement, self.members
        )
        self.sealing = {who: SealingKey.generate() for who in self.members}

    def kill(self) -> None:
        self.epoch = KeyEpoch.newest(self.store, self.mailbox, self.agreement)

    def parcels(self, who: str):
        return list(self.mailbox.follow(who, 0, lambda: False))

    def messages(self, who: str):
        return [wire.signed(envelope) for envelope in self.parcels(who)[-1].envelopes]

    def send(self, who: str, step: EpochStep, message: object) -> None:
        purpose = {
            EpochStep.KEYS: Purpose.EPOCH_KEY,
            EpochStep.HALVES: Purpose.EPOCH_HALVES,
            EpochStep.VIEWS: Purpose.EPOCH_VIEW,
        }[step]
        self.epoch.take(step, who, self.world.keys[who].sign(purpose, encode(message)))

    def key(self, who: str, raw: bytes | None = None) -> EpochKey:
        return EpochKey(
            agreement=self.agreement.digest,
            epoch=self.epoch.opened.epoch,
            institution=who,
            key=raw or self.sealing[who].public(),
        )

    def to_halves(self) -> None:
        for who in self.members:
            self.send(who, EpochStep.KEYS, self.key(who))
            self.kill()

    def to_views(self) -> None:
        self.to_halves()
        self.own = {}
        for who in self.members:
            opened = self.epoch.opened
            self.keys = read_keys(self.agreement, opened, self.messages(who))
            message, self.own[who] = make_halves(self.agreement, opened, who, self.keys)
            self.send(who, EpochStep.HALVES, message)
            if who != self.members[-1]:
                self.kill()

    def view(self, who: str) -> Digest:
        self.halves = read_halves(self.agreement, self.epoch.opened, self.messages(who))
        return view_digest(self.epoch.opened, self.keys, self.halves)

    def send_view(self, who: str, view: Digest) -> None:
        message = EpochView(
            agreement=self.agreement.digest,
            epoch=self.epoch.opened.epoch,
            institution=who,
            view=view,
        )
        self.send(who, EpochStep.VIEWS, message)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_a_relay_that_is_killed_after_every_message_gives_all_pairs_one_chain(
    setup: Setup,
) -> None:
    setup.to_views()
    views = {who: setup.view(who) for who in setup.members}
    for who in setup.members:
        setup.send_view(who, views[who])
        setup.kill()
    assert setup.epoch.step is EpochStep.READY
    assert setup.epoch.opened.epoch == 1
    chains = {}
    for who in setup.members:
        assert len(setup.parcels(who)) == 4
        check_views(setup.agreement, setup.epoch.opened, setup.messages(who), views[who])
        chains[who] = pair_chains(
            setup.epoch.opened, who, setup.sealing[who], setup.own[who], setup.keys, setup.halves
        )
    assert all(chains[a][b] == chains[b][a] for a in setup.members for b in chains[a])


def test_the_invitation_is_signed_by_the_operator(setup: Setup) -> None:
    opened = decode(EpochOpen, setup.messages(setup.members[0])[0].body)
    assert opened == setup.epoch.opened


def test_a_message_of_another_sender_epoch_or_signer_is_refused(setup: Setup) -> None:
    a, b, _ = setup.members
    signed = setup.world.keys[b].sign(Purpose.EPOCH_KEY, encode(setup.key(a)))
    with pytest.raises(PeerError, match="of the sender"):
        setup.epoch.take(EpochStep.KEYS, b, signed)
    with pytest.raises(PeerError, match="valid signature"):
        setup.epoch.take(EpochStep.KEYS, a, signed)
    old = setup.key(a)
    setup.epoch = KeyEpoch.open(
        setup.store, setup.mailbox, setup.world.operator, setup.agreement, setup.members
    )
    with pytest.raises(WrongTime, match="key epoch 2, got 1"):
        setup.send(a, EpochStep.KEYS, old)
    assert setup.epoch.missing() == set(setup.members)


def test_a_second_key_is_refused_and_the_same_one_again_changes_nothing(setup: Setup) -> None:
    a = setup.members[0]
    setup.send(a, EpochStep.KEYS, setup.key(a))
    setup.send(a, EpochStep.KEYS, setup.key(a))
    with pytest.raises(PeerError, match="sent before"):
        setup.send(a, EpochStep.KEYS, setup.key(a, SealingKey.generate().public()))
    assert setup.epoch.missing() == set(setup.members[1:])


def test_what_would_stall_the_other_members_is_refused_at_the_door(setup: Setup) -> None:
    a = setup.members[0]
    with pytest.raises(PeerError, match="1216 bytes"):
        setup.send(a, EpochStep.KEYS, setup.key(a, b"short"))
    with pytest.raises(WrongTime):
        setup.send(
            a,
            EpochStep.HALVES,
            EpochHalves(
                agreement=setup.agreement.digest, epoch=1, institution=a, sealed=(b"", b"x", b"y")
            ),
        )
    setup.to_halves()
    with pytest.raises(PeerError, match="3 sealed halves"):
        setup.send(
            a,
            EpochStep.HALVES,
            EpochHalves(agreement=setup.agreement.digest, epoch=1, institution=a, sealed=(b"",)),
        )


def test_a_member_that_saw_something_else_fails_the_epoch_and_is_named(setup: Setup) -> None:
    setup.to_views()
    view = setup.view(setup.members[0])
    setup.send_view(setup.members[0], view)
    setup.send_view(setup.members[1], Digest("0" * 64))
    setup.send_view(setup.members[2], view)
    assert setup.epoch.step is EpochStep.FAILED
    assert setup.epoch.culprits == {setup.members[1]}
    assert len(setup.parcels(setup.members[0])) == 3


def test_a_failed_epoch_stays_failed_and_the_next_has_a_fresh_number(setup: Setup) -> None:
    setup.epoch.fail()
    setup.kill()
    assert setup.epoch.step is EpochStep.FAILED
    setup.epoch = KeyEpoch.open(
        setup.store, setup.mailbox, setup.world.operator, setup.agreement, setup.members
    )
    assert setup.epoch.opened.epoch == 2
