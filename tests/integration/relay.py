"""A bad line: a TCP relay on loopback that cuts connections, or turns a byte over on the way."""

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

PIECE_BYTES = 16 << 10


class Relay:
    """Carries connections to a port.

    Args:
        lives: how many bytes the next connection carries before it is cut; None: as many as come.
        spoils: at which byte towards the server a connection's byte is turned over; None: never.

    Attributes:
        connections, cuts: how many there were.
        most: how many were open at once.
        carried: bytes towards the server.
    """

    def __init__(
        self,
        port: int,
        lives: Callable[[], int | None] = lambda: None,
        spoils: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._to = port
        self._lives = lives
        self._spoils = spoils
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = self.cuts = self.most = self.carried = self._open = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            with self._lock:
                self.connections += 1
                self._open += 1
                self.most = max(self.most, self._open)
                life, spoilt = self._lives(), self._spoils()
            threading.Thread(target=_back, args=(far, near), daemon=True).start()
            threading.Thread(
                target=self._forth, args=(near, far, life, spoilt), daemon=True
            ).start()

    def _forth(
        self, near: socket.socket, far: socket.socket, life: int | None, spoilt: int | None
    ) -> None:
        done = 0
        try:
            while life is None or done < life:
                data = near.recv(PIECE_BYTES if life is None else min(PIECE_BYTES, life - done))
                if not data:
                    break
                if spoilt is not None and done <= spoilt < done + len(data):
                    turned = bytearray(data)
                    turned[spoilt - done] ^= 1
                    data = bytes(turned)
                far.sendall(data)
                done += len(data)
            else:
                with self._lock:
                    self.cuts += 1
        except OSError:
            pass
        with self._lock:
            self._open -= 1
            self.carried += done
        for one in (near, far):
            _hang_up(one)


def cutting(seed: int, least: int, most: int, cuts: int) -> Callable[[], int | None]:
    """Let so many connections live for a random number of bytes, then leave them alone."""
    chance, left = random.Random(seed), iter(range(cuts))
    return lambda: None if next(left, None) is None else chance.randint(least, most)


def _back(far: socket.socket, near: socket.socket) -> None:
    try:
        while data := far.recv(PIECE_BYTES):
            near.sendall(data)
    except OSError:
        pass
    _hang_up(near)


def _hang_up(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
