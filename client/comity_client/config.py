"""The vault's settings: `vault.toml`. Unknown keys are refused; secrets are never in it."""

import json
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comity_common.errors import LocalError


class VaultConfig(BaseModel):
    """One institution's settings.

    Attributes:
        id, name, jurisdiction: as in the agreement.
        server: `host:port` of the operator's transfer listener.
        sockets: directory of the two unix sockets, for orders and for the institution's own tools.
        flower_uids: other local users, besides the vault's own and root, whose processes may bring
            orders: the user that Flower's untrusted ClientApp runs as.
        threads: how many torch may use.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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


def load(path: Path) -> VaultConfig:
    """Read the settings.

    Raises:
        LocalError: the file is missing, no TOML, or has a wrong or unknown key.
    """
    try:
        return VaultConfig.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LocalError(f"cannot read {path.name}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LocalError(f"{path.name}: {key}: {first['msg']}") from None


def write(path: Path, config: VaultConfig) -> None:
    """Write settings as TOML."""
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in config.model_dump(mode="json").items()
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
