"""The operator's settings: `server.toml`. Unknown keys are refused; secrets are never in it."""

import json
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comity_common.errors import LocalError


class Deadlines(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    acknowledge_s: float = Field(default=30.0, gt=0)
    upload_s: float = Field(default=600.0, gt=0)
    reveal_s: float = Field(default=60.0, gt=0)
    gather_s: float = Field(default=120.0, ge=0)
    settle_s: float = Field(default=30.0, ge=0)
    patience_s: float = Field(default=300.0, gt=0)


class FlowerSettings(BaseModel):
    """Where Flower is.

    Attributes:
        port: of the SuperLink on loopback.
        app: the bundle to run; None for the one that comes with this package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(ge=1, le=65535)
    app: Path | None = None


class ServerConfig(BaseModel):
    """The operator's settings.

    Attributes:
        id, name, jurisdiction: as in the agreement.
        transfer: `host:port` of the listener for the vaults.
        socket: of the daemon, for Flower's ServerApp and the operator's tools; None for the one in
            the operator's directory. Its directory must be the operator's alone.
        flower: absent where something else carries the orders.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    jurisdiction: str
    transfer: str = Field(pattern=r"^[^:/]+:\d{1,5}$")
    socket: Path | None = None
    flower: FlowerSettings | None = None
    deadlines: Deadlines = Deadlines()


def load(path: Path) -> ServerConfig:
    """Read the settings.

    Raises:
        LocalError: the file is missing, no TOML, or has a wrong or unknown key.
    """
    try:
        return ServerConfig.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LocalError(f"cannot read {path.name}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LocalError(f"{path.name}: {key}: {first['msg']}") from None


def write(path: Path, config: ServerConfig) -> None:
    """Write settings as TOML."""
    settings = config.model_dump(mode="json", exclude_none=True)
    tables = {key: value for key, value in settings.items() if isinstance(value, dict)}
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # texts and numbers are spelt alike in TOML
