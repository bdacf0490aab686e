"""The vault's settings: `vault.toml`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationInfo, field_validator

from comity_client.compute import Compute, Device, Precision
from comity_common.errors import LocalError, Problem
from comity_host.files import check_socket_path
from comity_host.settings import Address, AddressOrNone, Settings, like

Proxy = Annotated[
    str, like(r"(http://[^:/@\s]+:\d{1,5})?", "http://host:port without a password, or nothing")
]
check_proxy = TypeAdapter(Proxy).validate_python
"""Check a proxy's address; raises pydantic's ValidationError."""


class VaultConfig(Settings):
    """One institution's settings.

    Attributes:
        id, name, jurisdiction: as in the agreement.
        server: `host:port` of the operator's transfer listener.
        gate: `host:port` of the operator's way to Flower; empty: no Flower.
        proxy: `http://host:port` of the HTTP proxy that leads out of the institution's network;
            empty: none. Never with a password, for secrets are not in settings.
        sockets: directory of the two unix sockets, for orders and for the institution's own tools;
            None for `run` in the institution's directory.
        flower_uids: other local users, besides the vault's own and root, whose processes may bring
            orders: the user that Flower's untrusted ClientApp runs as. They cannot enter the
            institution's directory, so `sockets` must name one that they can enter.
        threads: how many torch may use.
        precision: what a model's layers compute in: `float32`, `bfloat16`, or `auto`, which is
            bfloat16 where the processor or GPU has it and a short measurement says that it pays.
        device: where a model is trained: `cpu`, `cuda`, or `auto`: a GPU where PyTorch sees one.
        streams: over how many connections an upload goes; on a long way with losses
            more are faster.
        slot_s: an upload is announced a whole number of slots of so many seconds after its plan
            was accepted, so that the time of training does not show; better longer than a round
            trains. 0: as soon as it is ready.
    """

    id: str
    name: str
    jurisdiction: str
    server: Address
    gate: AddressOrNone = ""
    proxy: Proxy = ""
    sockets: Path | None = None
    flower_uids: tuple[int, ...] = ()
    threads: int = Field(default=1, ge=1, le=256)
    precision: Precision = "auto"
    device: Device = "auto"
    streams: int = Field(default=4, ge=1, le=16)
    slot_s: int = Field(default=10, ge=0, le=3600)

    @property
    def compute(self) -> Compute:
        """What training may use."""
        return Compute(threads=self.threads, precision=self.precision, device=self.device)

    @property
    def orders(self) -> Path:
        """Where Flower's ClientApp brings orders."""
        return self._socket("orders.sock")

    @property
    def control(self) -> Path:
        """Where the institution's own tools ask."""
        return self._socket("control.sock")

    @field_validator("flower_uids")
    @classmethod
    def _can_reach_the_sockets(cls, uids: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if uids and info.data.get("sockets") is None:
            raise ValueError("expected sockets to name a directory that these users can enter")
        return uids

    def _socket(self, name: str) -> Path:
        if self.sockets is None:
            raise LocalError("expected the settings of a home, which say where the sockets are")
        path = self.sockets / name
        try:
            return check_socket_path(path)
        except LocalError:
            raise Problem("COM-SERVICE-005", path=path, setting="sockets in vault.toml") from None
