"""The vault's settings: `vault.toml`."""

from pathlib import Path

from pydantic import Field

from comity_host.settings import Settings


class VaultConfig(Settings):
    """One institution's settings.

    Attributes:
        id, name, jurisdiction: as in the agreement.
        server: `host:port` of the operator's transfer listener.
        sockets: directory of the two unix sockets, for orders and for the institution's own tools.
        flower_uids: other local users, besides the vault's own and root, whose processes may bring
            orders: the user that Flower's untrusted ClientApp runs as.
        threads: how many torch may use.
    """

    id: str
    name: str
    jurisdiction: str
    server: str = Field(pattern=r"^[^:/]+:\d{1,5}$")
    sockets: Path
    flower_uids: tuple[int, ...] = ()
    threads: int = Field(default=1, ge=1, le=256)

    @property
    def orders(self) -> Path:
        """Where Flower's ClientApp brings orders."""
        return self.sockets / "orders.sock"

    @property
    def control(self) -> Path:
        """Where the institution's own tools ask."""
        return self.sockets / "control.sock"
