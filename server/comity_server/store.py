"""The operator's one database: every fact that must outlive a kill -9.

SQLAlchemy Core, so that the file can become a PostgreSQL database without other words. Each change
is one transaction, durable when its block ends (`synchronous=FULL`). What an institution is to
read is posted in the same transaction as the fact that it tells. Modules write the tables that
bear their names; this one makes the tables and begins transactions.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    select,
    update,
)

from comity_common.errors import LocalError

VERSION = 4
CONNECTIONS = 16
BUSY_TIMEOUT_MS = 30_000

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
}

_tables = MetaData()


def _table(name: str, *columns: Column[Any] | UniqueConstraint) -> Table:
    return Table(name, _tables, *columns)


def _key(name: str, kind: type[String] | type[Integer] = String) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _text(name: str) -> Column[str]:
    return Column(name, String, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _blob(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


schema = _table("schema", _number("version"))

invitations = _table(
    "invitations",
    _key("token"),  # digest
    _text("institution"),
    _text("jurisdiction"),
    _number("expires"),  # seconds since 1970
    Column("request", String),  # digest of the one request that used it
)
institutions = _table(
    "institutions",
    _key("id"),
    _text("state"),
    _blob("party"),
    _text("request"),  # for a certificate, PEM
    Column("tls", String, nullable=False, unique=True),  # fingerprint, hexadecimal
    Column("certificate", LargeBinary),  # once it is approved
    _text("flower_key"),
    Column("flower_node", String),  # unsigned 64 bits, more than an SQL integer holds
)
agreements = _table(
    "agreements",
    _key("digest"),
    _blob("body"),
    _text("state"),
    _text("reason"),
    Column("proposed", Float, nullable=False),  # seconds since 1970
    Column("started", Float, nullable=False),  # the same; the latest is shown
    Column("flower_run", String),
)
signatures = _table("signatures", _key("agreement"), _key("party"), _blob("signature"))
withdrawals = _table(
    "withdrawals", _key("agreement"), _key("institution"), _blob("body"), _blob("signature")
)
epochs = _table(
    "epochs",
    _key("agreement"),
    _key("number", Integer),
    _text("step"),
    _blob("body"),
    _blob("signature"),
)
epoch_messages = _table(
    "epoch_messages",
    _key("agreement"),
    _key("epoch", Integer),
    _key("step"),
    _key("institution"),
    _blob("body"),
    _blob("signature"),
)
mailbox = _table(
    "mailbox",
    _key("institution"),
    _key("sequence", Integer),
    _blob("parcel"),
    Column("topic", String, nullable=False, server_default="", index=True),
)
rounds = _table(
    "rounds",
    _key("agreement"),
    _key("number", Integer),
    _number("epoch"),
    _text("plan"),  # digest
    _blob("body"),
    _blob("signature"),
    _text("stage"),  # up to where institutions have been told
    Column("until", Float),  # seconds since 1970, once its time for uploads was extended
    Column("published", Boolean, nullable=False),  # the certificate went to all
    Column("started", Float, nullable=False),  # seconds since 1970, for people only
    Column("ended", Float),
    Column("certificate", LargeBinary),
    Column("certificate_signature", LargeBinary),
    Column("model", String),  # digest of the state after it
    Column("survivors", LargeBinary),  # the list as it was signed, once it was
    Column("survivors_signature", LargeBinary),
    UniqueConstraint("plan"),
)
events = _table(
    "events",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _text("agreement"),
    _number("round"),
    _text("kind"),
    _text("institution"),
    _blob("body"),
    _blob("signature"),
)
endorsements = _table(
    "endorsements",
    _key("agreement"),
    _key("round", Integer),
    _key("institution"),
    _blob("body"),
    _blob("signature"),
)
uploads = _table(
    "uploads",
    _key("header"),  # digest
    _text("plan"),
    _text("institution"),
    _blob("declared"),
    _number("size"),
    Column("finished", Boolean, nullable=False),
    UniqueConstraint("plan", "institution"),
)


class Store:
    """Opens `server.db`, making it if it is not there and bringing an older one up to date.

    Raises:
        LocalError: it was written by a version that this one does not know.
    """

    def __init__(self, path: Path) -> None:
        url = URL.create("sqlite", database=str(path))
        self._reading = create_engine(url, pool_size=CONNECTIONS, max_overflow=CONNECTIONS)
        event.listen(self._reading, "connect", _prepare_sqlite)
        event.listen(self._reading, "begin", _begin_sqlite)
        self._writing = self._reading.execution_options(writes=True)
        with self.write() as tx:
            _tables.create_all(tx)
            found = tx.execute(select(schema.c.version)).scalar()
            if found is None:
                tx.execute(insert(schema).values(version=VERSION))
            elif found in STEPS:
                _bring_up_to_date(tx, found)
            elif found != VERSION:
                raise LocalError(f"expected version {VERSION} of {path.name}, got {found}")

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
