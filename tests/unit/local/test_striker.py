"""A fault at one of Flower's processes: the server waits at its boundary until it was struck."""

import threading
import time
from pathlib import Path

import pytest

from comity_common.ids import InstitutionId
from comity_local.faults import Striker
from comity_local.options import read_fault

FAULT = "kill-superlink:dd-ke@3"
DD = InstitutionId("dd-ke")


@pytest.mark.parametrize("boundary", ["accepted", "upload-begun"])
def test_the_server_waits_until_the_conductor_has_struck_and_only_once(
    tmp_path: Path, boundary: str
) -> None:
    striker = Striker([read_fault(FAULT)], tmp_path)
    waiting = threading.Thread(target=striker.server, args=(boundary, DD, 3))
    waiting.start()
    deadline = time.monotonic() + 30.0
    while not (tmp_path / FAULT).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    striker.server(boundary, DD, 3)
    waiting.join(0.5)
    assert waiting.is_alive()
    (tmp_path / FAULT).write_text("killed\n")
    waiting.join(30.0)
    assert not waiting.is_alive()


@pytest.mark.parametrize(
    ("boundary", "institution", "round"),
    [("accepted", "cc-br", 3), ("accepted", "dd-ke", 2), ("round-begun", "dd-ke", 3)],
)
def test_nothing_is_struck_elsewhere(
    tmp_path: Path, boundary: str, institution: str, round: int
) -> None:
    Striker([read_fault(FAULT)], tmp_path).server(boundary, InstitutionId(institution), round)
    assert list(tmp_path.iterdir()) == []
