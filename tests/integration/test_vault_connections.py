"""Whom a vault's process speaks to, as the kernel saw it.

One of three vaults runs as `comity client daemon` under strace, from its start through following
its mailbox and the key epoch to the end of one order. It may connect to the operator's listener and
to its own unix sockets, and bind these sockets; every other address is listed and is a failure.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.integration.loopback import PATIENCE_S, Federation

import comity_client.daemon
import comity_client.uplink
from comity_client.failures import Unreachable
from comity_client.uplink import Uplink
from comity_common.ids import InstitutionId
from comity_common.tuning import Tune

CALL = re.compile(r"(?:^|\s)(connect|bind|listen|sendto)\(\d+")
# gRPC asks the kernel for IPv6 by binding a socket to [::1]:0 and closes it; it never listens.
IPV6_PROBE = "::1:0"
TRACED = InstitutionId("inst-01")


def can_trace() -> bool:
    """Tell whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-e", "trace=none", "true"]).returncode == 0


pytestmark = pytest.mark.skipif(not can_trace(), reason="strace is not installed, or not allowed")


def address(line: str) -> str:
    """Name the address in a traced call; empty if there is none."""
    if unix := re.search(r'sun_path=@?"([^"]*)"', line):
        return "unix:" + unix[1]
    port = re.search(r"sin6?_port=htons\((\d+)\)", line)
    host = re.search(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
    if port and host:
        return f"{(host[1] or host[2]).removeprefix('::ffff:')}:{port[1]}"
    if family := re.search(r"AF_\w+", line):
        return family[0]
    listener = re.search(r"listen\(\d+<([^>]*)>", line)
    return listener[1] if listener else ""


def calls(trace: Path) -> Counter[tuple[str, str]]:
    """Count the calls of a trace by name and address."""
    counted: Counter[tuple[str, str]] = Counter()
    for line in trace.read_text(errors="replace").splitlines():
        if (found := CALL.search(line)) and (found[1] != "sendto" or address(line)):
            counted[found[1], address(line)] += 1
    return counted


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Take one vault under strace, and two in threads, through a key epoch and a round."""
    path = tmp_path_factory.mktemp("c")
    rows = {InstitutionId(f"inst-0{k}"): ["zebra quartz violin", "copper"] * 20 for k in range(3)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comity_client.daemon, "IDLE_S", 0.02)
        federation = Federation(path, rows, Tune.LORA)
        trace = path / "trace"
        command = ["strace", "-f", "--seccomp-bpf", "-qq", "-yy", "-s", "256", "-o", str(trace)]
        command += [
            "-e",
            "trace=connect,sendto,bind,listen",
            sys.executable,
            "-m",
            "comity_host.cli",
        ]
        command += ["client", "daemon", "--home", str(path / TRACED)]
        log = (path / "log").open("w")
        vault = subprocess.Popen(command, stdout=log, stderr=log)
        federation.operator.ears.pop(InstitutionId(TRACED))  # it hears by its mailbox
        try:
            for id in rows:
                if id != TRACED:
                    federation.start(id)
            federation.set_up_keys()
            federation.run_round()
            for child in children(vault.pid):
                os.kill(child, signal.SIGTERM)
            vault.wait(PATIENCE_S)
        finally:
            federation.close()
            if vault.poll() is None:
                for child in children(vault.pid):
                    os.kill(child, signal.SIGKILL)
                vault.kill()
                vault.wait()
            log.close()
    return SimpleNamespace(federation=federation, calls=calls(trace), code=vault.returncode)


def children(pid: int) -> list[int]:
    """List the processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in tasks.read_text().split()]


def own(traced: SimpleNamespace, *names: str) -> set[str]:
    """Name the vault's own unix sockets."""
    return {f"unix:{traced.federation.path / 's' / TRACED / name}" for name in names}


def test_the_traced_vault_took_part_in_the_round_and_stopped_when_told(
    traced: SimpleNamespace,
) -> None:
    assert traced.code == 0
    sent = traced.federation.sent()[TRACED]
    assert {"Follow", "FetchPlan", "FinishUpload", "FetchTotal"} <= sent.keys()


def test_it_connects_to_the_operator_and_to_nobody_else(traced: SimpleNamespace) -> None:
    operator = f"127.0.0.1:{traced.federation.listeners[TRACED].port}"
    connected = {to for call, to in traced.calls if call == "connect"}
    assert operator in connected
    assert connected - {operator} - own(traced, "orders.sock", "control.sock") == set()


def test_it_sends_no_datagram(traced: SimpleNamespace) -> None:
    assert {to for call, to in traced.calls if call == "sendto"} == set()


def test_it_binds_its_two_unix_sockets_and_nothing_else(traced: SimpleNamespace) -> None:
    bound = {to for call, to in traced.calls if call == "bind"}
    assert bound - {IPV6_PROBE} == own(traced, "orders.sock", "control.sock")


def test_it_listens_on_unix_sockets_alone(traced: SimpleNamespace) -> None:
    listeners = [to for call, to in traced.calls if call == "listen"]
    assert len(listeners) == 2
    assert all(to.startswith("UNIX-STREAM:") for to in listeners)


def test_a_proxy_in_the_environment_does_not_lead_a_vault_elsewhere(
    traced: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets a variable of the vault's process would see when and how much it sends."""
    monkeypatch.setattr(comity_client.uplink, "CONNECT_TIMEOUT_S", 0.5)
    root = next(iter(traced.federation.listeners.values())).certificate
    monkeypatch.setattr(comity_client.uplink, "pinned_certificate", lambda *_: root)
    with listening() as operator, listening() as proxy:
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        uplink = Uplink(
            f"127.0.0.1:{operator.getsockname()[1]}",
            bytes(32),
            traced.federation.parts[TRACED].keys.tls(),
            lambda *message: None,
        )
        with pytest.raises(Unreachable):
            next(uplink.follow(0, lambda: None))
        uplink.close()
        assert (was_called(operator), was_called(proxy)) == (True, False)


def listening() -> socket.socket:
    """Listen on a free port, so that whoever connects can be seen."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0)
    return listener


def was_called(listener: socket.socket) -> bool:
    """Tell whether somebody has connected by now."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_addresses_of_every_family_are_read_from_a_trace() -> None:
    lines = {
        'connect(9, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110) = 0':
            "unix:/run/nscd/socket",
        'connect(9, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("9.9.9.9")}, 16)':
            "9.9.9.9:53",
        'bind(5, {sa_family=AF_INET6, sin6_port=htons(0), sin6_flowinfo=htonl(0), '
        'inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0': "::1:0",
        "bind(5, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 0": "AF_NETLINK",
        'connect(8, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, '
        '"::ffff:10.0.0.1", &sin6_addr)}, 28) = -1 EINPROGRESS': "10.0.0.1:443",
        "listen(8<TCPv6:[[::1]:38291]>, 5) = 0": "TCPv6:[[::1]:38291]",
    }  # fmt: skip
    assert [address(line) for line in lines] == list(lines.values())
