"""The operator's one database: every fact that must outlive a kill -9, and the operator's ledger.

SQLAlchemy Core, so that the file can become a PostgreSQL database without other words. Each change
is one transaction, durable when its block ends; changes happen one after the other. What an
institution is to read is posted in the same transaction as the fact that it tells, and what goes
onto the ledger is written there in it too. Modules write the tables (`tables`) that bear their
names; this one makes the tables and begins transactions.
"""

import importlib.metadata
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, insert, make_url, select, update

from comity_common.errors import LocalError
from comity_common.ledger.bodies import NONCE_BYTES, Genesis
from comity_server.ledger import Ledger
from comity_server.tables import metadata, schema

VERSION = 5
CONNECTIONS = 16
BUSY_TIMEOUT_MS = 30_000
WRITERS = 0x636F6D697479  # names the lock that PostgreSQL's writers hold, one after the other

STEPS = {  # from a version to the next
    2: (
        "alter table rounds add column survivors blob",
        "alter table rounds add column survivors_signature blob",
        "alter table rounds add column until float",
        "alter table uploads drop column committed",
    ),
    3: (
        "alter table mailbox add column topic varchar not null default ''",
        "create index ix_mailbox_topic on mailbox (topic)",
    ),
    4: (),  # the ledger's tables, which are made wherever they are missing
}


class Store:
    """Opens the operator's database, making it if it is not there or bringing it up to date.

    Args:
        database: a file of SQLite, or the URL of a PostgreSQL database.
        ledger: writes what happens; it begins with the database.

    Attributes:
        ledger: as it was given.

    Raises:
        LocalError: it was written by a version that this one does not know.
    """

    def __init__(self, database: Path | str, ledger: Ledger) -> None:
        self.ledger = ledger
        if isinstance(database, Path):
            url, name = URL.create("sqlite", database=str(database)), database.name
        else:
            url, name = make_url(database), "the database"
        engine = create_engine(url, pool_size=CONNECTIONS, max_overflow=CONNECTIONS)
        if url.get_backend_name() == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            self._reading, self._writing = engine, engine.execution_options(writes=True)
        else:
            event.listen(engine, "begin", _begin_postgresql)
            self._reading = engine.execution_options(isolation_level="REPEATABLE READ")
            # What a writer sees begins after it has waited for the one before it.
            self._writing = engine.execution_options(isolation_level="READ COMMITTED", writes=True)
        with self.write() as tx:
            metadata.create_all(tx)
            found = tx.execute(select(schema.c.version)).scalar()
            if found is None:
                tx.execute(insert(schema).values(version=VERSION))
            elif found in STEPS:
                _bring_up_to_date(tx, found)
            elif found != VERSION:
                raise LocalError(f"expected version {VERSION} of {name}, got {found}")
            if ledger.is_empty(tx):
                software = f"comity {importlib.metadata.version('comity')}"
                ledger.append(tx, Genesis(nonce=os.urandom(NONCE_BYTES), software=software))

    def read(self) -> AbstractContextManager[Connection]:
        """Look at one consistent state."""
        return self._reading.begin()

    def write(self) -> AbstractContextManager[Connection]:
        """Change everything in the block, durably, or nothing at all."""
        return self._writing.begin()

    def close(self) -> None:
        """Close all connections."""
        self._reading.dispose()


def _bring_up_to_date(tx: Connection, found: int) -> None:
    for version in range(found, VERSION):
        for statement in STEPS[version]:
            tx.exec_driver_sql(statement)
    tx.execute(update(schema).values(version=VERSION))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin below, not where the driver thinks
    for pragma in ("journal_mode=wal", "synchronous=full", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("begin immediate" if writes else "begin")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql(f"select pg_advisory_xact_lock({WRITERS})")
