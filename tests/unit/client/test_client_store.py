"""The vault's SQLite file: all or nothing, on disk, and deleted keys are gone from it."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from comity_client.store import VERSION, Store
from comity_common.errors import LocalError

KEY, NEXT = b"an old link of a chain, 32 bytes", b"its successor on the same chain!"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "vault.db")


def put_chain(store: Store, key: bytes) -> None:
    with store.transaction() as tx:
        tx.execute("insert into chains values ('t', 1, 'peer', ?, 0)", (key,))


def chains(store: Store) -> list[bytes]:
    return [row["key"] for row in store.reading().execute("select key from chains")]


def bytes_on_disk(store_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(store_path.parent.glob("vault.db*")))


def checkpoint(store: Store) -> None:
    busy, _, _ = store.reading().execute("pragma wal_checkpoint(truncate)").fetchone()
    assert busy == 0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_transaction_that_fails_changes_nothing(
    store: Store, tmp_path: Path, error: type
) -> None:
    put_chain(store, KEY)

    def fail() -> None:
        with store.transaction() as tx:
            tx.execute("update chains set key = ?", (NEXT,))
            tx.execute("insert into entries values (0, x'00')")
            raise error

    with pytest.raises(error):
        fail()
    assert chains(store) == [KEY]
    assert store.reading().execute("select * from entries").fetchall() == []
    assert chains(Store(tmp_path / "vault.db")) == [KEY]


def test_after_a_failure_the_next_transaction_works(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError), store.transaction() as tx:
        tx.execute("insert into no_such_table values (1)")
    put_chain(store, KEY)
    assert chains(store) == [KEY]


def test_a_transaction_for_which_there_is_no_space_changes_nothing_and_the_next_one_works(
    store: Store,
) -> None:
    put_chain(store, KEY)
    connection = store.reading()
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages}")

    def write_too_much() -> None:
        with store.transaction() as tx:
            tx.execute("update chains set key = ?", (NEXT,))
            tx.execute("insert into entries values (0, zeroblob(100000))")

    with pytest.raises(sqlite3.OperationalError) as full:
        write_too_much()
    assert full.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    assert not connection.in_transaction
    assert chains(store) == [KEY]
    connection.execute("pragma max_page_count = 100000")
    with store.transaction() as tx:
        tx.execute("update chains set key = ?", (NEXT,))
    assert chains(store) == [NEXT]


def test_a_commit_that_fails_leaves_no_open_transaction_behind(store: Store) -> None:
    connection = store.reading()
    connection.execute("pragma foreign_keys = on")
    connection.execute(
        "create table child (name references datasets (id) deferrable initially deferred)"
    )
    with pytest.raises(sqlite3.IntegrityError), store.transaction() as tx:
        tx.execute("insert into child values ('nobody')")  # is checked at the commit
    assert not connection.in_transaction
    put_chain(store, KEY)
    assert chains(store) == [KEY]


def test_others_see_all_of_a_transaction_or_nothing(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "vault.db")
    with store.transaction() as tx:
        tx.execute("insert into chains values ('t', 1, 'peer', ?, 0)", (KEY,))
        assert chains(other) == []
    assert chains(other) == [KEY]


def test_every_thread_has_a_connection_of_its_own(store: Store) -> None:
    connections = []
    thread = threading.Thread(target=lambda: connections.append(store.reading()))
    thread.start()
    thread.join()
    assert store.reading() is store.reading()
    assert connections[0] is not store.reading()


def test_writers_take_turns_and_lose_no_update(store: Store) -> None:
    def count() -> None:
        for _ in range(20):
            with store.transaction() as tx:
                now = tx.execute("select cursor from mailbox").fetchone()[0]
                tx.execute("update mailbox set cursor = ?", (now + 1,))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.reading().execute("select cursor from mailbox").fetchone()[0] == 60


def test_a_commit_is_synced_and_what_is_deleted_is_overwritten(store: Store) -> None:
    def pragma(name: str) -> object:
        return store.reading().execute(f"pragma {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2  # full
    assert pragma("secure_delete") == 1


def test_a_file_of_another_version_is_not_opened(store: Store, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "vault.db") as connection:
        connection.execute(f"pragma user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(LocalError, match=f"version {VERSION} of vault.db, got {VERSION + 1}"):
        Store(tmp_path / "vault.db")


def test_opening_again_keeps_what_is_there(store: Store, tmp_path: Path) -> None:
    put_chain(store, KEY)
    assert chains(Store(tmp_path / "vault.db")) == [KEY]


def test_a_key_that_was_replaced_is_in_no_file_after_a_checkpoint(
    store: Store, tmp_path: Path
) -> None:
    put_chain(store, KEY)
    checkpoint(store)
    assert KEY in bytes_on_disk(tmp_path / "vault.db")  # it would be found
    with store.transaction() as tx:
        tx.execute("update chains set key = ?", (NEXT,))
    checkpoint(store)
    left = bytes_on_disk(tmp_path / "vault.db")
    assert NEXT in left
    assert KEY not in left


def test_a_row_that_was_deleted_is_in_no_file_after_a_checkpoint(
    store: Store, tmp_path: Path
) -> None:
    large = os.urandom(32) * 500  # spills over several pages
    put_chain(store, KEY)
    with store.transaction() as tx:
        tx.execute("insert into epochs (agreement, epoch, opened, halves) values ('t', 1, '', ?)",
                   (large,))  # fmt: skip
    checkpoint(store)
    assert large[:32] in bytes_on_disk(tmp_path / "vault.db")
    with store.transaction() as tx:
        tx.execute("delete from chains")
        tx.execute("update epochs set halves = null")
    checkpoint(store)
    left = bytes_on_disk(tmp_path / "vault.db")
    assert KEY not in left
    assert large[:32] not in left
