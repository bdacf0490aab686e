"""The root command: help that does not keep anybody waiting, and one line for what went wrong."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.commands import comity

from comity_common.errors import Problem
from comity_host.telling import tell

HEAVY = {
    *("torch", "transformers", "opacus", "peft", "flwr", "grpc", "google.protobuf"),
    *("numpy", "pydantic", "sqlalchemy", "rich", "structlog", "cryptography", "uvicorn"),
}
ASKS = """
import sys
from comity_host.cli import run
code = run(sys.argv[1:])
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [(), ("client",), ("client", "data", "add"), ("server", "run", "start"), ("audit",), ("demo",)],
)
def test_help_loads_nothing_that_takes_long(words: tuple[str, ...]) -> None:
    asked = [sys.executable, "-c", ASKS, *words, "--help"]
    answered = subprocess.run(asked, capture_output=True, text=True, check=True)
    loaded = set(answered.stderr.split())
    assert "Usage: comity" in answered.stdout
    assert "\\[" not in answered.stdout
    assert "typer" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell: str) -> None:
    def complete(typed: str) -> str:
        words = typed.split(" ")
        env = os.environ | {
            "_COMITY_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": typed,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        script = "from comity_host.cli import main; main()"
        answered = subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
        )
        return answered.stdout

    assert "what-left" in complete("comity client wh")
    assert "--min-participants" in complete("comity client policy set --min")


def test_wrong_usage_is_one_line_with_code_cause_and_fix() -> None:
    found = comity("server", "invite", "berlin", "--region", "DE", "--days", "0")
    assert found.exit_code == 2
    (line,) = found.error.splitlines()
    assert line.startswith("COM-ANY-004 Invalid value for '--days': 0 is not in the range")
    assert line.endswith("Fix: comity server invite --help says how it is called")


def test_wrong_usage_is_one_envelope_for_scripts() -> None:
    found = comity("client", "nonsense", "--json")
    assert found.exit_code == 2
    error = json.loads(found.output)["error"]
    assert error["code"] == "COM-ANY-004"
    assert error["fix"] == "comity client --help says how it is called"


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (("client", "policy", "show", "--json"), "COM-CLIENT-002", 1),
        (("witness", "show", "--json"), "COM-ANY-006", 1),
        (("witness", "show"), "COM-ANY-006", 1),
        (("--version",), "COM-HOST-001", 1),
        (("witness", "show", "--days", "--json"), "COM-ANY-004", 2),
    ],
)
def test_what_stdout_does_not_take_is_told_on_stderr(
    tmp_path: Path, words: tuple[str, ...], code: str, exit_code: int
) -> None:
    env = os.environ | {"COMITY_CLIENT_HOME": str(tmp_path), "COMITY_WITNESS_HOME": str(tmp_path)}
    assert comity("witness", "init", "regulator.example", "--home", tmp_path).exit_code == 0
    script = "from comity_host.cli import main; main()"
    with open("/dev/full", "w") as full:
        answered = subprocess.run(
            [sys.executable, "-c", script, *words], env=env, stdout=full, stderr=subprocess.PIPE
        )
    (told,) = answered.stderr.decode().splitlines()
    assert code in told
    assert answered.returncode == exit_code


def test_the_version_is_told() -> None:
    assert comity("--version").output == f"comity {version('comity')}\n"


def test_a_group_without_a_command_shows_its_help() -> None:
    found = comity("server", "agreement")
    assert found.exit_code == 2
    assert "propose" in found.output + found.error


def test_a_line_that_is_told_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(Problem("COM-AUDIT-024", path="a\x1b[2Jb\nc"), as_json=False) == 2
    assert "a?[2Jb?c is not there" in capsys.readouterr().err
