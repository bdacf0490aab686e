"""The checks that both doctors share: what is right, what is wrong, and how to mend it."""

import datetime
import os
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from comity_common.errors import LocalError, Problem
from comity_host.checks import Check, Finding, Level, examine, ok, problem, warning
from comity_host.checks.certificates import certified_hosts, validity
from comity_host.checks.files import database, disk, private, size, socket_path
from comity_host.checks.machine import memory, open_files, packages, processors, programs
from comity_host.checks.network import (
    congestion_control,
    is_loopback,
    listener,
    proxy_variables,
    shows,
)

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)


def only(check: Check) -> Finding:
    (finding,) = examine([check])
    return finding


# Examining


def test_findings_come_in_order_each_as_soon_as_it_is_known() -> None:
    seen: list[str] = []

    def look(name: str) -> Finding:
        seen.append(name)
        return ok(name, "fine")

    findings = examine(
        [
            Check(name="a", look=lambda: look("a")),
            Check(name="b", look=lambda: [look("b"), look("c")]),
        ]
    )
    assert next(findings).name == "a"
    assert seen == ["a"]
    assert [finding.name for finding in findings] == ["b", "c"]


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (LocalError("expected a key"), "expected a key"),
        (
            Problem("COM-CONF-002", file="vault.toml", key="id", why="expected text"),
            "COM-CONF-002 vault.toml: id: expected text",
        ),
        (FileNotFoundError(2, "No such file", "/x/y"), "/x/y cannot be used: No such file"),
        (ValueError("my diagnosis is flu"), "this could not be looked at (ValueError)"),
        (SystemExit(1), "this could not be looked at (SystemExit)"),
    ],
)
def test_what_a_check_raises_is_a_finding(error: BaseException, detail: str) -> None:
    def look() -> Finding:
        raise error

    finding = only(Check(name="key", look=look))
    assert (finding.name, finding.level, finding.detail) == ("key", Level.PROBLEM, detail)
    assert finding.fix


def test_a_check_that_hangs_is_given_up_and_the_next_has_its_turn() -> None:
    end = threading.Event()

    def hang() -> Finding:
        end.wait(10)
        return ok("slow", "done after all")

    checks = [
        Check(name="slow", look=hang, limit_s=0.05),
        Check(name="next", look=lambda: ok("next", "fine")),
    ]
    slow, after = examine(checks)
    end.set()
    assert (slow.level, slow.detail) == (Level.PROBLEM, "no answer within 0.05 s")
    assert after.level is Level.OK


def test_a_line_has_mark_name_detail_and_the_fix_at_its_end() -> None:
    assert ok("disk", "1.0 GB free").line(6) == "✓ disk    1.0 GB free"
    assert warning("disk", "little", "free some").line(4) == "! disk  little. Fix: free some"
    assert problem("disk", "full", "free some").line(4) == "✗ disk  full. Fix: free some"


# Files


def test_a_private_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    key = tmp_path / "signing.key"
    key.write_bytes(b"secret")
    key.chmod(0o600)
    assert private("home", [tmp_path], [key]).level is Level.OK
    key.chmod(0o640)
    finding = private("home", [tmp_path], [key])
    assert (finding.level, finding.fix) == (Level.PROBLEM, f"chmod 600 {key}")
    assert "secret" not in finding.detail
    tmp_path.chmod(0o750)
    assert private("home", [tmp_path], [key]).fix == f"chmod 700 {tmp_path}"


def test_a_key_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    finding = private("home", [], [tmp_path / "tls.key"])
    assert finding.level is Level.PROBLEM
    assert "tls.key is missing" in finding.detail


def test_a_home_of_another_user_is_a_problem(tmp_path: Path) -> None:
    finding = private("home", [tmp_path], [], owner=os.getuid() + 1)
    assert finding.level is Level.PROBLEM
    assert f"belongs to user {os.getuid()}" in finding.detail


def test_a_socket_path_has_at_most_100_bytes() -> None:
    assert socket_path("socket", Path("/" + "x" * 99), "shorter").level is Level.OK
    finding = socket_path("socket", Path("/" + "x" * 100), "shorter")
    assert (finding.level, finding.fix) == (Level.PROBLEM, "shorter")


def test_the_disk_is_that_of_the_nearest_directory_that_exists(tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet"
    assert disk("disk", place, needs=0).level is Level.OK
    assert disk("disk", place, needs=0, wants=1 << 60).level is Level.WARNING
    finding = disk("disk", place, needs=1 << 60)
    assert finding.level is Level.PROBLEM
    assert "1152921.5 TB are needed" in finding.detail


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 bytes"), (1000, "1 kB"), (2_340_000, "2.3 MB"), (1e9, "1.0 GB")]
)
def test_sizes_are_written_for_people(count: float, text: str) -> None:
    assert size(count) == text


def test_a_damaged_database_is_found(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    assert database("ledger", path).level is Level.PROBLEM
    assert not path.exists()
    with sqlite3.connect(path) as connection:
        connection.execute("create table entries (raw blob)")
        connection.executemany("insert into entries values (?)", [(bytes(2000),)] * 50)
    connection.close()
    assert database("ledger", path).level is Level.OK
    content = bytearray(path.read_bytes())
    content[4096:8192] = os.urandom(4096)
    path.write_bytes(content)
    assert database("ledger", path).level is Level.PROBLEM
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    finding = database("ledger", path)
    assert (finding.level, finding.detail) == (Level.PROBLEM, f"{path} is damaged")


# The machine


def meminfo(tmp_path: Path, available_kb: int) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: 99 kB\nMemAvailable:   {available_kb} kB\nSwapFree: 1 kB\n")
    return path


def test_memory_counts_what_is_available(tmp_path: Path) -> None:
    path = meminfo(tmp_path, 1_000_000)
    enough = memory("memory", needs=1_024_000_000, what="a vault", meminfo=path, cgroup=tmp_path)
    assert enough.level is Level.OK
    less = memory("memory", needs=1_024_000_001, what="a vault", meminfo=path, cgroup=tmp_path)
    assert (less.level, less.detail) == (
        Level.WARNING,
        "1.0 GB free, a vault needs about 1.0 GB",
    )


def test_a_containers_limit_counts_where_it_is_lower(tmp_path: Path) -> None:
    path = meminfo(tmp_path, 1_000_000)
    (tmp_path / "memory.max").write_text("300000000\n")
    (tmp_path / "memory.current").write_text("100000000\n")
    finding = memory("memory", needs=250_000_000, what="a vault", meminfo=path, cgroup=tmp_path)
    assert (finding.level, finding.detail[:14]) == (Level.WARNING, "200.0 MB free,")
    (tmp_path / "memory.max").write_text("max\n")
    finding = memory("memory", needs=250_000_000, what="a vault", meminfo=path, cgroup=tmp_path)
    assert finding.level is Level.OK


def test_a_system_that_does_not_tell_its_memory(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    finding = memory("memory", needs=1, what="a vault", meminfo=nothing, cgroup=nothing)
    assert finding.level is Level.WARNING


def test_threads_want_processors() -> None:
    here = len(os.sched_getaffinity(0))
    assert processors("processors", wanted=here).level is Level.OK
    finding = processors("processors", wanted=here + 1)
    assert finding.level is Level.WARNING
    assert finding.fix == f"set threads to {here} in the settings"


@pytest.mark.parametrize(
    ("limit", "level"), [(1023, Level.WARNING), (1024, Level.OK), (-1, Level.OK)]
)
def test_open_files_have_a_limit(limit: int, level: Level) -> None:
    assert open_files("open files", needs=1024, limit=limit).level is level


def test_this_process_tells_its_limit() -> None:
    assert open_files("open files", needs=1).level is Level.OK


def test_packages_are_named_with_their_versions() -> None:
    finding = packages("versions", ["comity", "numpy"], extra="client")
    assert finding.level is Level.OK
    assert finding.detail.startswith("Python 3.")
    assert "comity 0." in finding.detail


def test_a_package_that_is_missing_is_named() -> None:
    finding = packages("versions", ["comity", "no-such-package-of-ours"], extra="client")
    assert finding.level is Level.PROBLEM
    assert finding.detail.startswith("no-such-package-of-ours is not installed")
    assert finding.fix == 'pip install ".[client]" in a checkout of Comity'


def test_programs_lie_beside_this_python(tmp_path: Path) -> None:
    assert programs("Flower", ["flwr"], tmp_path).level is Level.PROBLEM
    (tmp_path / "flwr").touch(mode=0o755)
    assert programs("Flower", ["flwr"], tmp_path).level is Level.OK


# The network


def test_a_free_port_is_free_and_a_taken_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        taken = listener("vaults", place, "transfer", ours=lambda: False)
        assert taken.level is Level.PROBLEM
        assert taken.detail.startswith(f"COM-SERVICE-002 cannot listen on {place}")
        assert "transfer" in taken.fix
        own = listener("vaults", place, "transfer", ours=lambda: True)
        assert own == ok("vaults", f"{place} is answered by our own daemon")
    free = listener("vaults", place, "transfer", ours=lambda: False)
    assert free == ok("vaults", f"{place} is free")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours(host: str) -> None:
    finding = listener("vaults", f"{host}:7443", "transfer", ours=lambda: False)
    assert finding.level is Level.PROBLEM


def self_signed(
    first: datetime.datetime, days: int, hosts: tuple[str, ...] = ()
) -> tuple[bytes, bytes]:
    """Make a certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "operator")])
    draft = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(first)
        .not_valid_after(first + datetime.timedelta(days=days))
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        draft = draft.add_extension(names, critical=False)
    pem = draft.sign(key, SHA256()).public_bytes(Encoding.PEM)
    return pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def tls_listener(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """Listen with TLS; the port and the certificate."""
    certificate, key = self_signed(NOW, 1)
    (tmp_path / "pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    with context.wrap_socket(connection, server_side=True):
                        pass
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], certificate
        server.shutdown(socket.SHUT_RDWR)


def test_our_own_daemon_is_known_by_its_certificate(tls_listener: tuple[int, bytes]) -> None:
    port, certificate = tls_listener
    assert shows(f"127.0.0.1:{port}", certificate)
    assert shows(f"0.0.0.0:{port}", certificate)
    assert not shows(f"127.0.0.1:{port}", self_signed(NOW, 1)[0])


def test_a_port_where_nobody_listens_shows_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not shows(f"127.0.0.1:{port}", self_signed(NOW, 1)[0])


SERVER = "operator.example:7443"


def test_a_proxy_of_the_environment_is_told_without_its_password() -> None:
    environ = {"HTTPS_PROXY": "http://ann:s3cret@proxy.corp:3128", "NO_PROXY": "localhost"}
    finding = proxy_variables("proxy", environ, address=SERVER, used="")
    assert finding.level is Level.WARNING
    assert finding.detail == "HTTPS_PROXY=proxy.corp:3128, and we go directly"
    assert finding.fix.startswith('set proxy = "http://proxy.corp:3128"')
    same = proxy_variables("proxy", environ, address=SERVER, used="http://proxy.corp:3128")
    assert same.level is Level.OK
    other = proxy_variables("proxy", environ, address=SERVER, used="http://else:1")
    assert other.detail.endswith("we go through else:1")


def test_a_proxy_that_is_not_for_the_other_side_is_none() -> None:
    environ = {"https_proxy": "proxy.corp:3128", "no_proxy": ".example"}
    finding = proxy_variables("proxy", environ, address=SERVER, used="")
    assert finding == ok("proxy", f"https_proxy=proxy.corp:3128, not for {SERVER}")


@pytest.mark.parametrize("environ", [{}, {"HTTPS_PROXY": ""}, {"PATH": "/bin"}])
def test_without_a_proxy_there_is_none(environ: dict[str, str]) -> None:
    assert proxy_variables("proxy", environ, address=SERVER, used="").detail == "none"
    assert proxy_variables("proxy", environ, address=SERVER, used="http://p:1").level is Level.OK


@pytest.mark.parametrize(
    ("address", "near"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), (SERVER, False)],
)
def test_this_machine_is_near(address: str, near: bool) -> None:
    assert is_loopback(address) is near


def tcp(tmp_path: Path, used: str, available: str) -> Path:
    (tmp_path / "tcp_congestion_control").write_text(used + "\n")
    (tmp_path / "tcp_available_congestion_control").write_text(available + "\n")
    return tmp_path


def test_cubic_is_slow_over_long_ways_alone(tmp_path: Path) -> None:
    settings = tcp(tmp_path, "cubic", "reno cubic bbr")
    assert congestion_control("TCP", long_way=False, settings=settings).level is Level.OK
    finding = congestion_control("TCP", long_way=True, settings=settings)
    assert finding.level is Level.WARNING
    assert "tcp_congestion_control=bbr" in finding.fix
    assert "modprobe" not in finding.fix


def test_bbr_may_have_to_be_loaded_first(tmp_path: Path) -> None:
    finding = congestion_control("TCP", long_way=True, settings=tcp(tmp_path, "reno", "reno cubic"))
    assert finding.fix.startswith("as root: modprobe tcp_bbr && sysctl -w ")


def test_bbr_is_fine(tmp_path: Path) -> None:
    finding = congestion_control("TCP", long_way=True, settings=tcp(tmp_path, "bbr", "bbr"))
    assert (finding.level, finding.detail) == (Level.OK, "bbr")


def test_another_system_does_not_tell(tmp_path: Path) -> None:
    assert congestion_control("TCP", long_way=True, settings=tmp_path / "no").level is Level.OK


# Certificates


@pytest.mark.parametrize(
    ("days", "level"),
    [(29, Level.WARNING), (30, Level.OK), (0, Level.WARNING), (-1, Level.PROBLEM)],
)
def test_a_certificate_ends_some_day(days: int, level: Level) -> None:
    pem, _ = self_signed(NOW - datetime.timedelta(days=10), 10 + days)
    now = NOW - datetime.timedelta(seconds=1)
    finding = validity("certificate", pem, now=now, warn_days=30, fix="renew it")
    assert finding.level is level
    assert finding.fix == ("" if level is Level.OK else "renew it")


def test_a_certificate_of_tomorrow_points_at_the_clock() -> None:
    pem, _ = self_signed(NOW + datetime.timedelta(days=1), 10)
    finding = validity("certificate", pem, now=NOW, warn_days=1, fix="renew it")
    assert finding.level is Level.PROBLEM
    assert "clock" in finding.fix


def test_a_certificate_that_is_none() -> None:
    assert validity("certificate", b"x", now=NOW, warn_days=1, fix="y").level is Level.PROBLEM


def test_a_certificate_names_its_hosts() -> None:
    assert certified_hosts(self_signed(NOW, 1)[0]) == frozenset()
    pem, _ = self_signed(NOW, 1, ("operator.example", "localhost"))
    assert certified_hosts(pem) == {"operator.example", "localhost"}
