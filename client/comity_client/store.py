"""The vault's one SQLite file: ledger and state change in the same transactions.

Every commit is on disk before anything leaves (`synchronous=FULL`); deleted keys are overwritten
(`secure_delete`). Each thread has a connection of its own. Tables are owned by the modules that
write them; this one only opens the file and begins transactions.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comity_common.errors import LocalError

VERSION = 6

SCHEMA = """
create table entries (sequence integer primary key, raw blob not null);
create table agreements (
    digest text primary key, raw blob not null, state text not null, dataset text
);
create table signatures (
    agreement text not null, party text not null, signature blob not null,
    primary key (agreement, party)
);
create table withdrawals (
    agreement text not null, institution text not null, body blob not null,
    signature blob not null, primary key (agreement, institution)
);
create table datasets (
    id text primary key, name text not null, task text not null, path text not null,
    salt blob not null, commitment text not null, namespace text not null,
    unit_key text not null, removed integer not null default 0
);
create table namespaces (
    id text primary key, name text not null unique, epsilon text not null, delta text not null
);
create table fingerprints (
    digest blob not null, namespace text not null, primary key (digest, namespace)
) without rowid;
create table fingerprint_key (
    only_row integer primary key check (only_row = 1), key blob not null
);
insert into fingerprint_key values (1, randomblob(32));
create table mailbox (only_row integer primary key check (only_row = 1), cursor integer not null);
insert into mailbox values (1, 0);
create table outbox (
    id integer primary key autoincrement, agreement text not null, round integer,
    kind integer not null, body blob not null, signature blob not null
);
create table epochs (
    agreement text not null, epoch integer not null, opened blob not null, sealing blob,
    keys blob, halves blob, view text, ready integer not null default 0,
    primary key (agreement, epoch)
);
create table chains (
    agreement text not null, epoch integer not null, peer text not null,
    key blob not null, round integer not null, primary key (agreement, epoch, peer)
);
create table rounds (
    agreement text not null, number integer not null, phase text not null,
    plan_digest text not null, plan blob, reserve blob, upload blob, held blob,
    survivors blob, reveal blob, outcome text, until integer, reserve_size integer,
    egress_size integer,
    primary key (agreement, number)
);
create table models (
    agreement text primary key, digest text not null, certificate text not null,
    newest integer not null, certified integer not null, scored integer not null
);
create table private_metrics (
    agreement text not null, round integer not null, accuracy real not null,
    macro_f1 real not null, primary key (agreement, round)
);
create table scores (
    agreement text not null, round integer not null, certified integer not null,
    vaults integer not null, "right" integer not null, wrong integer not null,
    loss integer not null, primary key (agreement, round)
);
create table witnessed (institution text primary key, body blob not null, signature blob not null);
create table generations (
    institution text not null, generation blob not null, primary key (institution, generation)
);
create table cosignatures (
    agreement text not null, witness text not null, size integer not null, body blob not null,
    signature blob not null, primary key (agreement, witness, size)
);
create table traffic (
    agreement text primary key, sent integer not null, received integer not null
);
"""


class Store:
    """Opens `vault.db`, making it if it is not there.

    Raises:
        LocalError: the file was written by another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        with self.transaction() as tx:
            found = tx.execute("pragma user_version").fetchone()[0]
            if found == 0:
                for statement in SCHEMA.split(";"):
                    tx.execute(statement)
                tx.execute(f"pragma user_version = {VERSION}")
            elif found != VERSION:
                raise LocalError(f"expected version {VERSION} of {path.name}, got {found}")

    def reading(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
            connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=wal", "synchronous=full", "secure_delete=on"):
                connection.execute(f"pragma {pragma}")
            self._local.connection = connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change everything in the block, durably, or nothing at all."""
        connection = self.reading()
        connection.execute("begin immediate")
        try:
            yield connection
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                connection.execute("rollback")
            raise

    @contextmanager
    def erasing(self) -> Iterator[sqlite3.Connection]:
        """Change as `transaction` does, and take what was erased off the disk.

        Until a checkpoint, the old pages lie in the database file and in the write-ahead log.
        """
        with self.transaction() as tx:
            yield tx
        self.reading().execute("pragma wal_checkpoint(truncate)").fetchone()
