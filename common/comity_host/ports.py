"""Finds loopback ports that stay free until the process that will listen there starts.

Flower refuses port 0, so ports must be chosen before the daemons start. They are held by bound
sockets meanwhile, so two demos that start side by side choose different ones, and they lie below
the range from which the kernel serves outgoing connections, so none is taken by chance after it
is released or while a killed daemon is away.

    with HeldPorts(3) as ports:
        superlink, gate, node = ports.numbers
        ports.release(superlink)   # and start the SuperLink at once
"""

import random
import socket
from types import TracebackType
from typing import Self

from comity_common.errors import LocalError, Problem

RANGE = range(20000, 30000)  # Linux's outgoing ports begin at 32768, macOS's at 49152
_TRIES = 1000


class HeldPorts:
    """Distinct free loopback TCP ports, held until each is released.

    Attributes:
        numbers: the ports, in the order in which they were found.
    """

    def __init__(self, count: int) -> None:
        """Find and hold this many ports.

        Raises:
            LocalError: too few are free.
        """
        chance = random.SystemRandom()
        self._held: dict[int, socket.socket] = {}
        for port in chance.sample(RANGE, k=_TRIES):
            if len(self._held) == count:
                break
            if (held := _hold(port)) is not None:
                self._held[port] = held
        if len(self._held) < count:
            self.close()
            raise LocalError(f"expected {count} free loopback ports, found fewer")
        self.numbers: tuple[int, ...] = tuple(self._held)

    def release(self, port: int) -> int:
        """Give up one port, just before the process that listens there starts."""
        self._held.pop(port).close()
        return port

    def close(self) -> None:
        """Give up all that are still held."""
        for port in list(self._held):
            self.release(port)

    def __enter__(self) -> Self:
        """Return the ports."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up all that are still held."""
        self.close()


def free_port() -> int:
    """Find a loopback port for a process that is started at once."""
    with HeldPorts(1) as ports:
        return ports.numbers[0]


def check_free(address: str, setting: str) -> None:
    """Check that a daemon can listen at `host:port`.

    Args:
        setting: which one says so, to be named if it cannot.

    Raises:
        Problem: it cannot.
    """
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as daemons do
        try:
            probe.bind((host, int(port)))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise Problem("COM-SERVICE-002", address=address, setting=setting, why=why) from None


def _hold(port: int) -> socket.socket | None:
    holder = socket.socket()
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        return None
    return holder
