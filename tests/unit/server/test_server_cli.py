"""`comity server`: what a terminal and a script see."""

import json
import subprocess
import sys
from pathlib import Path

from tests.commands import comity
from tests.simulation.network import Federation

from comity_server.daemon import Daemon


def test_status_shows_the_run_in_words_and_as_json(tmp_path: Path) -> None:
    federation = Federation.make(tmp_path / "operator", 3)
    daemon = Daemon(federation.home.path)
    daemon.start()
    try:
        words = comity("server", "status", "--home", federation.home.path)
        raw = comity("server", "status", "--home", federation.home.path, "--json")
    finally:
        daemon.close()
    assert words.exit_code == raw.exit_code == 0
    assert words.output.splitlines()[0] == ("gathering · round 0 of at most 5 · 0 of 3 certified")
    state = json.loads(raw.output)["data"]
    assert state["agreement"] == federation.agreement.digest
    assert [one["id"] for one in state["institutions"]] == list(federation.agreement.roster)
    assert set(state) == {
        *("agreement", "stage", "round", "certified", "of_rounds", "attempts"),
        *("scored", "of_scores"),
        *("finished", "failure", "extended_until", "institutions", "rounds", "service"),
    }


def test_status_of_a_daemon_that_is_away_says_try_later(tmp_path: Path) -> None:
    Federation.make(tmp_path, 3)
    found = comity("server", "status", "--home", tmp_path)
    assert found.exit_code == 75
    assert found.error.startswith("COM-SERVER-001 the server does not answer")


def test_a_directory_that_is_no_operators_is_one_sentence(tmp_path: Path) -> None:
    found = comity("server", "daemon", "--home", tmp_path)
    assert found.exit_code == 1
    assert found.error.startswith("COM-SERVER-002 there is no operator in ")


def test_a_second_daemon_on_one_directory_is_refused(tmp_path: Path) -> None:
    federation = Federation.make(tmp_path / "operator", 3)
    daemon = Daemon(federation.home.path)
    try:
        found = comity("server", "daemon", "--home", federation.home.path)
    finally:
        daemon.close()
    assert found.exit_code == 1
    assert found.error.startswith("COM-SERVICE-007 another daemon runs in")


def test_help_imports_no_server() -> None:
    code = (
        "import sys, comity_server.cli; print('grpc' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"
