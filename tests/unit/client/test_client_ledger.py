"""The institution's ledger in its store: appended within transactions, read back before use."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from tests.ledger_keys import LEDGER_KEYS
from tests.unit.common.dp.book import ROWS, grant, register, reserve

from comity_client.ledger import Ledger
from comity_client.store import Store
from comity_common.dp.terms import SampledGaussian
from comity_common.errors import LocalError, PeerError
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import (
    BudgetReserve,
    Genesis,
    Note,
)
from comity_common.ledger.entries import Entry, check_order
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.signed import write

ME = InstitutionId("inst-00")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "vault.db")


@pytest.fixture
def ledger(store: Store) -> Ledger:
    made = Ledger(store, ME, LEDGER_KEYS, clock=lambda: NOW)
    with store.transaction() as tx:
        made.append(tx, Genesis(nonce=bytes(16), software="test"))
    return made


def note(store: Store, ledger: Ledger, text: str) -> Entry:
    with store.transaction() as tx:
        return ledger.append(tx, Note(text=text, about=None))


def test_entries_form_a_chain_that_another_opening_reads(store: Store, ledger: Ledger) -> None:
    for text in ("one", "two", "three"):
        note(store, ledger, text)
    entries = Ledger(store, ME, LEDGER_KEYS).entries()
    assert [entry.sequence for entry in entries] == [0, 1, 2, 3]
    assert [entry.body.text for entry in entries[1:]] == ["one", "two", "three"]  # type: ignore[union-attr]
    check_order(entries)


def test_times_are_written_in_utc(store: Store, ledger: Ledger) -> None:
    assert note(store, ledger, "x").time == "2026-01-02T01:04:05Z"
    assert Ledger(store, ME, LEDGER_KEYS)._clock().tzinfo is UTC


def test_an_entry_of_a_transaction_that_failed_was_never_there(
    store: Store, ledger: Ledger
) -> None:
    def write_and_fail() -> None:
        with store.transaction() as tx:
            ledger.append(tx, Note(text="never", about=None))
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert len(ledger.entries()) == 1
    note(store, ledger, "after")
    check_order(ledger.entries())


def test_several_entries_of_one_transaction_follow_each_other(store: Store, ledger: Ledger) -> None:
    with store.transaction() as tx:
        for text in ("a", "b", "c"):
            ledger.append(tx, Note(text=text, about=None))
    check_order(ledger.entries())
    assert len(ledger.entries()) == 4


def test_threads_that_append_at_once_make_one_chain(store: Store, ledger: Ledger) -> None:
    def write() -> None:
        for k in range(10):
            note(store, ledger, f"note {k}")

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_order(ledger.entries())
    assert len(ledger.entries()) == 31


def test_a_ledger_begins_with_one_genesis(store: Store, ledger: Ledger) -> None:
    with pytest.raises(LocalError), store.transaction() as tx:
        ledger.append(tx, Genesis(nonce=bytes(16), software="again"))
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "delete from entries where sequence = 1",
        "delete from entries where sequence = 0",
        "update entries set sequence = 9 where sequence = 1",
        "update entries set raw = (select raw from entries where sequence = 2) where sequence = 1",
        "update entries set raw = x'7b7d' where sequence = 1",
        "update entries set raw = cast(raw || ' ' as blob) where sequence = 1",
    ],
)
def test_a_ledger_that_was_changed_on_disk_does_not_open(
    store: Store, ledger: Ledger, damage: str
) -> None:
    for text in ("one", "two"):
        note(store, ledger, text)
    with store.transaction() as tx:
        tx.execute(damage)
    with pytest.raises(PeerError):
        Ledger(store, ME, LEDGER_KEYS)


def test_an_entry_that_was_edited_in_place_is_noticed(store: Store, ledger: Ledger) -> None:
    for text in ("spent", "last"):
        note(store, ledger, text)
    edited = replace(ledger.entries()[1], body=Note(text="saved", about=None))
    forged = write(edited, LedgerKeys.derive(bytes(64)).entries)
    with store.transaction() as tx:
        tx.execute("update entries set raw = ? where sequence = 1", (forged,))
    with pytest.raises(PeerError, match="signed with its ledger's key"):
        Ledger(store, ME, LEDGER_KEYS)


def test_the_budget_is_what_the_entries_say(store: Store, ledger: Ledger) -> None:
    with_budget(store, ledger)
    with store.transaction() as tx:
        assert ledger.budget().reserved(ROWS) == ()
        made = spend(ledger, tx, 1)
        assert ledger.budget().reserved(ROWS) == (made.event,)  # also within the transaction
    assert Ledger(store, ME, LEDGER_KEYS).budget().open_reserves() == (made,)


def spend(ledger: Ledger, tx: object, number: int) -> BudgetReserve:
    """Reserve another mechanism on the rows of `with_budget`."""
    event = SampledGaussian(
        sampling_probability=Decimal("0.1"), noise_multiplier=Decimal(2), steps=3
    )
    made = reserve(number, event)
    ledger.append(tx, made)  # type: ignore[arg-type]
    return made


def with_budget(store: Store, ledger: Ledger) -> None:
    """Register rows with a grant."""
    with store.transaction() as tx:
        ledger.append(tx, register())
        ledger.append(tx, grant())


def test_a_budget_that_was_counted_goes_on_with_what_others_write(
    store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    with_budget(store, ledger)
    assert ledger.budget().open_reserves() == ()
    another = Store(tmp_path / "vault.db")
    reserves = []
    for nonce in (1, 2):
        with another.transaction() as tx:
            reserves.append(spend(Ledger(another, ME, LEDGER_KEYS), tx, nonce))
        before = ledger.budget()
        assert before.open_reserves() == tuple(reserves)
    with store.transaction() as tx:
        spend(ledger, tx, 3)
    assert before.open_reserves() == tuple(reserves)  # nobody changes what was handed out
    assert len(ledger.budget().open_reserves()) == 3


def test_what_a_failed_transaction_spent_is_counted_only_within_it(
    store: Store, ledger: Ledger
) -> None:
    with_budget(store, ledger)
    ledger.budget()

    def spend_and_fail() -> None:
        with store.transaction() as tx:
            spend(ledger, tx, 1)
            assert len(ledger.budget().open_reserves()) == 1
            raise KeyError

    with pytest.raises(KeyError):
        spend_and_fail()
    assert ledger.budget().open_reserves() == ()
    with store.transaction() as tx:
        again = spend(ledger, tx, 2)
    assert ledger.budget().open_reserves() == (again,)


@pytest.mark.parametrize(
    "change",
    [
        "delete from entries where sequence > 1",
        "update entries set raw = x'7b7d' where sequence = 2",
    ],
)
def test_no_budget_is_told_when_the_last_entry_that_was_counted_is_not_as_it_was(
    store: Store, ledger: Ledger, change: str
) -> None:
    with_budget(store, ledger)
    ledger.budget()
    with store.transaction() as tx:
        tx.execute(change)
    with pytest.raises(LocalError, match="expected entry 2 to be as it was"):
        ledger.budget()
