"""Where Flower's ClientApp brings orders: a unix socket, one line in, one line out.

The ClientApp is untrusted: the operator decides what it runs. It can say no more than "round n of
agreement T, under the plan P", and learns no more than "accepted" or a refusal code. Only processes
of the vault's own user, or of root, may speak.
"""

import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from comity_common.errors import PeerError, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.wire import digest_of
from comity_host.files import check_socket_path

MAX_ORDER_BYTES = 4096
ORDER_TIMEOUT_S = 10.0
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

Answer = Callable[[dict[str, object]], dict[str, object]]


class LineSocket:
    """Serves a unix socket on which each connection asks one JSON line and gets one.

    Args:
        path: a stale one is replaced; mode 0600, or 0666 where other users may ask.
        answer: called in a thread of its own; must not raise.
        others: user ids that may ask besides the vault's own and root; the kernel tells who asks.
    """

    def __init__(self, path: Path, answer: Answer, others: tuple[int, ...] = ()) -> None:
        self._path = check_socket_path(path)
        self._answer = answer
        self._allowed = {os.getuid(), 0, *others}
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o711 if others else 0o700)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o666 if others else 0o600)
        self._listener.listen(16)
        threading.Thread(target=self._serve, name=path.name, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(ORDER_TIMEOUT_S)
            try:
                if _user_of(connection) not in self._allowed:
                    return
                with connection.makefile("rb") as lines:
                    line = lines.readline(MAX_ORDER_BYTES)
                question = json.loads(line)
                answer = self._answer(question if isinstance(question, dict) else {})
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except (OSError, ValueError, RecursionError):
                return


def order_answer(
    accept: Callable[[Digest, int, Digest], None], refused: Callable[[Refusal], None]
) -> Answer:
    """Turn the vault's decision about an order into the line that is sent back.

    Args:
        accept: agreement, round, plan; raises Refusal.
        refused: told about every refusal.
    """

    def answer(question: dict[str, object]) -> dict[str, object]:
        try:
            accept(*_read_order(question))
        except Refusal as refusal:
            refused(refusal)
            return {"accepted": False, "code": refusal.code.value}
        return {"accepted": True, "code": ""}

    return answer


def _read_order(question: dict[str, object]) -> tuple[Digest, int, Digest]:
    agreement, number, plan = (question.get(name) for name in ("agreement", "round", "plan"))
    if not (isinstance(agreement, str) and isinstance(plan, str) and type(number) is int):
        raise Refusal(RefusalCode.PLAN, "expected an order of agreement, round and plan")
    try:
        return digest_of(agreement), number, digest_of(plan)
    except PeerError:
        raise Refusal(RefusalCode.PLAN, "expected digests in an order") from None


def _user_of(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return int(uid)
