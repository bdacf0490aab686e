"""The coordinator's steps at the edges: nobody comes, nobody answers, a disk tells lies."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.federation import World, set_up_epoch
from tests.simulation.network import Federation

from comity.v1 import transfer_pb2 as pb
from comity_common import wire
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, verify
from comity_common.errors import RefusalCode
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import q_bytes
from comity_common.secagg.messages import CertificateBody, Deadline
from comity_common.secagg.participant import header_digest
from comity_common.secagg.round import Stage
from comity_server.agreements import Agreements, AgreementState
from comity_server.config import Deadlines
from comity_server.coordinator import Coordinator
from comity_server.desk import Desk
from comity_server.epochs import EpochStep, KeyEpoch
from comity_server.errors import WrongTime
from comity_server.extending import Extending
from comity_server.heads import Heads
from comity_server.history import History
from comity_server.mailbox import Mailbox
from comity_server.models import Models
from comity_server.orders import Orders
from comity_server.registry import Registry
from comity_server.rounds import Round
from comity_server.uploads import Declared, Uploads
from comity_server.waiting import Stopped


class Clock:
    """Seconds that run away: every wait is over as soon as it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1000.0
        return self.now


class Operator:
    """A coordinator without its thread, over a real store, and a world of institutions."""

    def __init__(
        self,
        directory: Path,
        clock: Callable[[], float] | None = None,
        institutions: int = 4,
        **terms: Any,
    ) -> None:
        federation = Federation.make(directory, institutions, **terms)
        self.home, self.agreement = federation.home, federation.agreement
        signing = {id: each.signing for id, each in federation.identities.items()}
        self.keys = self.home.signing_keys()
        chains = set_up_epoch(self.agreement, signing)
        self.world = World(self.agreement, self.keys, signing, chains)
        self.clock = clock or Clock()
        self.now = lambda: 0.0
        self.open()

    def open(self) -> None:
        self.store = self.home.open_store()
        registry = Registry(self.store)
        models = Models(self.home.models)
        self.agreements = Agreements(self.store, registry, models)
        self.history = History(self.store)
        self.uploads = Uploads(self.store, self.home.uploads)
        self.mailbox = Mailbox(self.store, lambda: None)
        self.phases: list[str] = []
        self.desk = Desk(
            keys=self.keys,
            registry=registry,
            agreements=self.agreements,
            history=self.history,
            uploads=self.uploads,
            totals=self.home.totals,
            orders=Orders(self.clock),
            on_phase=lambda name, _institution, _round: self.phases.append(name),
        )
        self.coordinator = Coordinator(
            store=self.store,
            keys=self.keys,
            registry=registry,
            agreements=self.agreements,
            history=self.history,
            mailbox=self.mailbox,
            uploads=self.uploads,
            models=models,
            heads=Heads(self.store, self.keys, self.mailbox),
            desk=self.desk,
            deadlines=Deadlines(),
            clock=self.clock,
            now=self.now,
        )
        self.coordinator.resume(self.agreement)

    def connect(self, *who: str) -> None:
        self.streams = [
            self.mailbox.follow(id, 0, lambda: True, self.agreement.digest) for id in who
        ]
        for stream in self.streams:
            next(stream, None)

    def begin(self, kind: RoundKind = RoundKind.TRAIN) -> Round:
        """Begin a round of all as if a key epoch had been set up."""
        plan = self.world.plan(kind=kind)
        for who in plan.participants:
            self.world.deal(plan, who, random.Random(1))
        self.desk.round = Round.begin(self.store, self.uploads, self.keys, self.agreement, plan)
        return self.desk.round

    def upload(self, who: str) -> None:
        header, upload = self.world.signed[who]
        dealt = self.world.dealt[who]
        declared = Declared(
            header=header.body,
            header_signature=header.signature,
            upload=upload.body,
            upload_signature=upload.signature,
            boxes=dealt.boxes,
            leaves=dealt.leaves,
        )
        name = self.desk.begin_upload(who, self.agreement.digest, declared)
        self.desk.put(who, name, [(0, bytes(dealt.vector))])
        self.desk.finish_upload(who, name)

    def reveal_all(self) -> None:
        round = self.desk.round
        survivors = round.collector.survivors
        for who in survivors.survivors:
            round.reveal(who, self.world.reveal(round.plan, who, survivors))

    def step(self) -> bool:
        return self.coordinator.step(self.agreement)

    def certificate(self) -> CertificateBody:
        return decode(CertificateBody, self.desk.round.certificate.body)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "operator")


def test_a_run_to_which_nobody_comes_stops_with_a_reason_and_can_be_resumed(
    operator: Operator,
) -> None:
    with pytest.raises(Stopped, match="0 institutions are ready, 3 are needed"):
        operator.step()
    digest = operator.agreement.digest
    operator.agreements.end(digest, AgreementState.STOPPED, "nobody came")
    operator.agreements.start(digest)
    assert operator.agreements.running() == operator.agreement


def test_a_key_epoch_that_stalls_fails_and_the_next_leaves_the_silent_out(
    operator: Operator,
) -> None:
    roster = operator.agreement.roster
    post_to_all(operator)
    operator.connect(*roster)
    operator.step()
    assert operator.desk.epoch.opened.members == roster
    assert operator.desk.epoch.step is EpochStep.KEYS
    operator.step()
    assert operator.desk.epoch.step is EpochStep.FAILED
    with pytest.raises(Stopped, match="0 institutions are ready"):
        operator.step()
    for who in roster[:3]:
        operator.desk.heard[who] += 1  # its late message came after all
    operator.step()
    assert operator.desk.epoch.opened.epoch == 2
    assert operator.desk.epoch.opened.members == roster[:3]


def post_to_all(operator: Operator) -> None:
    """Post something, so that a stream that was begun does not wait."""
    with operator.store.write() as tx:
        for who in operator.agreement.roster:
            operator.mailbox.post(tx, who, pb.Parcel(agreement="hello"))


@pytest.mark.parametrize("ready", ["", "0" * 64], ids=["still-loads", "another-agreement"])
def test_who_is_connected_and_not_ready_is_not_counted_for_a_key_epoch(
    operator: Operator, ready: str
) -> None:
    roster = operator.agreement.roster
    post_to_all(operator)
    operator.connect(*roster[:3])
    loading = operator.mailbox.follow(roster[3], 0, lambda: True, ready)
    next(loading)
    operator.step()
    assert operator.mailbox.connected() == set(roster)
    assert operator.desk.epoch.opened.members == roster[:3]


def test_who_has_loaded_and_follows_anew_is_taken_into_the_next_key_epoch(
    operator: Operator,
) -> None:
    roster = operator.agreement.roster
    post_to_all(operator)
    operator.connect(*roster[:3])
    loading = operator.mailbox.follow(roster[3], 0, lambda: True)
    next(loading)
    operator.step()
    operator.desk.epoch.step = EpochStep.READY
    with pytest.raises(Stopped, match="ready, up to date and online at Flower"):
        operator.step()
    loaded = operator.mailbox.follow(roster[3], 0, lambda: True, operator.agreement.digest)
    next(loaded)
    operator.step()
    assert operator.desk.epoch.opened.epoch == 2
    assert operator.desk.epoch.opened.members == roster


def test_a_run_whose_institutions_all_load_for_too_long_stops_with_a_reason(
    operator: Operator,
) -> None:
    roster = operator.agreement.roster
    post_to_all(operator)
    operator.connect(*roster[:2])
    loading = [operator.mailbox.follow(who, 0, lambda: True) for who in roster[2:]]
    for stream in loading:
        next(stream)
    with pytest.raises(Stopped, match="2 institutions are ready, 3 are needed"):
        operator.step()


def test_a_set_up_epoch_without_flower_stops_with_a_reason(operator: Operator) -> None:
    roster = operator.agreement.roster
    operator.desk.epoch = KeyEpoch.open(
        operator.store, operator.mailbox, operator.keys, operator.agreement, roster
    )
    operator.desk.epoch.step = EpochStep.READY
    operator.connect(*roster)
    with pytest.raises(Stopped, match="0 institutions are ready, up to date and online"):
        operator.step()


def test_uploads_that_never_come_void_the_round(operator: Operator) -> None:
    operator.begin()
    operator.upload("inst-00")
    operator.step()
    assert operator.desk.round.stage is Stage.VOID
    operator.step()
    assert operator.certificate().reason == "1 of 4 uploads arrived, 4 are needed"
    assert operator.desk.round.published
    assert operator.history.head(operator.agreement).model == operator.agreement.model.initial_state


def extending(operator: Operator) -> Extending:
    return Extending(operator.desk, operator.mailbox, operator.keys, operator.now)


def deadlines_of(operator: Operator, who: str) -> list[Deadline]:
    """Read the deadlines in a mailbox, each as the operator signed it."""
    found = []
    key = operator.agreement.operator.identity
    for parcel in operator.mailbox._read(who, 0):
        if parcel.kind == pb.PARCEL_KIND_DEADLINE:
            signed = wire.only(parcel)
            raw = verify(key.ed25519, key.mldsa44, Purpose.DEADLINE, signed)
            found.append(decode(Deadline, raw))
    return found


def test_an_extended_deadline_is_told_to_whose_upload_is_missing_and_outlives_a_restart(
    tmp_path: Path,
) -> None:
    operator = Operator(tmp_path / "operator")
    operator.now = lambda: 1000.0
    round = operator.begin()
    operator.upload("inst-00")
    done = extending(operator).extend(operator.agreement.digest, 500)
    assert (done.round, done.until) == (1, 1500)
    assert done.told == operator.agreement.roster[1:]
    assert deadlines_of(operator, "inst-00") == []
    expected = Deadline(plan=round.digest, until=1500)
    assert deadlines_of(operator, "inst-01") == [expected]
    less = extending(operator).extend(operator.agreement.digest, 100)
    assert (less.until, less.told) == (1500, ())
    assert deadlines_of(operator, "inst-01") == [expected]

    seconds = iter([1400.0, 1490.0, 1499.0, 1500.0])
    operator.now = lambda: next(seconds)
    operator.open()  # killed and started again; its own deadline is over at the first look
    assert operator.desk.round.until == 1500
    operator.step()
    assert list(seconds) == []
    assert operator.desk.round.stage is Stage.VOID


def test_what_does_not_wait_for_uploads_is_not_extended(operator: Operator) -> None:
    digest = operator.agreement.digest
    with pytest.raises(WrongTime, match="to be going on"):
        extending(operator).extend(digest, 100)
    operator.begin()
    for who in operator.agreement.roster:
        operator.upload(who)
    with pytest.raises(WrongTime, match="this one is revealing"):
        extending(operator).extend(digest, 100)
    assert operator.desk.round.until == 0


def test_reveals_that_never_come_void_the_round(operator: Operator) -> None:
    operator.begin()
    for who in operator.agreement.roster:
        operator.upload(who)
    operator.step()
    assert operator.desk.round.stage is Stage.VOID
    assert operator.desk.round.collector.reason == "0 of 4 reveals arrived"
    assert operator.phases[-1] == "survivors-posted"


def test_a_canary_that_does_not_count_voids_the_round_also_after_a_restart(
    operator: Operator,
) -> None:
    round = operator.begin()
    for who in operator.agreement.roster:
        operator.upload(who)
    operator.reveal_all()
    assert round.stage is Stage.SUMMING
    name = header_digest(operator.world.dealt["inst-02"].header)
    with operator.uploads.path(name).open("r+b") as file:
        file.seek(q_bytes(round.plan.lanes, 32) - 4)
        file.write(bytes(4))
    operator.step()
    assert operator.desk.round.stage is Stage.VOID
    operator.open()  # killed before the void certificate was signed
    assert operator.desk.round.stage is Stage.SUMMING
    operator.step()
    operator.step()
    assert operator.certificate().reason == "expected every canary lane to count 4 survivors"


@pytest.mark.parametrize("kind", RoundKind)
@pytest.mark.parametrize("killed", [False, True])
def test_a_round_ends_in_the_same_model_however_often_its_steps_are_taken(
    tmp_path: Path, killed: bool, kind: RoundKind
) -> None:
    operator = Operator(tmp_path / "operator", scored_after=(1,))
    operator.begin(kind)
    for who in operator.agreement.roster:
        operator.upload(who)
    operator.reveal_all()
    if killed:
        collector = operator.desk.round.collector
        operator.desk.on_phase = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            operator.step()  # the sum and the next model are on disk, the certificate is not
        assert collector.stage is Stage.SUMMING
        operator.open()
    operator.step()
    assert operator.desk.round.stage is Stage.CERTIFIED
    head = operator.history.head(operator.agreement)
    is_score = kind is RoundKind.EVALUATE
    assert (head.begun, head.begun_scores) == (1, is_score)
    assert (head.certified, head.scored) == (not is_score, is_score)
    assert (head.model == operator.agreement.model.initial_state) is is_score
    expected = sum(operator.world.clear.values())
    total = operator.desk.total_path(operator.agreement.digest, 1).read_bytes()
    assert total[: expected.nbytes // 2] == expected.astype("<i4").tobytes()
    operator.step()
    assert operator.desk.round.published  # all were in it, so nobody waits for endorsements


def test_without_endorsements_the_absent_are_told_nothing_and_the_run_stops(
    tmp_path: Path,
) -> None:
    operator = Operator(tmp_path / "operator", institutions=5)
    round = operator.begin()
    for who in operator.agreement.roster[:4]:
        operator.upload(who)
    round.excuse("inst-04", RefusalCode.UNAVAILABLE)
    operator.reveal_all()
    operator.step()
    with pytest.raises(Stopped, match="0 of 4 institutions endorsed the model of round 1"):
        operator.step()
    assert not round.published


def test_who_was_ordered_and_answers_nothing_is_excused_once_its_time_is_over(
    tmp_path: Path,
) -> None:
    clock = Clock()
    operator = Operator(tmp_path / "operator", clock=lambda: clock.now)
    operator.begin()
    operator.desk.orders.heard("1", [1, 2, 3, 4])
    operator.desk.orders.give(operator.desk.round.digest, [1, 2, 3, 4])
    for node in (1, 2):
        operator.desk.acknowledge(node, operator.desk.round.digest, None)
    operator.desk.acknowledge(3, operator.desk.round.digest, RefusalCode.BUDGET)
    operator.desk.acknowledge(1, operator.desk.round.digest, RefusalCode.BUDGET)
    assert operator.desk.unanswered() == {"inst-03"}
    clock.now += 25
    operator.desk.orders.heard("1", [1, 2, 3, 4])
    clock.now += 10
    operator.coordinator._excuse_overdue(operator.desk.round)
    assert operator.desk.round.collector.declined == {
        "inst-02": RefusalCode.BUDGET,
        "inst-03": RefusalCode.UNAVAILABLE,
    }
    assert operator.desk.round.accepted == {"inst-00", "inst-01"}


def test_all_attempts_used_and_an_expired_agreement_stop_the_run(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "operator", rounds=1, spare_rounds=0)
    operator.begin()
    operator.step()
    operator.step()
    with pytest.raises(Stopped, match="0 of 1 rounds are certified and all 1 attempts are used"):
        operator.step()
    schedule = replace(operator.agreement.schedule, expires="2020-01-01", spare_rounds=1)
    expired = replace(operator.agreement, schedule=schedule)
    with pytest.raises(Stopped, match="expired on 2020-01-01"):
        operator.coordinator.step(expired)
