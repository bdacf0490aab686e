"""The auditor's command as a terminal and a script see it, on rounds that the operator's wrote."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update
from tests.commands import comity
from tests.operator_store import operator_store
from tests.simulation.storedrounds import Played

from comity_common.words import agreement_words
from comity_server.store import STEPS, VERSION
from comity_server.tables import schema

HEAVY = {"torch", "flwr", "grpc", "google.protobuf", "sqlalchemy", "transformers", "comity_server"}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    played = Played(tmp_path_factory.mktemp("played") / "operator", 3)
    assert played.round().survivors
    return played


@pytest.fixture
def stored(played: Played, tmp_path: Path) -> Path:
    there = tmp_path / "round"
    home = ("--home", played.home.path)
    found = comity("server", "run", "export-round", "simulated", 1, there, *home, "--json")
    assert found.data["round"] == 1
    assert found.data["files"] == sum(one.is_file() for one in there.rglob("*"))
    return there


def test_a_true_round_ends_with_zero_and_a_line_for_each_step(played: Played, stored: Path) -> None:
    words = agreement_words(played.agreement.digest)
    found = comity("audit", "recompute-round", stored, "--agreement", words)
    assert found.exit_code == 0
    assert found.output.count("✓") == 16
    assert found.output.splitlines()[-1].startswith("Round 1 of simulated is true")


def test_an_unanchored_round_ends_with_three_and_says_so(stored: Path) -> None:
    found = comity("audit", "recompute-round", stored)
    assert found.exit_code == 3
    assert found.error.startswith("COM-AUDIT-003 all of this holds if the agreement is the right")
    envelope = comity("audit", "recompute-round", stored, "--json")
    assert envelope.exit_code == 3
    assert envelope.envelope["data"]["verdict"] == "unanchored"


def test_a_false_round_ends_with_three_and_names_the_step(played: Played, stored: Path) -> None:
    vector = stored / "uploads" / "inst-01.vector"
    vector.write_bytes(bytes(vector.stat().st_size))
    anchor = ("--agreement", played.agreement.digest)
    found = comity("audit", "recompute-round", stored, *anchor)
    assert found.exit_code == 3
    said = "COM-AUDIT-002 step 10, vectors, does not hold: uploads/inst-01.vector"
    assert found.error.startswith(said)
    data = json.loads(comity("audit", "recompute-round", stored, *anchor, "--json").output)["data"]
    assert data["verdict"] == "false"
    assert data["steps"][-1]["outcome"] == "fails"


def test_what_is_no_stored_round_ends_with_four(stored: Path) -> None:
    shutil.rmtree(stored / "reveals")
    assert comity("audit", "recompute-round", stored / "nowhere").exit_code == 4
    (stored / "plan.json").unlink()
    found = comity("audit", "recompute-round", stored)
    assert found.exit_code == 4
    assert "plan.json is missing" in found.error


def test_what_is_no_agreement_ends_with_two(stored: Path) -> None:
    found = comity("audit", "recompute-round", stored, "--agreement", "one two")
    assert found.exit_code == 2
    assert "COM-AUDIT-004" in found.error


def test_a_round_is_written_whole_or_not_at_all(played: Played, tmp_path: Path) -> None:
    home = ("--home", played.home.path)
    there = tmp_path / "round"
    assert comity("server", "run", "export-round", "simulated", 7, there, *home).exit_code == 1
    total = next(played.home.totals.glob("*.total"))
    total.rename(total.with_suffix(".away"))
    found = comity("server", "run", "export-round", "simulated", 1, there, *home)
    total.with_suffix(".away").rename(total)
    assert "the total is not on this disk any more" in found.error
    assert list(tmp_path.iterdir()) == []
    there.mkdir()
    found = comity("server", "run", "export-round", "simulated", 1, there, *home)
    assert "COM-AUDIT-006" in found.error


def test_an_auditors_install_loads_nothing_of_the_others(stored: Path) -> None:
    script = (
        "import sys\nfrom comity_audit.cli import app\n"
        "app(['recompute-round', sys.argv[1]], standalone_mode=False)\n"
    )
    shown = script.replace("app([", "try:\n    app([").rstrip() + (
        "\nexcept Exception as error: print(type(error).__name__)\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    asked = [sys.executable, "-c", shown, str(stored)]
    answered = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert "nothing else" in answered.stdout
    loaded = set(answered.stderr.splitlines()[-1].split())
    assert "numpy" in loaded
    assert loaded & HEAVY == set()


def test_a_store_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    store = operator_store(tmp_path / "server.db")
    with store.write() as tx:
        tx.execute(update(schema).values(version=2))
        for column in ("survivors", "survivors_signature"):
            tx.exec_driver_sql(f"alter table rounds drop column {column}")
        tx.exec_driver_sql("alter table rounds drop column until")
        tx.exec_driver_sql("alter table uploads add column committed integer not null default 0")
        tx.exec_driver_sql("drop index ix_mailbox_topic")
        tx.exec_driver_sql("alter table mailbox drop column topic")
    store.close()
    assert VERSION - 1 in STEPS
    again = operator_store(tmp_path / "server.db")
    with again.read() as tx:
        tx.exec_driver_sql("select survivors, survivors_signature, until from rounds")
        columns = [row[1] for row in tx.exec_driver_sql("pragma table_info(uploads)")]
    assert "committed" not in columns
    again.close()
