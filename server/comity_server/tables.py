"""The tables of the operator's database; modules write those that bear their names.

Whole numbers have 64 bits: a size, a time in seconds, and the number of an entry need them.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()


def _table(name: str, *columns: Column[Any] | UniqueConstraint) -> Table:
    return Table(name, metadata, *columns)


def _key(name: str, kind: type[TypeEngine[Any]] = String) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _text(name: str) -> Column[str]:
    return Column(name, String, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


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
    _key("number", BigInteger),
    _text("step"),
    _blob("body"),
    _blob("signature"),
)
epoch_messages = _table(
    "epoch_messages",
    _key("agreement"),
    _key("epoch", BigInteger),
    _key("step"),
    _key("institution"),
    _blob("body"),
    _blob("signature"),
)
mailbox = _table(
    "mailbox",
    _key("institution"),
    _key("sequence", BigInteger),
    _blob("parcel"),
    Column("topic", String, nullable=False, server_default="", index=True),
)
rounds = _table(
    "rounds",
    _key("agreement"),
    _key("number", BigInteger),
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
    _key("round", BigInteger),
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
entries = _table("entries", _key("sequence", BigInteger), _blob("raw"))
cosignatures = _table(
    "cosignatures",
    _key("agreement"),
    _key("witness"),
    _key("size", BigInteger),
    _blob("body"),
    _blob("signature"),
)
witnessed = _table("witnessed", _key("institution"), _blob("body"), _blob("signature"))
generations = _table("generations", _key("institution"), _key("generation", LargeBinary))
