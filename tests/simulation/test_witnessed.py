"""A disk that was put back, or runs twice, lets nothing leave: the others remember more than it.

Each case is tried with real vaults and their real stores, a hundred times in the long tests: the
copy is made at a boundary, the original goes on, and then the copy is opened in its place or beside
it. It must reserve, train and upload nothing that the others have not seen follow from the
original, and must know why it was stopped.
"""

import shutil
from pathlib import Path

import pytest

from comity_client.witnesses import Witnesses
from comity_common.canonical import decode
from comity_common.errors import Refusal, RefusalCode
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetRefund,
    BudgetReserve,
    Egress,
    RefundReason,
    Restore,
    Traffic,
)
from comity_common.secagg.messages import CertificateBody
from comity_common.secagg.participant import certificate_digest
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Phase

from .test_vaults import Federation, Seat

TIMES = 100
AT = {
    "before-reserve": "ordered",
    "after-reserve": "joined",
    "after-started": "started",
    "after-masked": "masked",
}


class World(Federation):
    """Five vaults, one of which is copied while it works."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, rounds=4, spare=4)
        self.set_up_keys()
        self.roster = list(self.agreement.roster)
        self.victim = self.seats[self.roster[0]]
        self.copies = path / "copies"

    def copy_at(self, boundary: str) -> Path:
        """Copy the victim's directory when it passes a boundary for the first time."""
        to = self.copies / boundary

        def at(name: str, round: int) -> None:
            if name == boundary and not to.exists():
                shutil.copytree(self.victim.path, to)

        self.victim.vault._on_phase = at
        return to

    def begin(self) -> None:
        """Bring the next round's orders to all."""
        self.plan = self.operator.begin_round(self.roster)
        assert self.order(self.plan, self.roster) == {}

    def play(self) -> None:
        """Take all vaults through the round that was begun."""
        for seat in self.seats.values():
            seat.work()
        self.finish(self.roster)

    def open(self, copy: Path) -> Seat:
        """Open a copy as a daemon would, in the original's place."""
        twin = Seat(copy, self.agreement, self.operator)
        twin.bench.trained = 100
        return twin


def spent_before(seat: Seat) -> tuple[int, int, int]:
    """Count what must not grow: reserves, uploads on the ledger, rounds trained."""
    uploads = [one for one in seat.entries(Egress) if one.traffic is Traffic.MECHANISM]
    return len(seat.entries(BudgetReserve)), len(uploads), seat.bench.trained


def is_caught(world: World, twin: Seat) -> bool:
    """Let a copy take up its work, offer it the next round, and tell whether it was stopped.

    Nothing may leave it but the very bytes that the original had made.
    """
    headers = {key: set(sent) for key, sent in world.operator.headers.items()}
    trained = twin.bench.trained
    twin.work()
    plan = world.operator.begin_round(world.roster)
    stopped = twin.vault.witnesses.is_caught
    try:
        twin.vault.accept_order(world.agreement.digest, plan.round, plan_digest(plan))
    except Refusal as refusal:
        stopped = stopped and refusal.code is RefusalCode.RESTORED
    twin.work()
    assert twin.bench.trained == trained
    for key, sent in world.operator.headers.items():
        assert sent <= headers.get(key, set())
    return stopped and bool(twin.entries(Restore))


def put_back(path: Path, case: str) -> bool:
    """Play a round, put back the copy from a boundary of it, and tell whether it was caught."""
    world = World(path)
    boundary = AT[case]
    if boundary == "ordered":
        world.begin()
        shutil.copytree(world.victim.path, world.copies / boundary)
    else:
        world.copy_at(boundary)
        world.begin()
    world.play()
    world.begin()  # the original goes on: its next reserve is witnessed
    world.play()
    return is_caught(world, world.open(world.copies / boundary))


def run_twice(path: Path) -> bool:
    """Let a copy and its original take the same order; tell whether one was stopped."""
    world = World(path)
    shutil.copytree(world.victim.path, world.copies / "clone")
    world.begin()
    twin = world.open(world.copies / "clone")
    twin.vault.accept_order(world.agreement.digest, world.plan.round, plan_digest(world.plan))
    seats = {"original": world.victim, "clone": twin}
    for _ in range(4):
        for seat in seats.values():
            world.operator.ears[seat.inst.me] = seat.hear  # both listen, one at a time
            seat.vault.go_on()
    trained = [seat.bench.trained % 100 for seat in seats.values()]
    caught = [seat.vault.witnesses.is_caught for seat in seats.values()]
    sent = [spent_before(seat)[1] for seat in seats.values()]
    assert sum(trained) == sum(sent) == 1
    return sum(caught) == 1


@pytest.mark.parametrize("case", AT)
def test_a_disk_that_was_put_back_is_stopped_before_anything_leaves(tmp_path, case):
    assert put_back(tmp_path, case)


def test_of_two_copies_that_run_at_once_one_is_stopped(tmp_path):
    assert run_twice(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", [*AT, "live-clone"])
def test_all_of_a_hundred_are_stopped(tmp_path, case):
    for k in range(TIMES):
        path = tmp_path / str(k)
        assert run_twice(path) if case == "live-clone" else put_back(path, case)
        shutil.rmtree(path)


def test_without_witnesses_a_disk_that_was_put_back_is_not_stopped(tmp_path, monkeypatch):
    """The test can fail: this is what the witnesses are for."""
    monkeypatch.setattr(Witnesses, "are_enough", lambda self, size: True)
    monkeypatch.setattr(Witnesses, "ask", lambda self, size=1: None)
    world = World(tmp_path)
    shutil.copytree(world.victim.path, world.copies / "ordered")
    world.begin()
    world.play()
    twin = world.open(world.copies / "ordered")
    twin.vault.accept_order(world.agreement.digest, world.plan.round, plan_digest(world.plan))
    before = twin.bench.trained
    twin.work()
    assert twin.bench.trained == before + 1


def test_no_noise_is_drawn_and_nothing_leaves_before_a_quorum_has_seen_it(tmp_path):
    world = World(tmp_path)
    others = world.roster[1:]
    away = {id: world.operator.ears.pop(id) for id in others}
    world.begin()
    victim, quorum = world.victim, world.victim.vault.witnesses.quorum
    assert quorum == 3
    victim.vault.go_on()
    for k in range(quorum + 1):  # the others come back one by one
        victim.vault.witnesses._asked_at = -100.0
        victim.vault.go_on()
        assert victim.bench.trained == (k == quorum)
        phase = victim.inst.rounds.get(world.agreement.digest, 1).phase
        assert phase is (Phase.MASKED if k == quorum else Phase.JOINED)
        if k < quorum:
            world.operator.ears[others[k]] = away[others[k]]
    for id in others:
        world.operator.ears.pop(id, None)
    with_egress = victim.inst.rounds.get(world.agreement.digest, 1).egress_size
    assert victim.vault.witnesses.have_seen(with_egress) == 0
    for k in range(quorum + 1):
        victim.vault.witnesses._asked_at = -100.0
        victim.vault.go_on()
        assert bool(world.operator.vectors) == (k == quorum)
        if k < quorum:
            world.operator.ears[others[k]] = away[others[k]]


def waiting_for_witnesses(path: Path) -> World:
    """A world whose victim has reserved, and whom nobody answers."""
    world = World(path)
    for id in world.roster[1:]:
        world.operator.ears.pop(id)
    world.begin()
    world.victim.vault.go_on()
    assert world.victim.inst.ledger.budget().open_reserves()
    return world


def test_a_crash_before_witnesses_answered_is_spent_though_nothing_was_trained(tmp_path):
    world = waiting_for_witnesses(tmp_path)
    world.victim.wake()
    assert world.victim.bench.trained == 0
    assert [charge.outcome.value for charge in world.victim.entries(BudgetCharge)] == ["forfeited"]
    assert world.victim.entries(BudgetRefund) == []


def test_a_round_that_is_void_before_noise_was_drawn_is_given_back(tmp_path):
    world = waiting_for_witnesses(tmp_path)
    world.operator.collector.expire()
    world.operator.certify()
    world.victim.work()
    (refund,) = world.victim.entries(BudgetRefund)
    (reserve,) = world.victim.entries(BudgetReserve)
    certificate = certificate_digest(decode(CertificateBody, world.operator.certificate.body))
    assert (refund.nonce, refund.reason, refund.evidence) == (
        reserve.nonce,
        RefundReason.ROUND_VOID,
        certificate,
    )
    budget = world.victim.inst.ledger.budget()
    assert budget.epsilon_reserved(reserve.dataset) == 0.0
    assert world.victim.bench.trained == 0


def test_a_round_that_a_newer_plan_overtakes_before_noise_was_drawn_is_given_back(tmp_path):
    world = waiting_for_witnesses(tmp_path)
    first = world.victim.entries(BudgetReserve)[0]
    world.operator.ears.update({id: world.seats[id].hear for id in world.roster[1:]})
    newer = world.operator.begin_round(world.roster)
    world.order(newer, world.roster[:1])
    world.victim.work()
    (refund,) = world.victim.entries(BudgetRefund)
    assert (refund.nonce, refund.reason) == (first.nonce, RefundReason.OVERTAKEN)
    assert refund.evidence == plan_digest(newer)
    assert world.victim.bench.trained == 1


def test_noise_that_was_drawn_is_never_given_back(tmp_path):
    world = World(tmp_path)
    world.begin()
    world.victim.crash_at = ("training", 1)
    world.victim.work()
    world.operator.collector.expire()
    world.operator.certify()
    world.victim.work()
    assert world.victim.bench.trained == 1
    assert world.victim.entries(BudgetRefund) == []
    assert [charge.outcome.value for charge in world.victim.entries(BudgetCharge)] == ["forfeited"]


def test_an_order_to_who_was_never_seen_before_is_cosigned_at_any_size(tmp_path):
    world = World(tmp_path)
    newcomer: InstitutionId = world.roster[3]
    for seat in world.seats.values():
        with seat.inst.store.transaction() as tx:
            tx.execute("delete from witnessed where institution = ?", (newcomer,))
    world.begin()
    world.play()
    assert world.seats[newcomer].bench.trained == 1
