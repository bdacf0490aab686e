"""A vault whose disk is full: it spends nothing for want of room, or once, and never dies of it.

One of three real vaults has its home on a small file system in memory. Before one round it leaves
little room on it; in another it is filled to the last page while the vault trains.
"""

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.integration.loopback import Federation, until

import comity_client.daemon
from comity_client.space import needed_bytes
from comity_client.store import Store
from comity_common.errors import RefusalCode
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import BudgetCharge, BudgetReserve, Outcome, Refused
from comity_common.ledger.entries import check_order
from comity_common.secagg.messages import Plan
from comity_common.secagg.round import Stage
from comity_common.tuning import Tune
from comity_host.files import is_disk_full

FULL = "no space is left on the disk; waiting until there is"
DISK_MIB = 40
ROWS = {InstitutionId(f"inst-0{k}"): ["zebra quartz violin", "copper"] * 20 for k in range(3)}
POOR = InstitutionId("inst-00")


@contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[None]:
    """Have a directory on a file system of its own, if this machine lets us."""
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, leave: int = 0) -> None:
    """Take all room but so many bytes, also while others write."""
    with (place / "filler").open("ab", buffering=0) as filler, suppress(OSError):
        while (free := shutil.disk_usage(place).free - leave) > 0:
            filler.write(bytes(min(free, 1 << 20)))


def make_room(place: Path) -> None:
    """Give back what `fill` took."""
    (place / "filler").unlink()


class Story:
    """A federation, and what is seen of its poor institution."""

    def __init__(self, path: Path) -> None:
        self.federation = Federation(path, ROWS, Tune.LORA)
        self.part = self.federation.parts[POOR]
        self.home = self.part.home.path
        self.fill_in_round = 0
        self.threads: dict[InstitutionId, threading.Thread] = {}
        for id in ROWS:
            self.threads[id] = self.federation.start(id, self._at if id == POOR else _nothing)

    def _at(self, name: str, round: int) -> None:
        if (name, round) == ("training", self.fill_in_round):
            self.fill_in_round = 0
            fill(self.home)

    def order(self) -> Plan:
        """Begin a round and bring the order to all."""
        federation = self.federation
        with federation.board.bell:
            plan = federation.operator.begin_round(list(federation.agreement.roster))
        for id in federation.agreement.roster:
            assert federation.order(id, plan) == {"accepted": True, "code": ""}
        return plan

    def void(self, plan: Plan) -> RefusalCode:
        """Wait until the poor institution has declined, and end the round; return the code."""
        operator, bell = self.federation.operator, self.federation.board.bell
        collector = operator.collector
        assert collector is not None
        until("a void round", lambda: collector.stage is Stage.VOID)
        with bell:
            operator.certify()
            bell.notify_all()
        until("the endorsements", lambda: len(operator.endorsements) == len(ROWS))
        return collector.declined[POOR]

    def doing(self) -> str:
        return str(self.federation.ask(POOR, "control", {})["doing"])

    def ready(self) -> list[str]:
        """What it said at each call of its mailbox of what it is ready for."""
        requests = self.federation.listeners[POOR].requests
        return [each.message.ready for each in requests if each.method == "Follow"]

    def bodies(self, kind: type, round: int = 0) -> list:
        entries = self.part.ledger.entries()
        check_order(entries)
        bodies = [body for body in (entry.body for entry in entries) if isinstance(body, kind)]
        return [body for body in bodies if not round or body.round == round]

    def charges(self, round: int) -> list[Outcome]:
        """How the budget of a round was charged."""
        nonces = {reserve.nonce for reserve in self.bodies(BudgetReserve, round)}
        return [one.outcome for one in self.bodies(BudgetCharge) if one.nonce in nonces]


def _nothing(name: str, round: int) -> None:
    pass


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Four rounds: one with little room, one with enough, one that fills the disk, one after it."""
    path = tmp_path_factory.mktemp("f")
    with pytest.MonkeyPatch.context() as patch, small_disk(path / POOR, DISK_MIB):
        patch.setattr(comity_client.daemon, "IDLE_S", 0.02)
        patch.setattr(comity_client.daemon, "AGAIN_S", 0.5)
        patch.setattr(comity_client.daemon, "BACKOFF_S", (0.1,))
        story = Story(path)
        federation, home = story.federation, story.home
        try:
            federation.set_up_keys()
            fill(home, leave=needed_bytes(federation.agreement) - 4096)
            code_of_1 = story.void(story.order())
            make_room(home)
            federation.run_round()
            after_2 = federation.operator.collector.stage
            story.fill_in_round = 3
            plan = story.order()
            until("a full disk", lambda: story.doing() == FULL)
            free = shutil.disk_usage(home).free
            refused = federation.order(POOR, plan)
            alive = story.threads[POOR].is_alive()
            ready_when_full = story.ready()
            make_room(home)
            code_of_3 = story.void(plan)
            federation.run_round()
            after_4 = federation.operator.collector.stage
            until("rest", lambda: story.doing() == "done")
            yield SimpleNamespace(**locals())
        finally:
            federation.close()


def test_with_little_room_a_round_is_declined_and_nothing_is_spent(told: SimpleNamespace) -> None:
    assert told.code_of_1 is RefusalCode.UNAVAILABLE
    (refused,) = told.story.bodies(Refused, round=1)
    assert refused.code is RefusalCode.UNAVAILABLE
    assert told.story.bodies(BudgetReserve, round=1) == []
    assert told.story.charges(1) == []


def test_once_there_is_room_the_next_round_of_the_same_agreement_is_certified(
    told: SimpleNamespace,
) -> None:
    assert told.after_2 is Stage.CERTIFIED
    assert told.story.charges(2) == [Outcome.RELEASED]


def test_a_vault_lives_on_without_any_room_and_says_what_it_waits_for(
    told: SimpleNamespace,
) -> None:
    assert told.free == 0
    assert told.alive
    assert told.refused == {"accepted": False, "code": "unavailable"}
    assert told.ready_when_full[0] == ""


def test_a_round_that_filled_the_disk_is_charged_exactly_once(told: SimpleNamespace) -> None:
    assert told.code_of_3 is RefusalCode.INTERRUPTED
    assert told.story.charges(3) == [Outcome.FORFEITED]
    assert told.story.part.ledger.budget().open_reserves() == ()


def test_after_a_full_disk_the_vault_works_on(told: SimpleNamespace) -> None:
    assert told.after_4 is Stage.CERTIFIED
    assert told.story.charges(4) == [Outcome.RELEASED]
    assert told.story.threads[POOR].is_alive()
    assert told.story.part.progress.get(told.federation.agreement.digest).certified == 2


def test_a_commit_for_which_the_disk_has_no_room_leaves_no_open_transaction_behind(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 1):
        store = Store(tmp_path / "disk" / "vault.db")
        connection = store.reading()
        fill(tmp_path / "disk")
        with pytest.raises(sqlite3.OperationalError) as failed:
            enter(store, 64 << 10)
        assert is_disk_full(failed.value)
        assert not connection.in_transaction
        assert connection.execute("select * from entries").fetchall() == []
        make_room(tmp_path / "disk")
        enter(store, 64 << 10)
        assert len(connection.execute("select * from entries").fetchall()) == 1
        connection.close()


def enter(store: Store, size: int) -> None:
    """Write one large entry; it reaches the disk when it is committed."""
    with store.transaction() as tx:
        tx.execute("insert into entries values (0, zeroblob(?))", (size,))
