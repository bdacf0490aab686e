"""Everything that the institution's side knows about Flower's programs.

The SuperNode dials out to the operator's gate, waits for orders and starts one thin ClientApp for
each. It is as little trusted as the operator that feeds it: no rows, keys or credentials of the
institution are in its environment or in its directory, only the path of the vault's socket, and
it has its own key, which proves to the SuperLink which node is calling and nothing else.

    key = make_node_key(home)             # once; the operator gets key.with_suffix(".pub")
    command = SuperNode(home=home, ...).command()

A SuperNode that died cannot come back with the same key before the SuperLink has given it up:
`RESTART_AFTER_S`.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

RESTART_AFTER_S = 70.0  # the SuperLink holds a silent node's key for two heartbeats of 30 s
_INHERITED = (
    *("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
    *("HTTPS_PROXY", "https_proxy"),  # the way out of the institution's network
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to start and its whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperNode:
    """One institution's SuperNode.

    Attributes:
        home: Flower's own directory (mode 0700), without anything of the institution in it.
        gate: host:port of the operator's gate.
        authority: PEM of the authority that signed the gate's certificate.
        key: OpenSSH private key made by `make_node_key`.
        vault: unix socket of the vault.
        port: loopback port between the SuperNode and its ClientApps.
        proxy: `http://host:port` of the way out of the institution's network; empty for what our
            own environment says.
    """

    home: Path
    gate: str
    authority: Path
    key: Path
    vault: Path
    port: int
    proxy: str = ""

    def prepare(self) -> None:
        """Make Flower's directory and a configuration that names no server."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / "config.toml").write_text('[superlink]\ndefault = "none"\n')

    def command(self) -> Command:
        """Return how `flower-supernode` is started."""
        programs = Path(sys.executable).parent
        argv = (
            str(programs / "flower-supernode"),
            *("--superlink", self.gate, "--root-certificates", str(self.authority)),
            *("--auth-supernode-private-key", str(self.key)),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--node-config", f"vault={json.dumps(str(self.vault))}"),
        )
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        if self.proxy:
            inherited |= {"HTTPS_PROXY": self.proxy, "https_proxy": self.proxy}
        env = inherited | {
            "PATH": os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath))),
            "HOME": str(self.home),
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.25",
            "NO_PROXY": "127.0.0.1",
        }
        return Command(argv=argv, env=env)


def make_node_key(directory: Path) -> Path:
    """Make a P-384 key pair as OpenSSH files `node` (mode 0600) and `node.pub`.

    Returns:
        The path of the private key.

    Raises:
        FileExistsError: there is a key already; it is never overwritten.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    private = directory / "node"
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    private.with_suffix(".pub").write_bytes(public + b"\n")
    return private
