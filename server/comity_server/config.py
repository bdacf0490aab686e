"""The operator's settings: `server.toml`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from comity_host.settings import Address, AddressOrNone, Settings, like

PostgresqlOrNone = Annotated[
    str,
    like(
        r"(postgresql\+psycopg://[^:/@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]*)?",
        "an address like postgresql+psycopg://user@host/database, or nothing",
    ),
]


class Deadlines(Settings):
    """How long the operator waits, in seconds.

    A deadline counts from when this process began to wait: after a restart it counts anew, so that
    an outage of the operator costs no institution its round.

    Attributes:
        acknowledge_s: for an answer to an order, and for each step of a key epoch.
        upload_s: from a plan to the last upload.
        reveal_s: from the survivor list to the last reveal.
        gather_s: before a key epoch, for institutions that are not ready yet.
        settle_s: between rounds, for members who are away, when enough are here.
        patience_s: for enough institutions; then the run stops and can be resumed.
    """

    acknowledge_s: float = Field(default=30.0, gt=0)
    upload_s: float = Field(default=600.0, gt=0)
    reveal_s: float = Field(default=60.0, gt=0)
    gather_s: float = Field(default=120.0, ge=0)
    settle_s: float = Field(default=30.0, ge=0)
    patience_s: float = Field(default=300.0, gt=0)


class FlowerSettings(Settings):
    """Where Flower is.

    Attributes:
        port: of the SuperLink on loopback.
        app: the bundle to run; None for the one that comes with this package.
    """

    port: int = Field(ge=1, le=65535)
    app: Path | None = None


class ServerConfig(Settings):
    """The operator's settings.

    Attributes:
        id, name, jurisdiction: as in the agreement.
        host: name or address by which institutions reach this machine; empty: the one at which
            the listeners listen.
        transfer: `host:port` of the listener for the vaults.
        socket: of the daemon, for Flower's ServerApp and the operator's tools; None for the one in
            the operator's directory. Its directory must be the operator's alone.
        gate: `host:port` where the institutions' SuperNodes reach Flower; empty: nowhere.
        enrolment: `host:port` of the listener for those who join; empty: nobody can.
        database: URL of a PostgreSQL database, without a password, which lies in a file of
            PostgreSQL's own (`PGPASSFILE`); empty: a file of SQLite in the operator's directory.
        metrics_port: loopback port of the figures for Prometheus; None: no figures.
        flower: absent where something else carries the orders.
    """

    id: str
    name: str
    jurisdiction: str
    host: str = ""
    transfer: Address
    gate: AddressOrNone = ""
    enrolment: AddressOrNone = ""
    database: PostgresqlOrNone = ""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    socket: Path | None = None
    flower: FlowerSettings | None = Field(default=None, validate_default=True)
    deadlines: Deadlines = Deadlines()

    @field_validator("flower")
    @classmethod
    def _stands_behind_the_gate(
        cls, flower: FlowerSettings | None, info: ValidationInfo
    ) -> FlowerSettings | None:
        if flower is None and info.data.get("gate"):
            raise ValueError("expected a section [flower], which a gate leads to")
        return flower
