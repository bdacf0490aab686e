"""Every reader of what others write is a fuzz target, is tried here for a moment, and is listed."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tests.fuzz import messages
from tests.fuzz.__main__ import main
from tests.fuzz.one import quiet
from tests.fuzz.registry import (
    DOCUMENT,
    OWN,
    ROOT,
    TARGETS,
    _places,
    covered,
    rewritten,
    to_be_covered,
)
from tests.fuzz.target import Costly, Harness, Target, attempt, attempt_measured

from comity_common.errors import PeerError

MOMENT = 8  # inputs for each target
LONG = 3000
STATEFUL = [name for name, target in TARGETS.items() if target not in messages.TARGETS]
"""The others are tried in unit/common/test_hostile_bytes.py."""


@pytest.fixture(autouse=True, scope="module")
def silence() -> Iterator[None]:
    quiet()
    yield
    structlog.reset_defaults()


def try_out(target: Target, directory: Path, inputs: int) -> None:
    """Read the valid samples, then hostile variants; the seed is the test's own."""
    harness = target.make(directory)
    for sample in harness.seeds:
        assert attempt_measured(target, harness, sample) == harness.accepts
    chance = random.Random(f"{target.name} {inputs}")
    for _ in range(inputs):
        attempt(target, harness, harness.mutate(chance.choice(harness.seeds), chance))


@pytest.mark.parametrize("name", STATEFUL)
def test_a_target_takes_its_valid_samples_and_holds_against_a_few_variants(name, tmp_path):
    try_out(TARGETS[name], tmp_path, MOMENT)


@pytest.mark.slow
@pytest.mark.parametrize("name", STATEFUL)
def test_a_target_holds_against_thousands_of_variants(name, tmp_path):
    try_out(TARGETS[name], tmp_path, LONG)


def test_every_kind_of_message_every_call_and_every_parser_has_a_target():
    assert to_be_covered() - covered() == set(), "a reader has no fuzz target"
    assert covered() - to_be_covered() == set(), "a target covers what is not there any more"
    assert set(OWN) <= _places(), "an exception is for a place that is not there any more"


def test_the_check_sees_the_readers_that_it_must_see():
    found = to_be_covered()
    assert {
        "Plan",
        "Deadline",
        "Approval",
        "Envelope",
        "Transfer.PutChunks",
        "Enrolment.Ask",
    } <= found
    assert "common/comity_host/settings.py:loads" in found
    assert "PARCEL_KIND_DEADLINE" in found


def test_the_document_lists_every_target():
    text = DOCUMENT.read_text("utf-8")
    assert rewritten(text) == text, "run: python -m tests.fuzz --write-table"
    assert rewritten(text.replace("| `vault-plan` |", "| `vault-pan` |")) == text


def _target(read) -> Target:
    def make(directory: Path) -> Harness:
        return Harness(seeds=(b"x",), read=read)

    return Target(name="t", reader="r", sender="s", errors=(PeerError,), make=make)


def test_what_is_not_the_documented_error_comes_out(tmp_path):
    def leaks(raw: bytes) -> None:
        raise KeyError(raw)

    with pytest.raises(KeyError):
        attempt(target := _target(leaks), target.make(tmp_path), b"x")


def test_an_error_that_holds_a_whole_message_or_moves_the_cursor_is_a_fault(tmp_path):
    def says(raw: bytes) -> None:
        raise PeerError(raw.decode())

    target = _target(says)
    harness = target.make(tmp_path)
    assert attempt(target, harness, b"expected one") is False
    for words in (b"x" * 1000, b"expected \x1b[2J"):
        with pytest.raises(AssertionError):
            attempt(target, harness, words)


def test_memory_beyond_proportion_is_a_fault(tmp_path):
    target = _target(lambda raw: bytes(64 << 20))
    with pytest.raises(Costly):
        attempt_measured(target, target.make(tmp_path), b"x")


def test_the_runner_tells_executions_and_no_fault(tmp_path, capsys):
    assert main(["--plain", "--seconds", "0.3", "--only", "names", "--crashes", str(tmp_path / "c"),
                 "--json"]) == 0  # fmt: skip
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["executions"] > 10
    assert (result["crash"], result["fault"]) == ("", "")


def test_the_runner_keeps_the_input_of_a_fault(tmp_path):
    """A target that leaks, put in the place of one that does not."""
    code = (
        "import sys, random; from tests.fuzz import registry, one\n"
        "from tests.fuzz.target import Harness, Target\n"
        "def read(raw): raise KeyError('x')\n"
        "make = lambda directory: Harness(seeds=(b'abc',), read=read)\n"
        "registry.TARGETS['leaks'] = Target("
        "name='leaks', reader='r', sender='s', errors=(), make=make)\n"
        "from pathlib import Path\n"
        "sys.exit(one.blind('leaks', Path(sys.argv[1]), 5.0, 1))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 77, ended.stderr
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith("leaks-crash-")
    assert "KeyError" in ended.stderr
