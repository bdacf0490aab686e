"""Whose certificate is shown at an address, before anything is said there.

A vault trusts one key, the operator's, by its pin: SHA-256 of the SubjectPublicKeyInfo (RFC 5280
§4.1.2.7). It comes with the invitation, and later with the signed agreement, never from an
authority of the network. So the vault looks first, compares, and hands the very certificate that
it saw to gRPC as the only root:

    root = pinned_certificate("operator.example:7443", pin)
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(root, key, certificate))

Looking sends no certificate and no word of ours. gRPC then checks the key anew: a stranger who
steps in between the look and the call does not get in.
"""

import base64
import hmac
import math
import re
import socket
import ssl
from contextlib import suppress
from hashlib import sha256
from http import HTTPStatus
from time import monotonic
from urllib.parse import SplitResult, unquote, urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from comity_common.errors import LocalError, Problem

PIN_BYTES = 32
MAX_PROXY_ANSWER_BYTES = 16 << 10
MAX_CLOCK_GAP_S = 300.0
MAX_ISSUER = 80  # characters that are shown

_ADDRESS = re.compile(
    r"((?P<name>[A-Za-z0-9._-]+)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]):(?P<port>[0-9]{1,5})"
)


def pinned_certificate(address: str, pin: bytes, proxy: str = "", timeout_s: float = 5.0) -> bytes:
    """Look which certificate is shown at an address, and check that it holds the expected key.

    Args:
        address: `host:port`, an IPv6 host in brackets.
        pin: SHA-256 of the key's SubjectPublicKeyInfo, 32 bytes.
        proxy: of HTTP, `http://host:port` with or without `user:password@`; empty for none.
        timeout_s: for the connection, for the proxy and for the handshake, each.

    Returns:
        the certificate as PEM.

    Raises:
        Problem: nobody answers, the proxy says no, or another key is shown.
        LocalError: that is no address or no pin.
    """
    if len(pin) != PIN_BYTES:
        raise LocalError(f"expected a pin of {PIN_BYTES} bytes, got {len(pin)}")
    raw = _shown_certificate(address, proxy, timeout_s)
    try:
        certificate = x509.load_der_x509_certificate(raw)
        key = certificate.public_key()
        shown = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        issuer = "nobody whose name can be read"
        raise Problem("COM-NET-002", address=address, issuer=issuer) from None
    if not hmac.compare_digest(sha256(shown).digest(), pin):
        raise Problem("COM-NET-002", address=address, issuer=_issuer(certificate))
    return certificate.public_bytes(Encoding.PEM)


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port`; an IPv6 host loses its brackets.

    Raises:
        LocalError: it is no such address.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise LocalError(f"expected an address like host:port, got {address[:100]!r}")
    return found["name"] or found["ipv6"], int(found["port"])


def clock_problem(server_now: float, own_now: float) -> Problem | None:
    """Compare the operator's clock with this machine's, both in seconds since 1970.

    Returns:
        what to tell, where they are more than five minutes apart.
    """
    gap = server_now - own_now
    if abs(gap) <= MAX_CLOCK_GAP_S:
        return None
    clocks = ["the operator's clock", "this machine's clock"]
    ahead, behind = clocks if gap > 0 else reversed(clocks)
    return Problem("COM-NET-004", ahead=ahead, behind=behind, by=_in_words(abs(gap)))


def _shown_certificate(address: str, proxy: str, timeout_s: float) -> bytes:
    """Shake hands without trust and without a certificate of our own; DER."""
    host, port = split_address(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to look; whose key it is the pin decides
    context.set_alpn_protocols(["h2"])
    try:
        with (
            _tunnel(host, port, proxy, timeout_s) if proxy else _dial(host, port, timeout_s)
        ) as way:
            way.settimeout(timeout_s)
            # With TLS 1.3 we are done before the server misses our certificate.
            with context.wrap_socket(way, server_hostname=host) as connection:
                shown = connection.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:
        raise Problem("COM-NET-001", address=address, why=_why(error, timeout_s)) from None
    if shown is None:
        raise Problem("COM-NET-001", address=address, why="no certificate is shown")
    return shown


def _dial(host: str, port: int, timeout_s: float) -> socket.socket:
    return socket.create_connection((host, port), timeout=timeout_s)


def _tunnel(host: str, port: int, proxy: str, timeout_s: float) -> socket.socket:
    """Ask an HTTP proxy for a way through (RFC 9110 §9.3.6)."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    place = _proxy_place(proxy)
    name = f"{place.hostname}:{place.port or 80}"
    connection = None
    try:
        connection = _dial(str(place.hostname), place.port or 80, timeout_s)
        asked = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", *_credentials(place), "", ""]
        connection.sendall("\r\n".join(asked).encode())
        status = _status(connection, monotonic() + timeout_s)
    except OSError as error:
        if connection is not None:
            connection.close()
        why = f"it cannot be reached ({_why(error, timeout_s)})"
        raise Problem("COM-NET-003", proxy=name, address=where, why=why) from None
    if not 200 <= status < 300:
        connection.close()
        raise Problem("COM-NET-003", proxy=name, address=where, why=_answer(status))
    return connection


def _proxy_place(proxy: str) -> SplitResult:
    """Read a proxy's address; what is wrong with it is told without its password."""
    with suppress(ValueError):
        place = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if place.scheme == "http" and place.hostname and place.port != 0:
            return place
    raise LocalError("expected a proxy like http://host:port")


def _credentials(place: SplitResult) -> list[str]:
    if place.username is None:
        return []
    pair = f"{unquote(place.username)}:{unquote(place.password or '')}"
    code = base64.b64encode(pair.encode("utf-8", "surrogateescape"))
    return [f"Proxy-Authorization: Basic {code.decode()}"]


def _status(connection: socket.socket, deadline: float) -> int:
    """Read a proxy's answer up to its blank line; 0 if it is none."""
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < MAX_PROXY_ANSWER_BYTES:
        if (left := deadline - monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(left)
        if not (piece := connection.recv(4096)):
            return 0
        answer += piece
    words = answer.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        return 0
    return int(words[1]) if re.fullmatch(rb"[1-5][0-9]{2}", words[1]) else 0


def _answer(status: int) -> str:
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return "it wants a name and a password (HTTP 407)"
    return f"it answers HTTP {status}" if status else "it does not answer as an HTTP proxy"


def _issuer(certificate: x509.Certificate) -> str:
    """Name who signed a certificate, as far as it can be printed."""
    with suppress(ValueError):
        for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
            for attribute in certificate.issuer.get_attributes_for_oid(kind):
                name = str(attribute.value)[:MAX_ISSUER]
                return "".join(sign if sign.isprintable() else "?" for sign in name)
    return "nobody with a name"


def _why(error: Exception, timeout_s: float) -> str:
    match error:
        case socket.gaierror() | UnicodeError():
            return "its name is not known here"
        case TimeoutError():
            return f"no answer within {timeout_s:g} s"
        case ConnectionRefusedError():
            return "connection refused"
        case ssl.SSLEOFError() | ConnectionError():
            return "the connection was cut"
        case ssl.SSLError():
            return "no TLS that we understand is spoken there"
        case OSError() if error.strerror:
            return error.strerror.lower()
        case _:
            return "no connection"


def _in_words(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds > 1000 * 86_400:
        return "more than 1000 days"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    hours = round(seconds / 3600)
    return f"{hours} hours" if hours < 48 else f"{round(seconds / 86_400)} days"
