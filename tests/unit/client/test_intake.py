"""The unix sockets of a vault: who may speak, how much, and what is never answered."""

import contextlib
import json
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comity_client import intake
from comity_client.intake import MAX_ORDER_BYTES, LineSocket, order_answer
from comity_common.errors import LocalError, Refusal, RefusalCode

NOBODY = 65534
DIGEST = "0f" * 32
ORDER = {"agreement": DIGEST, "round": 7, "plan": DIGEST}
PATIENCE_S = 20.0


class Heard:
    """A line socket that keeps its questions."""

    def __init__(self, path: Path, others: tuple[int, ...] = ()) -> None:
        self.path = path
        self.questions: list[dict[str, Any]] = []
        self.socket = LineSocket(path, self.answer, others)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        self.questions.append(question)
        return {"heard": len(self.questions)}


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    served = Heard(tmp_path / "s" / "orders.sock")
    yield served
    served.socket.close()


def call(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(path))
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the vault hangs up, whichever way it does."""
    received = b""
    try:
        while data := connection.recv(4096):
            received += data
    except ConnectionResetError:
        pass
    return received


def say(path: Path, line: bytes) -> bytes:
    """Say one line, without an end if it has none, and read what comes back."""
    with call(path) as connection:
        try:
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # it hung up before it had heard all
            pass
        return read_all(connection)


def test_a_line_is_answered_with_a_line(heard: Heard) -> None:
    assert say(heard.path, json.dumps(ORDER).encode() + b"\n") == b'{"heard": 1}\n'
    assert heard.questions == [ORDER]


def test_socket_and_directory_are_for_the_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        served = Heard(tmp_path / "s" / "orders.sock")
    finally:
        os.umask(before)
    mode = served.path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(served.path.parent.stat().st_mode) == 0o700
    served.socket.close()


def as_another_user(work: Callable[[], bytes]) -> bytes:
    """Run a function in a process of nobody's, and return what it returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # only system calls from here on
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return answer


def ask_or_be_hung_up_on(path: Path) -> bytes:
    """Ask for an order's answer, as a process that may be hung up on at any time."""
    try:
        connection = call(path)
    except PermissionError:
        return b"cannot connect"
    with connection:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(json.dumps(ORDER).encode() + b"\n")
        return b"connected, " + read_all(connection)


@pytest.fixture
def open_door() -> Iterator[Path]:
    """A directory that every user of the machine can enter."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@needs_root
def test_a_process_of_another_user_gets_no_answer_even_through_an_open_door(
    open_door: Path,
) -> None:
    served = Heard(open_door / "orders.sock")
    served.path.chmod(0o666)
    assert as_another_user(lambda: ask_or_be_hung_up_on(served.path)) == b"connected, "
    assert served.questions == []
    assert say(served.path, b"{}\n") == b'{"heard": 1}\n'
    served.socket.close()


@needs_root
def test_a_process_of_another_user_cannot_even_connect(open_door: Path) -> None:
    served = Heard(open_door / "orders.sock")
    assert as_another_user(lambda: ask_or_be_hung_up_on(served.path)) == b"cannot connect"
    served.socket.close()


@needs_root
def test_a_user_who_was_named_may_ask_and_a_third_may_not(open_door: Path) -> None:
    for named, answer in ((NOBODY, b'{"heard": 1}\n'), (NOBODY - 1, b"")):
        served = Heard(open_door / "orders.sock", others=(named,))
        heard = as_another_user(lambda served=served: ask_or_be_hung_up_on(served.path))
        assert heard == b"connected, " + answer
        served.socket.close()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"not json\n",
        b"\xff\xfe\n",
        b'{"agreement": "\n',
        b"[" * 4000 + b"\n",
        b'{"round": ' + b"9" * 4090 + b"}\n",
        b'{"x": "' + b"y" * MAX_ORDER_BYTES + b'"}\n',
        b'{"x": "' + b"y" * (1 << 20) + b'"}\n',
    ],
    ids=["nothing", "empty", "words", "no utf-8", "cut", "nested", "digits", "long", "very long"],
)
def test_nonsense_is_hung_up_on_and_the_next_is_served(heard: Heard, line: bytes) -> None:
    assert say(heard.path, line) == b""
    assert heard.questions == []
    assert say(heard.path, b"{}\n") == b'{"heard": 1}\n'


def test_the_longest_line_that_is_read_has_4096_bytes(heard: Heard) -> None:
    frame = len(b'{"x": ""}')
    fits = b'{"x": "' + b"y" * (MAX_ORDER_BYTES - frame) + b'"}'
    assert say(heard.path, fits + b"\n") == b'{"heard": 1}\n'
    assert say(heard.path, fits.replace(b"yy", b"yyy", 1) + b"\n") == b""


@pytest.mark.parametrize("line", [b"[]", b"7", b'"x"', b"null", b"[1, 2]"])
def test_json_that_is_no_object_is_an_empty_question(heard: Heard, line: bytes) -> None:
    assert say(heard.path, line + b"\n") == b'{"heard": 1}\n'
    assert heard.questions == [{}]


def test_only_the_first_line_of_a_connection_is_heard(heard: Heard) -> None:
    assert say(heard.path, b'{"a": 1}\n{"b": 2}\n') == b'{"heard": 1}\n'
    assert heard.questions == [{"a": 1}]


def test_a_silent_client_is_hung_up_on_and_keeps_nobody_waiting(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "ORDER_TIMEOUT_S", 0.3)
    silent = [call(heard.path) for _ in range(8)]
    silent[0].sendall(b'{"agreement": ')
    assert say(heard.path, b"{}\n") == b'{"heard": 1}\n'
    for connection in silent:
        assert read_all(connection) == b""
        connection.close()
    assert heard.questions == [{}]


def test_a_client_that_leaves_before_the_answer_harms_nobody(tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(question: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        go_on.wait(PATIENCE_S)
        return {"done": "x" * 100_000}

    served = LineSocket(tmp_path / "orders.sock", slow)
    connection = call(tmp_path / "orders.sock")
    connection.sendall(b"{}\n")
    assert asked.wait(PATIENCE_S)
    connection.close()
    go_on.set()
    assert json.loads(say(tmp_path / "orders.sock", b"{}\n")).keys() == {"done"}
    served.close()


def test_a_stale_socket_is_replaced_and_closing_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "orders.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    served = Heard(path)
    assert say(path, b"{}\n") == b'{"heard": 1}\n'
    served.socket.close()
    assert not path.exists()


def test_a_path_that_is_too_long_for_the_kernel_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="at most 100 bytes"):
        LineSocket(tmp_path / ("x" * 100), lambda question: question)


# orders


def answers(error: Refusal | None = None) -> tuple[Any, list[Any], list[Refusal]]:
    """Make an order's answer with a vault that keeps what it heard, and may refuse."""
    accepted: list[Any] = []
    refused: list[Refusal] = []

    def accept(*order: Any) -> None:
        if error is not None:
            raise error
        accepted.append(order)

    return order_answer(accept, refused.append), accepted, refused


def test_an_order_is_accepted_with_two_words() -> None:
    answer, accepted, refused = answers()
    assert answer(ORDER) == {"accepted": True, "code": ""}
    assert accepted == [(DIGEST, 7, DIGEST)]
    assert refused == []


@pytest.mark.parametrize("code", list(RefusalCode))
def test_a_refusal_is_its_code_and_not_its_reason(code: RefusalCode) -> None:
    answer, _, refused = answers(Refusal(code, "expected fewer than 412 rows"))
    assert answer(ORDER) == {"accepted": False, "code": code.value}
    assert [refusal.code for refusal in refused] == [code]


@pytest.mark.parametrize(
    "change",
    [
        {"agreement": None},
        {"agreement": 7},
        {"agreement": DIGEST[:-1]},
        {"agreement": DIGEST.upper()},
        {"plan": ""},
        {"plan": [DIGEST]},
        {"plan": "../" * 21 + "x"},
        {"round": "7"},
        {"round": 7.0},
        {"round": True},
        {"round": None},
        {"round": {"$gt": 0}},
    ],
    ids=str,
)
def test_a_malformed_order_is_refused_as_a_plan_and_never_asked_about(
    change: dict[str, Any],
) -> None:
    answer, accepted, refused = answers()
    assert answer(ORDER | change) == {"accepted": False, "code": "plan"}
    assert (accepted, [refusal.code for refusal in refused]) == ([], [RefusalCode.PLAN])
    assert answer({}) == {"accepted": False, "code": "plan"}
