"""The operator's settings: `server.toml`."""

from pathlib import Path

from pydantic import Field

from comity_host.settings import Settings


class Deadlines(Settings):
    """How long the operator waits, in seconds.

    A deadline counts from when this process began to wait: after a restart it counts anew, so that
    an outage of the operator costs no institution its round.

    Attributes:
        acknowledge_s: for an answer to an order, and for each step of a key epoch.
        upload_s: from a plan to the last upload.
        reveal_s: from the survivor list to the last reveal.
        gather_s: before a key epoch, for institutions that are not connected yet.
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
        transfer: `host:port` of the listener for the vaults.
        socket: of the daemon, for Flower's ServerApp and the operator's tools; None for the one in
            the operator's directory. Its directory must be the operator's alone.
        flower: absent where something else carries the orders.
    """

    id: str
    name: str
    jurisdiction: str
    transfer: str = Field(pattern=r"^[^:/]+:\d{1,5}$")
    socket: Path | None = None
    flower: FlowerSettings | None = None
    deadlines: Deadlines = Deadlines()
