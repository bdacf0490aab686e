"""Mailboxes: in order, from any place, kept over restarts, one stream per institution."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.operator_store import operator_store

from comity.v1 import transfer_pb2 as pb
from comity_common.ids import Digest
from comity_server.mailbox import BATCH, Mailbox
from comity_server.store import Store

WHO = "inst-00"
AGREEMENT = Digest("0" * 64)


def parcel(text: str) -> pb.Parcel:
    return pb.Parcel(agreement=text, kind=pb.PARCEL_KIND_CERTIFICATE)


def post(store: Store, box: Mailbox, *texts: str, to: str = WHO) -> None:
    with store.write() as tx:
        for text in texts:
            box.post(tx, to, parcel(text))
    box.announce()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return operator_store(tmp_path / "server.db")


def test_parcels_are_numbered_per_institution_and_read_from_any_place(store: Store) -> None:
    box = Mailbox(store, lambda: None)
    texts = [str(number) for number in range(BATCH + 3)]
    post(store, box, *texts)
    post(store, box, "other", to="inst-01")
    after_restart = Mailbox(store, lambda: None)
    for after in (0, 1, BATCH, BATCH + 2):
        stream = after_restart.follow(WHO, after, lambda: False)
        found = [(item.sequence, item.agreement) for item in stream]
        assert found == [(n + 1, text) for n, text in enumerate(texts)][after:]


def test_a_parcel_of_a_transaction_that_failed_is_never_seen(store: Store) -> None:
    box = Mailbox(store, lambda: None)
    with suppress(ZeroDivisionError), store.write() as tx:
        box.post(tx, WHO, parcel("no"))
        raise ZeroDivisionError
    post(store, box, "yes")
    assert [p.agreement for p in box.follow(WHO, 0, lambda: False)] == ["yes"]


def test_a_waiting_reader_gets_what_is_posted_later_and_ends_when_the_box_closes(
    store: Store,
) -> None:
    box = Mailbox(store, lambda: None)
    got: list[str] = []
    arrived = threading.Event()

    def read() -> None:
        for item in box.follow(WHO, 0, lambda: True):
            got.append(item.agreement)
            arrived.set()

    reader = threading.Thread(target=read)
    reader.start()
    post(store, box, "late")
    assert arrived.wait(10)
    box.close()
    reader.join(10)
    assert not reader.is_alive()
    assert got == ["late"]


def test_a_newer_stream_ends_the_older_and_presence_follows_the_newest(store: Store) -> None:
    changes = []
    box = Mailbox(store, lambda: changes.append(1))
    post(store, box, "a", "b")
    older = box.follow(WHO, 0, lambda: True)
    assert next(older).agreement == "a"
    assert box.connected() == {WHO}
    assert box.ready(AGREEMENT) == {}
    newer = box.follow(WHO, 0, lambda: True, AGREEMENT)
    assert next(newer).agreement == "a"
    first = box.ready(AGREEMENT)[WHO]
    assert list(older) == []
    assert box.ready(AGREEMENT) == {WHO: first}
    assert box.ready(Digest("1" * 64)) == {}
    newest = box.follow(WHO, 0, lambda: True, AGREEMENT)
    assert next(newest).agreement == "a"
    assert box.ready(AGREEMENT)[WHO] != first
    assert list(newer) == []
    newest.close()
    assert box.connected() == frozenset()
    assert len(changes) == 6
