"""Machines for several parties on one: each a home, and a network namespace where that is allowed.

The namespaces hang on a bridge in a namespace of its own, without a way out, so what runs in them
reaches its partners and nobody else. The addresses are those that are set aside for documentation
(RFC 5737), the names are in each namespace's own hosts file.

    with machines(path, {"operator": "operator.example", "berlin": "berlin.example"}) as there:
        there["berlin"].run("comity client status")
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HOSTS = Path("/etc/netns")
NETWORK = "192.0.2"
TIMEOUT_S = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where one party types.

    Attributes:
        home: its HOME, and where it types.
        namespace: its network namespace; empty for the one that all share.
    """

    home: Path
    namespace: str = ""

    def start(self, script: str, out: Path) -> subprocess.Popen[bytes]:
        """Begin a script of shell commands that says yes to every question.

        Args:
            out: file for what it prints.
        """
        inside = ("ip", "netns", "exec", self.namespace) if self.namespace else ()
        with out.open("wb") as file:
            begun = subprocess.Popen(
                [*inside, "bash", "-euo", "pipefail", "-c", script],
                cwd=self.home,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert begun.stdin is not None
        with suppress(BrokenPipeError):
            begun.stdin.write(b"y\n" * 20)
            begun.stdin.close()
        return begun

    def run(self, script: str, name: str = "out") -> str:
        """Run a script to its end and return what it printed; it must succeed."""
        out = self.home / f".{name}"
        begun = self.start(script, out)
        try:
            code = begun.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(begun.pid, signal.SIGKILL)
            code = begun.wait()
        said = out.read_text("utf-8", "replace")
        assert code == 0, f"{self.home.name}: exit code {code}\n{script}\n{said[-4000:]}"
        return said

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8"}


@contextmanager
def machines(path: Path, names: Mapping[str, str]) -> Iterator[dict[str, Machine]]:
    """Make a machine for each party, and remove them with whatever still runs there.

    Args:
        path: directory for the homes; short, for unix sockets.
        names: host names by party.
    """
    for party in names:
        (path / party).mkdir()
    if not can_separate():
        yield {party: Machine(home=path / party) for party in names}
        return
    made: list[str] = []
    try:
        yield _separated(path, names, made)
    finally:
        for namespace in reversed(made):
            _remove(namespace)


def can_separate() -> bool:
    """Tell whether this user may make network namespaces here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"comity-{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "try", "type", "bridge")
        _ip("-n", name, "link", "add", "near", "type", "veth", "peer", "name", "far")
    except subprocess.CalledProcessError:
        return False
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return True


def _separated(path: Path, names: Mapping[str, str], made: list[str]) -> dict[str, Machine]:
    hub = f"comity-{os.getpid()}-hub"
    made.append(hub)
    _ip("netns", "add", hub)
    _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
    _ip("-n", hub, "link", "set", "bridge", "up")
    hosts = "127.0.0.1 localhost\n" + "".join(
        f"{NETWORK}.{number} {host}\n" for number, host in enumerate(names.values(), start=1)
    )
    found = {}
    for number, party in enumerate(names, start=1):
        namespace, port = f"comity-{os.getpid()}-{number}", f"port{number}"
        made.append(namespace)
        _ip("netns", "add", namespace)
        _ip("-n", hub, "link", "add", port, "type", "veth", "peer", "eth0", "netns", namespace)
        _ip("-n", hub, "link", "set", port, "master", "bridge", "up")
        _ip("-n", namespace, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", link, "up")
        (HOSTS / namespace).mkdir(parents=True)
        (HOSTS / namespace / "hosts").write_text(hosts)
        found[party] = Machine(home=path / party, namespace=namespace)
    return found


def _remove(namespace: str) -> None:
    """Take a namespace away, after ending the processes that were started in it."""
    listed = subprocess.run(
        ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False
    )
    for pid in listed.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
    shutil.rmtree(HOSTS / namespace, ignore_errors=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True)
