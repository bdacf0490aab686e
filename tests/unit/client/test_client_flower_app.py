"""The ClientApp's closed lists, and its way to a vault behind a real unix socket."""

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from comity_client.flower_app import answer_content, ask_vault, read_order
from comity_common.errors import PeerError

DIGEST = "0f" * 32
ORDER: dict[str, str | int] = {"agreement": DIGEST, "round": 7, "plan": DIGEST}


def test_an_order_is_read() -> None:
    assert read_order(RecordDict({"order": ConfigRecord(ORDER)})) == ORDER


@pytest.mark.parametrize(
    "records",
    [
        {},
        {"order": ConfigRecord({"agreement": DIGEST, "round": 7})},
        {"order": ConfigRecord(ORDER | {"learning_rate": 0.5})},
        {"order": ConfigRecord(ORDER | {"round": -1})},
        {"order": ConfigRecord(ORDER | {"round": True})},
        {"order": ConfigRecord(ORDER | {"round": "7"})},
        {"order": ConfigRecord(ORDER | {"plan": DIGEST[:-1] + "\n"})},
        {"order": ConfigRecord(ORDER | {"plan": "../rows.csv"})},
        {"order": ConfigRecord(ORDER), "weights": ArrayRecord()},
    ],
)
def test_an_order_beyond_the_closed_list_is_not_read(records: dict[str, ConfigRecord]) -> None:
    with pytest.raises(PeerError):
        read_order(RecordDict(records))


def test_an_answers_message_holds_accepted_and_code_and_nothing_else() -> None:
    content = answer_content(False, "policy")
    assert {name: dict(record) for name, record in content.items()} == {
        "answer": {"accepted": False, "code": "policy"}
    }


@pytest.mark.parametrize(("accepted", "code"), [(False, ""), (False, "412 rows"), (True, "policy")])
def test_an_answer_with_a_code_that_is_not_on_the_list_is_not_sent(
    accepted: bool, code: str
) -> None:
    with pytest.raises(PeerError):
        answer_content(accepted, code)


def vault(path: Path, reply: bytes) -> list[bytes]:
    """Answer one connection with these bytes; return the list that its line will be in."""
    heard: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection, connection.makefile("rb") as lines:
            heard.append(lines.readline())
            connection.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    return heard


def test_the_vault_hears_the_order_as_one_line_and_its_answer_comes_back(tmp_path: Path) -> None:
    heard = vault(tmp_path / "v", b'{"accepted": false, "code": "behind"}\n')
    assert ask_vault(str(tmp_path / "v"), ORDER) == (False, "behind")
    assert [json.loads(line) for line in heard] == [ORDER]


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"[]\n",
        b'{"accepted": true}\n',
        b'{"accepted": 1, "code": ""}\n',
        b'{"accepted": true, "code": "", "loss": 1}\n',
        b'{"accepted": true, "code": "' + b"x" * 5000 + b'"}\n',
        b"\xff\xfe\n",
    ],
)
def test_nonsense_from_the_vault_is_a_peer_error(tmp_path: Path, reply: bytes) -> None:
    vault(tmp_path / "v", reply)
    with pytest.raises(PeerError):
        ask_vault(str(tmp_path / "v"), ORDER)


def test_a_vault_that_comes_late_is_waited_for_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ask_vault(str(tmp_path / "none"), ORDER)
    late = threading.Timer(0.6, vault, (tmp_path / "v", b'{"accepted": true, "code": ""}\n'))
    late.start()
    assert ask_vault(str(tmp_path / "v"), ORDER) == (True, "")


def test_the_clientapp_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'opacus', 'pandas', 'comity'}"
    code = f"import sys, comity_client.flower_app; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
