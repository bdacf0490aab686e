"""Looking at a certificate before anything is said: real listeners, proxies and strangers."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from comity_client.tls import clock_problem, pinned_certificate, split_address
from comity_common.errors import LocalError, Problem
from comity_server.authority import Authority, certificate_fingerprint, private_pem

TIMEOUT_S = 5.0


class Listener:
    """A gRPC server; if it `asks`, it lets nobody in without a certificate of its authority."""

    def __init__(
        self, directory: Path, name: str, host: str = "127.0.0.1", *, asks: bool = True
    ) -> None:
        directory.mkdir()
        root = directory / "authority.pem"
        self.authority = Authority.create(directory / "authority.key", root, name)
        key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.authority.sign_server(key.public_key(), ["localhost", "127.0.0.1"])
        self.pin = certificate_fingerprint(self.certificate)
        self._server = grpc.server(ThreadPoolExecutor(1), handlers=[_Echo()])
        credentials = grpc.ssl_server_credentials(
            [(private_pem(key), self.certificate)], root.read_bytes(), require_client_auth=asks
        )
        self.port = self._server.add_secure_port(f"{host}:0", credentials)
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.stop(None).wait()


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "operator", "University")
    yield listener
    listener.close()


@contextmanager
def listening(answer: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    """Answer every connection in a thread of its own; the port."""
    with socket.create_server((host, 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)


class Proxy:
    """An HTTP proxy that notes what it is asked, and lets through what it is told to."""

    def __init__(self, status: str = "200 Connection established") -> None:
        self.asked: list[list[str]] = []
        self._status = status

    def __call__(self, near: socket.socket) -> None:
        with near:
            lines = near.recv(4096).decode().split("\r\n")
            self.asked.append(lines)
            near.sendall(f"HTTP/1.1 {self._status}\r\nVia: proxy\r\n\r\n".encode())
            if self._status.startswith("2"):
                host, port = split_address(lines[0].split()[1])
                with socket.create_connection((host, port)) as far:
                    back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
                    back.start()
                    _pass_on(near, far)
                    back.join(TIMEOUT_S)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def problem_of(address: str, pin: bytes, proxy: str = "", timeout_s: float = TIMEOUT_S) -> Problem:
    with pytest.raises(Problem) as caught:
        pinned_certificate(address, pin, proxy, timeout_s)
    return caught.value


def test_the_certificate_with_the_pinned_key_is_returned(operator: Listener) -> None:
    assert pinned_certificate(operator.address, operator.pin) == operator.certificate


def test_grpc_takes_what_is_returned_as_its_only_root(operator: Listener) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "berlin")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    own = operator.authority.sign_request(request.public_bytes(Encoding.PEM)).certificate
    root = pinned_certificate(operator.address, operator.pin)
    credentials = grpc.ssl_channel_credentials(root, private_pem(key), own)
    with grpc.secure_channel(operator.address, credentials) as channel:
        assert channel.unary_unary("/comity/Echo")(b"hello", timeout=TIMEOUT_S) == b"hello"


def test_grpc_then_trusts_nobody_else_of_the_same_name(operator: Listener, tmp_path: Path) -> None:
    stranger = Listener(tmp_path / "stranger", "University", asks=False)
    root = pinned_certificate(operator.address, operator.pin)
    try:
        for trusted, code in ((stranger.certificate, None), (root, grpc.StatusCode.UNAVAILABLE)):
            credentials = grpc.ssl_channel_credentials(trusted)
            with grpc.secure_channel(stranger.address, credentials) as channel:
                call = channel.unary_unary("/comity/Echo").future(b"", timeout=TIMEOUT_S)
                error = call.exception()
                assert (error and error.code()) == code
    finally:
        stranger.close()


def test_a_name_is_looked_up(operator: Listener) -> None:
    assert pinned_certificate(f"localhost:{operator.port}", operator.pin) == operator.certificate


def test_an_ipv6_address_stands_in_brackets(tmp_path: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listener = Listener(tmp_path / "six", "University", host="[::1]")
    except RuntimeError:
        pytest.skip("no IPv6 here")
    try:
        assert pinned_certificate(f"[::1]:{listener.port}", listener.pin) == listener.certificate
    finally:
        listener.close()


def test_another_key_is_told_with_the_name_of_who_signed_it(
    operator: Listener, tmp_path: Path
) -> None:
    middle = Listener(tmp_path / "middle", "Corp")
    try:
        problem = problem_of(middle.address, operator.pin)
    finally:
        middle.close()
    assert problem.code == "COM-NET-002"
    assert problem.facts == {"address": middle.address, "issuer": "Corp authority"}


def test_a_key_that_differs_in_one_bit_is_another_key(operator: Listener) -> None:
    other = bytes([operator.pin[0] ^ 1]) + operator.pin[1:]
    assert problem_of(operator.address, other).code == "COM-NET-002"


def test_a_pin_is_32_bytes(operator: Listener) -> None:
    with pytest.raises(LocalError, match="pin of 32 bytes, got 0"):
        pinned_certificate(operator.address, b"")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    problem = problem_of(f"127.0.0.1:{port}", bytes(32))
    assert problem.code == "COM-NET-001"
    assert problem.facts["why"] == "connection refused"


def test_a_name_that_nobody_has() -> None:
    problem = problem_of("operator.invalid:7443", bytes(32))
    assert problem.facts["why"] == "its name is not known here"


@pytest.mark.parametrize("name", ["a..b", "x" * 70])
def test_a_name_that_nobody_can_have(name: str) -> None:
    assert problem_of(f"{name}:7443", bytes(32)).code == "COM-NET-001"


def test_somebody_who_says_nothing_is_waited_for_no_longer_than_told() -> None:
    gone = threading.Event()
    with listening(lambda connection: (gone.wait(TIMEOUT_S), connection.close())[0]) as port:
        problem = problem_of(f"127.0.0.1:{port}", bytes(32), timeout_s=0.2)
        gone.set()
    assert problem.facts["why"] == "no answer within 0.2 s"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x16\x03\x03"])
def test_somebody_who_speaks_no_tls(answer: bytes) -> None:
    def say(connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    with listening(say) as port:
        assert problem_of(f"127.0.0.1:{port}", bytes(32)).code == "COM-NET-001"


def test_a_proxy_is_asked_for_a_way_through(operator: Listener) -> None:
    proxy = Proxy()
    with listening(proxy) as port:
        found = pinned_certificate(operator.address, operator.pin, f"http://127.0.0.1:{port}")
    assert found == operator.certificate
    assert proxy.asked[0][0] == f"CONNECT {operator.address} HTTP/1.1"
    assert not any("Authorization" in line for line in proxy.asked[0])


def test_a_proxy_gets_its_password_and_nobody_else_does(operator: Listener) -> None:
    proxy = Proxy("407 Proxy Authentication Required")
    with listening(proxy) as port:
        place = f"http://ann:p%40ss@127.0.0.1:{port}"
        problem = problem_of(operator.address, operator.pin, place)
    assert "Proxy-Authorization: Basic YW5uOnBAc3M=" in proxy.asked[0]
    assert problem.code == "COM-NET-003"
    assert problem.facts == {
        "proxy": f"127.0.0.1:{port}",
        "address": operator.address,
        "why": "it wants a name and a password (HTTP 407)",
    }


def test_a_proxy_that_says_no(operator: Listener) -> None:
    with listening(Proxy("403 Forbidden")) as port:
        problem = problem_of(operator.address, operator.pin, f"127.0.0.1:{port}")
    assert problem.facts["why"] == "it answers HTTP 403"


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"", b"x" * 100_000])
def test_a_proxy_that_is_none(operator: Listener, answer: bytes) -> None:
    def say(connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    with listening(say) as port:
        problem = problem_of(operator.address, operator.pin, f"127.0.0.1:{port}")
    assert problem.code == "COM-NET-003"


def test_a_proxy_that_is_not_there(operator: Listener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    problem = problem_of(operator.address, operator.pin, f"127.0.0.1:{port}")
    assert problem.facts["why"] == "it cannot be reached (connection refused)"


def test_a_proxy_that_never_stops_talking_is_not_listened_to() -> None:
    def flood(connection: socket.socket) -> None:
        with connection:
            try:
                while True:
                    connection.sendall(b"x" * 4096)
            except OSError:
                return

    with listening(flood) as port:
        problem = problem_of("127.0.0.1:1", bytes(32), f"127.0.0.1:{port}")
    assert problem.facts["why"] == "it does not answer as an HTTP proxy"


def test_a_proxy_that_answers_drop_by_drop_is_given_up() -> None:
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                while not ended.wait(0.02):
                    connection.sendall(b"x")
            except OSError:
                return

    with listening(drip) as port:
        problem = problem_of("127.0.0.1:1", bytes(32), f"127.0.0.1:{port}", timeout_s=0.3)
        ended.set()
    assert problem.facts["why"] == "it cannot be reached (no answer within 0.3 s)"


@pytest.mark.parametrize("proxy", ["socks5://h:1", "http://ann:s3cret@h:port", "http://", "h:0"])
def test_a_proxy_of_another_kind_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(LocalError, match="expected a proxy like") as caught:
        pinned_certificate("127.0.0.1:1", bytes(32), proxy)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("operator.example:7443", ("operator.example", 7443)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_an_address_is_split(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", ":1", "host:0", "host:65536", "::1:7443", "[::1]", "h\r\nX: y:1", "h:²"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(LocalError, match="expected an address like host:port"):
        split_address(address)


@pytest.mark.parametrize("gap", [0.0, 300.0, -300.0])
def test_clocks_may_be_five_minutes_apart(gap: float) -> None:
    assert clock_problem(1e9 + gap, 1e9) is None


@pytest.mark.parametrize(
    ("gap", "sentence"),
    [
        (301.0, "the operator's clock is 5 minutes ahead of this machine's clock"),
        (-7200.0, "this machine's clock is 2 hours ahead of the operator's clock"),
        (864_000.0, "the operator's clock is 10 days ahead of this machine's clock"),
        (float("inf"), "the operator's clock is more than 1000 days ahead of this machine's clock"),
        (float("nan"), "this machine's clock is more than 1000 days ahead of the operator's clock"),
    ],
)
def test_a_clock_that_is_off_is_named(gap: float, sentence: str) -> None:
    problem = clock_problem(1e9 + gap, 1e9)
    assert problem is not None
    assert (problem.code, str(problem)) == ("COM-NET-004", sentence)
