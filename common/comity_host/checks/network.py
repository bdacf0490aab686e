"""Listening ports, proxies, and how this machine sends over long ways."""

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from comity_common.errors import Problem
from comity_host.checks import Finding, ok, told, warning
from comity_host.ports import check_free

LOOK_S = 3.0
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 (to look for)
IPV4 = Path("/proc/sys/net/ipv4")
PROXIES = ("https_proxy", "http_proxy", "all_proxy", "grpc_proxy")
FOR_LONG_WAYS = "bbr"


def listener(name: str, address: str, setting: str, *, ours: Callable[[], bool]) -> Finding:
    """Check that a daemon can listen at `host:port`, or that our own does already.

    Args:
        setting: which one says so.
        ours: tells whether it is our daemon that listens there; asked where somebody does.
    """
    try:
        check_free(address, setting)
    except Problem as taken:
        if ours():
            return ok(name, f"{address} is answered by our own daemon")
        return told(name, taken)
    return ok(name, f"{address} is free")


def shows(address: str, certificate: bytes) -> bool:
    """Tell whether a certificate (PEM) is the one that is shown at `host:port` of this machine."""
    host, port = address.rsplit(":", 1)
    reached = "127.0.0.1" if host == ANY_ADDRESS else host
    try:
        shown = ssl.get_server_certificate((reached, int(port)), timeout=LOOK_S)
    except (OSError, ValueError):
        return False
    return shown.encode() == certificate


def proxy_variables(name: str, environ: Mapping[str, str], *, address: str, used: str) -> Finding:
    """Check whether the environment asks for a proxy, and whether that is the one in use.

    Args:
        address: `host:port` of the other side.
        used: the proxy in our settings, empty for none.
    """
    asked = {key: environ[key] for key in environ if key.lower() in PROXIES and environ[key]}
    if not asked:
        return ok(name, f"{_place(used)}, by our settings" if used else "none")
    words = ", ".join(f"{key}={_place(value)}" for key, value in sorted(asked.items()))
    if _is_exempt(address, environ) and not used:
        return ok(name, f"{words}, not for {address}")
    if any(_place(value) == _place(used) for value in asked.values()):
        return ok(name, words)
    way = f"through {_place(used)}" if used else "directly"
    other = _place(next(iter(asked.values())))
    fix = f'set proxy = "http://{other}" in the settings, or name the other side in NO_PROXY'
    return warning(name, f"{words}, and we go {way}", fix)


def congestion_control(name: str, *, long_way: bool, settings: Path = IPV4) -> Finding:
    """Check how TCP reacts to losses: over long ways cubic falls to a fiftieth of bbr's rate.

    Args:
        long_way: whether the other side is on another network.
    """
    try:
        used = (settings / "tcp_congestion_control").read_text().strip()
        available = (settings / "tcp_available_congestion_control").read_text().split()
    except OSError:
        return ok(name, "this system does not tell")
    if not long_way or used.startswith(FOR_LONG_WAYS):
        return ok(name, used)
    switch = "sysctl -w net.core.default_qdisc=fq net.ipv4.tcp_congestion_control=bbr"
    fix = switch if FOR_LONG_WAYS in available else f"modprobe tcp_bbr && {switch}"
    return warning(name, f"{used}, which is slow over long ways with losses", f"as root: {fix}")


def is_loopback(address: str) -> bool:
    """Tell whether `host:port` is on this machine for certain."""
    host = address.rsplit(":", 1)[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_exempt(address: str, environ: Mapping[str, str]) -> bool:
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    host = address.rsplit(":", 1)[0]
    names = [name.strip().lstrip(".") for name in exempt.split(",") if name.strip()]
    return any(name in ("*", host) or host.endswith(f".{name}") for name in names)


def _place(proxy: str) -> str:
    """Name a proxy without its user and password."""
    return proxy.rpartition("@")[2].removeprefix("http://").rstrip("/")
