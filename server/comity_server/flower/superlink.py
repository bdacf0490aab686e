"""Everything that the operator's side knows about Flower's programs.

Flower changes its flags from release to release, so this file alone spells them: the command and
the environment of `flower-superlink` and `flower-superexec`, and the three calls of the `flwr`
command that the operator's daemon needs. The rules it keeps:

* The SuperLink listens on loopback. Its Control API asks nobody who they are: whoever reaches the
  port may start a run. Institutions reach it through `gate`, which lets only the Fleet API pass.
* ServerApp tasks are taken by one `flower-superexec` that holds a shared secret; without it any
  local process could take them (`--isolation process`).
* State is in a database file, so a run goes on after a kill -9 of the SuperLink.
* No process reports home or looks for updates, none inherits more of our environment than the
  names listed here, and none installs software at run time.

    link = SuperLink(home=..., port=18443, certificate=..., key=..., authority=..., coordinator=...)
    link.prepare()
    # start link.superlink_command() and link.superexec_command(), wait for the port, then
    node = link.register_node(Path("gr-hospital.pub"))
    run = link.start_run()
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comity_common.errors import LocalError

BUNDLE = Path(__file__).parent / "bundle"
COORDINATOR_VARIABLE = "COMITY_COORDINATOR"
CONNECTION = "comity"
COMMAND_TIMEOUT_S = 30.0  # a `flwr` command takes 2 s of imports on a small machine
_INHERITED = ("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to start and its whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLink:
    """One SuperLink of the operator and how it is talked to.

    Attributes:
        home: Flower's own directory (mode 0700): database, secret, unpacked bundles.
        port: loopback port of all Flower APIs.
        certificate, key: PEM of the loopback listener; the certificate names 127.0.0.1.
        authority: PEM of the authority that signed it.
        coordinator: unix socket of the operator's daemon, handed to the ServerApp.
    """

    home: Path
    port: int
    certificate: Path
    key: Path
    authority: Path
    coordinator: Path

    @property
    def address(self) -> str:
        """Host and port of all Flower APIs."""
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write Flower's configuration, and the shared secret if there is none yet."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / "config.toml").write_text(
            f"[superlink]\ndefault = {json.dumps(CONNECTION)}\n\n"
            f"[superlink.{CONNECTION}]\naddress = {json.dumps(self.address)}\n"
            f"root-certificates = {json.dumps(str(self.authority))}\n"
        )
        if not self._secret.exists():
            descriptor = os.open(self._secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                file.write(secrets.token_hex(32))

    def superlink_command(self) -> Command:
        """Return how `flower-superlink` is started."""
        argv = (
            _program("flower-superlink"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key)),
            *("--ssl-ca-certfile", str(self.authority)),
            "--enable-supernode-auth",
            *("--database", str(self.home / "superlink.db")),
            *("--isolation", "process", "--superexec-auth-secret-file", str(self._secret)),
            "--disable-runtime-dependency-installation",
        )
        return Command(argv=argv, env=self._environment())

    def superexec_command(self) -> Command:
        """Return how the `flower-superexec` that starts ServerApps is started."""
        argv = (
            _program("flower-superexec"),
            *("--runtime-api-address", self.address),
            *("--root-certificates", str(self.authority)),
            *("--superexec-auth-secret-file", str(self._secret)),
        )
        env = self._environment() | {
            COORDINATOR_VARIABLE: str(self.coordinator),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
        }
        return Command(argv=argv, env=env)

    def register_node(self, public_key: Path, known: Collection[int] = ()) -> int:
        """Let the SuperNode with this OpenSSH P-384 public key take part.

        Flower registers a key once and never tells its id again. If we were killed before the id
        was on disk, it is the one id at the SuperLink that is not among the known ones.

        Args:
            public_key: the file; `make_node_key` of the institution writes it.
            known: the ids of all nodes that were registered before.

        Returns:
            Flower's id of the node.

        Raises:
            LocalError: the SuperLink is away, the file is no such key, or the key belongs to a
                known node.
        """
        try:
            answer = self._flwr("supernode", "register", str(public_key), CONNECTION)
            return int(answer["node-id"])
        except LocalError as error:
            if "already in use" not in str(error):
                raise
            forgotten = self._registered_nodes() - set(known)
            if len(forgotten) != 1:
                raise
            return forgotten.pop()

    def start_run(self, app_dir: Path = BUNDLE) -> str:
        """Start a run, which starts one ServerApp.

        Returns:
            Flower's id of the run.

        Raises:
            LocalError: the SuperLink is away or refuses the bundle.
        """
        return str(self._flwr("run", str(app_dir), CONNECTION)["run-id"])

    def stop_run(self, run: str) -> None:
        """Stop a run.

        Raises:
            LocalError: the SuperLink is away, or the run is unknown or over.
        """
        self._flwr("stop", run, CONNECTION)

    def _registered_nodes(self) -> set[int]:
        nodes = self._flwr("supernode", "list", CONNECTION)["nodes"]
        return {int(node["node-id"]) for node in nodes}

    @property
    def _secret(self) -> Path:
        return self.home / "superexec.secret"

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return inherited | {
            "PATH": os.pathsep.join((str(_programs()), os.environ.get("PATH", os.defpath))),
            "HOME": str(self.home),
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        """Run one `flwr` command and return the JSON object it prints."""
        name = arguments[0]
        try:
            done = subprocess.run(
                [_program("flwr"), *arguments, "--format", "json"],
                env=self._environment(),
                cwd=self.home,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LocalError(
                f"expected flwr {name} to answer within {COMMAND_TIMEOUT_S:g} s, it did not"
            ) from None
        answer = _json_object_in(done.stdout)
        if done.returncode != 0 or answer.get("success") is not True:
            says = str(answer.get("error-message") or done.stderr or done.stdout)
            reason = " ".join(says.strip().split("\n\n")[-1].split())
            raise LocalError(f"expected flwr {name} to succeed, it says: {reason[-500:]}")
        return answer


def _json_object_in(text: str) -> dict[str, Any]:
    start = text.find("{")
    try:
        found = json.loads(text[start:]) if start >= 0 else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _programs() -> Path:
    return Path(sys.executable).parent


def _program(name: str) -> str:
    return str(_programs() / name)
