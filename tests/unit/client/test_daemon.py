"""The vault's worker rests only while nobody waits for it."""

import queue
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.simulation.test_vaults import Federation, Seat
from tests.unit.client.test_backup import Lost, lost  # noqa: F401

import comity_client.daemon
from comity.v1 import transfer_pb2 as pb
from comity_client.daemon import Daemon
from comity_common.secagg.plan import plan_digest

LONG_S = 60.0


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Federation:
    monkeypatch.setattr(comity_client.daemon, "IDLE_S", LONG_S)
    made = Federation(tmp_path, n=3)
    made.set_up_keys()
    return made


def daemon_of(seat: Seat) -> Daemon:
    """Put a daemon around the parts of a seat; it connects nowhere."""
    daemon = Daemon(seat.inst, lambda name, round: None)
    daemon._vault = seat.vault
    return daemon


def turn(daemon: Daemon, seat: Seat) -> threading.Thread:
    """Let the worker do what is due, and then rest, in a thread of its own."""
    work = (seat.letters, threading.Event(), seat.mailroom.deliver, seat.vault)
    thread = threading.Thread(target=daemon._turn, args=work, daemon=True)
    thread.start()
    return thread


def test_an_order_ends_the_workers_rest(federation: Federation) -> None:
    seat = next(iter(federation.seats.values()))
    plan = federation.operator.begin_round(list(federation.agreement.roster))
    daemon = daemon_of(seat)
    worker = turn(daemon, seat)
    daemon._accept(federation.agreement.digest, plan.round, plan_digest(plan))
    worker.join(LONG_S / 4)
    assert not worker.is_alive()
    daemon.close()


def test_an_order_is_accepted_also_when_the_worker_is_busy_with_a_full_inbox(
    federation: Federation,
) -> None:
    seat = next(iter(federation.seats.values()))
    plan = federation.operator.begin_round(list(federation.agreement.roster))
    daemon = daemon_of(seat)
    daemon._inbox = queue.Queue(maxsize=1)
    for _ in range(2):
        daemon._accept(federation.agreement.digest, plan.round, plan_digest(plan))
    assert daemon._inbox.qsize() == 1
    daemon.close()


def test_what_a_parcel_sets_off_is_sent_before_the_worker_rests(federation: Federation) -> None:
    operator, roster = federation.operator, list(federation.agreement.roster)
    federation.order(operator.begin_round(roster), roster)
    for seat in federation.seats.values():
        seat.work()
    operator.ask_reveals()
    seat = federation.seats[roster[0]]
    daemon = daemon_of(seat)
    daemon._pending = operator.mail[roster[0]][-1]
    assert daemon._pending.kind == pb.PARCEL_KIND_SURVIVORS
    daemon._inbox.put(None)
    turn(daemon, seat).join(LONG_S / 4)
    assert len(operator.collector.reveals) == 1
    daemon.close()


def test_an_agreement_whose_last_day_is_over_does_not_keep_the_vault_from_the_next(
    lost: Lost,  # noqa: F811
) -> None:
    rows = lost.register("rows", 40)
    old = lost.write("old")
    old = replace(old, schedule=replace(old.schedule, expires="2026-01-01"))
    new = replace(lost.write("new"), nonce=bytes(range(16)))
    daemon = Daemon(lost.inst, lambda name, round: None)
    for agreement in (old, new):
        lost.sign(agreement, rows)
        due = filter(daemon._is_due, lost.inst.agreements.active())
        assert [standing.agreement for standing in due] == [agreement]  # alone it is listened to
    daemon.close()
