"""A round that is killed and reopened after every event goes the same way as one that is not."""

import random
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.ledger_keys import arrived
from tests.operator_store import operator_store
from tests.simulation.federation import World

from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose
from comity_common.errors import PeerError, RefusalCode
from comity_common.secagg.messages import Decline, Reveal
from comity_common.secagg.participant import header_digest
from comity_common.secagg.round import Stage
from comity_server.errors import WrongTime
from comity_server.mailbox import Mailbox
from comity_server.rounds import Round
from comity_server.tables import events, mailbox
from comity_server.uploads import Declared, Uploads


class Table:
    """One round of five, whose daemon can be killed at any time."""

    def __init__(self, directory: Path, *, killed: bool) -> None:
        self.directory = directory
        self.killed = killed
        self.world = World.of(5)
        self.plan = self.world.plan()
        for who in self.plan.participants:
            self.world.deal(self.plan, who, random.Random(3))
        self.store = operator_store(directory / "server.db")
        self.open_files()
        Round.begin(self.store, self.uploads, self.world.operator, self.world.agreement, self.plan)
        self.reopen()

    def open_files(self) -> None:
        self.uploads = Uploads(self.store, self.directory)
        self.mailbox = Mailbox(self.store, lambda: None)

    def reopen(self) -> None:
        self.round = Round(self.store, self.uploads, self.world.agreement, self.plan.round)

    def kill(self) -> None:
        if self.killed:
            self.store.close()
            self.store = operator_store(self.directory / "server.db")
            self.open_files()
            self.reopen()

    def upload(self, who: str) -> None:
        header, upload = self.world.signed[who]
        dealt = self.world.dealt[who]
        name = header_digest(dealt.header)
        declared = Declared(
            header=header.body,
            header_signature=header.signature,
            upload=upload.body,
            upload_signature=upload.signature,
            boxes=dealt.boxes,
            leaves=dealt.leaves,
        )
        self.uploads.begin(declared)
        self.uploads.put(name, who, [(0, bytes(dealt.vector))])
        self.kill()
        self.uploads.finish(name, who, arrived(who))
        self.kill()
        self.round.upload(who, name)
        self.kill()

    def reveal(self, who: str) -> None:
        survivors = self.round.collector.survivors
        self.round.reveal(who, self.world.reveal(self.plan, who, survivors))
        self.kill()

    def decline(self, who: str, signer: str) -> None:
        message = Decline(
            agreement=self.world.agreement.digest,
            round=self.plan.round,
            plan=self.round.digest,
            institution=who,
            code=RefusalCode.BUDGET,
        )
        self.round.decline(who, self.world.keys[signer].sign(Purpose.DECLINE, encode(message)))

    def count(self, table) -> int:
        with self.store.read() as tx:
            return tx.execute(select(func.count()).select_from(table)).scalar_one()


def to_the_sum(directory: Path, *, killed: bool) -> Table:
    """Play a round with a refusal by Flower, a late upload and a silent survivor."""
    table = Table(directory, killed=killed)
    a, b, c, d, e = table.plan.participants
    for who in (a, c, d):
        table.round.accept(who)
        table.kill()
    table.round.excuse(b, RefusalCode.UNAVAILABLE)
    table.kill()
    for who in (d, a, c):
        table.upload(who)
    table.upload(b)  # excused, and came after all
    table.round.expire()
    table.kill()
    assert table.round.stage is Stage.REVEALING
    with pytest.raises(WrongTime):
        table.upload(e)
    for _ in range(2):
        table.round.list_survivors(table.mailbox, table.world.operator)
        table.kill()
    for who in (c, a, d, b):
        table.reveal(who)
    return table


def test_a_killed_round_lists_the_same_survivors_and_ends_in_the_same_residue(
    tmp_path: Path,
) -> None:
    (tmp_path / "killed").mkdir()
    table = to_the_sum(tmp_path / "killed", killed=True)
    assert table.round.stage is Stage.SUMMING
    assert table.round.collector.survivors.survivors == table.plan.participants[:4]
    total, canaries = table.world.total(table.round.collector)
    expected = sum(table.world.clear[who] for who in table.plan.participants[:4])
    assert (total == expected).all()
    assert (canaries == 4).all()


@pytest.mark.parametrize("killed", [False, True])
def test_survivor_lists_and_certificates_are_posted_once(tmp_path: Path, killed: bool) -> None:
    table = to_the_sum(tmp_path, killed=killed)
    assert table.count(mailbox) == 4
    table.round.collector.summed()
    body = table.round.collector.certificate(bytes(32))
    table.round.end(table.mailbox, table.world.operator, body, table.plan.model)
    table.kill()
    assert table.round.stage is Stage.CERTIFIED
    assert table.count(mailbox) == 8
    for _ in range(2):
        table.round.publish(table.mailbox, [])
        table.kill()
    assert table.round.published
    assert table.count(mailbox) == 9  # the one who was dropped


def test_a_void_round_is_told_to_all_and_stays_void(tmp_path: Path) -> None:
    table = Table(tmp_path, killed=True)
    for who in table.plan.participants[:3]:
        table.upload(who)
    table.round.expire()
    table.kill()
    assert table.round.stage is Stage.VOID
    body = table.round.collector.certificate(b"")
    assert body.reason == "3 of 5 uploads arrived, 4 are needed"
    table.round.end(table.mailbox, table.world.operator, body, table.plan.model)
    table.kill()
    assert table.round.stage is Stage.VOID
    assert table.round.published
    assert table.count(mailbox) == 5


def test_what_the_collector_refuses_is_not_kept(tmp_path: Path) -> None:
    table = Table(tmp_path, killed=False)
    a, b, *_ = table.plan.participants
    with pytest.raises(PeerError):
        table.decline(a, signer=b)
    assert table.count(events) == 0
    table.decline(a, signer=a)
    assert table.round.collector.declined == {a: RefusalCode.BUDGET}
    assert table.count(events) == 1


def test_a_second_different_reveal_is_refused_and_the_first_one_counts(tmp_path: Path) -> None:
    table = Table(tmp_path, killed=True)
    for who in table.plan.participants:
        table.upload(who)
    who = table.plan.participants[0]
    table.reveal(who)
    table.reveal(who)
    honest = decode(
        Reveal, table.world.reveal(table.plan, who, table.round.collector.survivors).body
    )
    other = Reveal(
        survivors=honest.survivors,
        institution=who,
        shares=(bytes(32), *honest.shares[1:]),
        complaints=(),
    )
    with pytest.raises(PeerError, match="same reveal"):
        table.round.reveal(who, table.world.keys[who].sign(Purpose.REVEAL, encode(other)))
    table.kill()
    assert table.round.collector.reveals == {who: honest}


def test_a_deadline_that_was_stored_is_not_taken_for_that_of_the_next_stage(
    tmp_path: Path,
) -> None:
    table = Table(tmp_path, killed=True)
    for who in table.plan.participants[:4]:
        table.upload(who)
    table.round.expire()
    table.kill()
    assert table.round.stage is Stage.REVEALING
    for who in table.plan.participants[:3]:
        table.reveal(who)
    table.round.expire()
    table.kill()
    assert table.round.stage is Stage.VOID
    assert table.round.collector.reason == "3 of 4 reveals arrived"
