"""`comity demo` as a user runs it: real daemons on loopback, killed for real.

Few rows and short rounds, so that what takes time is the daemons themselves.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.commands import comity

from comity_client.datasets import read_for
from comity_client.holdout import Holdout
from comity_client.institution import Institution
from comity_common.ids import Digest
from comity_common.ledger.bodies import BudgetReserve, Egress, Traffic
from comity_common.ledger.entries import check_order

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LABELS = ("open", "close", "lost", "fee")
REGIONS = ("aa-de", "bb-fr", "cc-br", "dd-ke", "ee-in")
SENTENCES = {
    "open": ("i want to open an account", "please start a new account for {}", "begin saving {}"),
    "close": ("close my account", "i am leaving the bank, {}", "end the contract of {}"),
    "lost": ("my card is gone", "i lost the card in {}", "somebody stole my card, {}"),
    "fee": ("why this fee", "what does the transfer to {} cost", "explain the charge of {}"),
}
NAMES = ("lena", "paul", "ana", "juma", "ravi", "the shop", "the office", "monday", "june")


def write_data(folder: Path, rows: int = 60) -> Path:
    """Write a small folder of the form that `--data` takes."""
    folder.mkdir()
    chance = np.random.default_rng(1)

    def row(region: str, number: int) -> str:
        label = LABELS[int(chance.integers(4))]
        text = str(chance.choice(SENTENCES[label])).format(chance.choice(NAMES))
        line = {"id": f"{region}-{number}", "region": region, "text": text, "label": label}
        return json.dumps(line)

    train = [row(region, number) for region in REGIONS for number in range(rows)]
    (folder / "train.jsonl").write_text("\n".join(train) + "\n")
    (folder / "test.jsonl").write_text("\n".join(row("aa-de", 1000 + k) for k in range(40)) + "\n")
    return folder


def demo(workdir: Path, data: Path, *options: str, succeeds: bool = True) -> dict:
    """Run a demo and return its envelope."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "comity_host.cli", "demo", "--json"),
            *("--workdir", str(workdir), "--data", str(data), "--no-baselines", *options),
        ],
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert (done.returncode == 0) is succeeds, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data that every test of this file uses."""
    return write_data(tmp_path_factory.mktemp("e2e") / "data")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict:
    """One run in which a vault, the server and the SuperLink are killed, each in its round."""
    workdir = tmp_path_factory.mktemp("e2e") / "killed"
    faults = ("kill-vault:2@1", "kill-server:3@2", "kill-superlink:4@3")
    return demo(
        workdir,
        data,
        *("--rounds", "4", "--spare-rounds", "2", "--score-epsilon", "4"),
        *(part for fault in faults for part in ("--fault", fault)),
    )["data"]


def test_every_killed_process_costs_no_certified_round(killed):
    certified = [round["kind"] for round in killed["rounds"] if not round["void"]]
    assert certified == ["train"] * 4 + ["evaluate"]
    assert "bb-fr" not in killed["rounds"][0]["survivors"]
    assert len(killed["rounds"][0]["survivors"]) == 4
    assert killed["federated"]["accuracy"] > killed["baseline"]["accuracy"]
    faults = sorted(path.name for path in (Path(killed["workdir"]) / "faults").iterdir())
    assert faults == ["kill-server:cc-br@2", "kill-superlink:dd-ke@3", "kill-vault:bb-fr@1"]
    superlink = (Path(killed["workdir"]) / "logs" / "superlink.log").read_text()
    assert superlink.count("Starting Flower SuperLink") > 1


def test_all_vaults_and_the_server_hold_the_same_model_to_the_last_bit(killed):
    states = set()
    for one in killed["institutions"]:
        institution = Institution(Path(killed["workdir"]) / "institutions" / one["id"])
        states.add(institution.progress.get(Digest(killed["agreement"])).model)
    assert len(states) == 1
    from comity_common.modelfile import read_state
    from comity_common.optimizer import state_digest

    models = Path(killed["workdir"]) / "operator" / "models" / killed["agreement"][:16]
    assert state_digest(read_state((models / "00004.state").read_bytes())) == states.pop()


def test_the_killed_vault_paid_for_the_round_that_it_lost(killed):
    by_id = {one["id"]: one for one in killed["institutions"]}
    began = {}
    for id in by_id:
        institution = Institution(Path(killed["workdir"]) / "institutions" / id)
        entries = institution.ledger.entries()
        check_order(entries)
        bodies = [entry.body for entry in entries]
        began[id] = sum(isinstance(body, BudgetReserve) for body in bodies)
        uploads = [b for b in bodies if isinstance(b, Egress) and b.traffic is Traffic.MECHANISM]
        assert len(uploads) == began[id] - (id == "bb-fr")
    assert began["bb-fr"] == len(killed["rounds"])
    assert all(one["epsilon"] <= 8 for one in killed["institutions"])
    assert by_id["bb-fr"]["epsilon"] == by_id["aa-de"]["epsilon"]


def test_an_auditor_finds_every_ledger_true_and_both_sides_the_same(killed, tmp_path):
    """Walk docs/audit.md: from the homes of all parties to a verdict and a report."""
    workdir = Path(killed["workdir"])
    words = killed["agreement"]
    anchor = ("--agreement", words)
    comity("audit", "export", tmp_path / "operator.zip", "--home", workdir / "operator")
    assert comity("audit", "verify", tmp_path / "operator.zip", *anchor).exit_code == 0
    for one in killed["institutions"]:
        package = tmp_path / f"{one['id']}.zip"
        home = workdir / "institutions" / one["id"]
        assert comity("audit", "export", package, "--home", home).exit_code == 0
        sides = ("--operator", tmp_path / "operator.zip")
        found = comity("audit", "verify", package, *anchor, *sides, "--json").data
        assert found["findings"] == []
        crossings = found["crossings"]
        assert crossings["uploads"] >= 3
        assert crossings["only_arrived"] == []
        assert crossings["matched"] > 60
        spent = comity("audit", "epsilon", package, *anchor, "--json").data
        assert spent["namespaces"][0]["epsilon"] <= 8
    report = tmp_path / "report.html"
    made = comity("audit", "report", package, "-o", report, *anchor, *sides)
    assert made.exit_code == 0, made.error
    assert "<script" not in report.read_text()


def test_a_score_on_rows_that_nobody_trained_on_is_true_within_its_noise(killed):
    """Count in every vault what the exported model gets right on what was held out there."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=killed["model_dir"])
    last = killed["rounds"][-1]
    hits = units = 0
    for id in last["survivors"]:
        institution = Institution(Path(killed["workdir"]) / "institutions" / id)
        standing = institution.agreements.get(Digest(killed["agreement"]))
        source, terms = institution.data.source(standing.dataset), standing.agreement
        rows = read_for(source.path, terms.task)
        _, held = Holdout(source.holdout_key, Fraction(terms.private_evaluation.share)).part(rows)
        guesses = [one["label"] for one in classify(list(held.texts))]
        truth = [terms.task.labels[label] for label in held.labels]
        hits += sum(guess == true for guess, true in zip(guesses, truth, strict=True))
        units += len(held)
        (score,) = institution.scores.of(terms.digest)
        assert list(score.total) == last["score"]["counts"]  # every vault holds the same
    assert 20 < units < 120  # a fifth of 300
    mechanism = terms.private_evaluation.score
    sigma = float(mechanism.variance * len(last["survivors"])) ** 0.5
    right, wrong, _ = score.total
    assert abs(right - mechanism.grid * hits) < 6 * sigma
    assert abs(wrong - mechanism.grid * (units - hits)) < 6 * sigma
    assert (right, wrong) != (mechanism.grid * hits, mechanism.grid * (units - hits))


def test_the_model_is_one_that_plain_transformers_loads(killed):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(killed["model_dir"])
    tokenizer = AutoTokenizer.from_pretrained(killed["model_dir"])
    answer = model(**tokenizer("i lost the card in june", return_tensors="pt")).logits
    assert set(model.config.id2label.values()) == set(LABELS)
    assert answer.shape == (1, 4)
    card = (Path(killed["model_dir"]) / "README.md").read_text()
    assert killed["agreement"] in card


def test_the_ceiling_holds_over_runs_in_one_workdir(killed, data):
    envelope = demo(
        Path(killed["workdir"]), data, "--rounds", "4", "--spare-rounds", "2", succeeds=False
    )
    assert envelope["ok"] is False
    assert "budget" in envelope["error"]["message"]


def test_two_silent_vaults_void_a_round_and_a_spare_one_makes_up_for_it(tmp_path, data):
    found = demo(
        tmp_path / "silent",
        data,
        *("--rounds", "2", "--spare-rounds", "1"),
        *("--fault", "stop-before-upload:1@1", "--fault", "stop-before-upload:bb-fr@1"),
        *("--fault", "stop-before-reveal:3@2"),
    )["data"]
    assert [round["void"] for round in found["rounds"]] == [True, False, False]
    # Two are silent, and two others are no quorum: who was not witnessed by then uploads nothing.
    assert re.fullmatch("[0-3] of 5 uploads arrived, 4 are needed", found["rounds"][0]["reason"])
    assert found["rounds"][0]["accuracy"] == found["baseline"]["accuracy"]
    assert len(found["rounds"][1]["survivors"]) == 5  # four reveals are enough for five survivors
    assert all(one["rounds"] == 2 for one in found["institutions"])


def test_ctrl_c_ends_every_process_that_it_started(tmp_path, data):
    workdir = tmp_path / "interrupted"
    log = (tmp_path / "demo.log").open("w")
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "comity_host.cli", "demo", "--no-baselines"),
            *("--workdir", str(workdir), "--data", str(data), "--institutions", "3"),
        ],
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    everyone: dict[int, float] = {}
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for child in psutil.Process(running.pid).children(recursive=True):
            everyone[child.pid] = child.create_time()
        if "training" in (tmp_path / "demo.log").read_text():
            break
        time.sleep(0.5)
    assert len(everyone) >= 3 + 3 + 4
    os.kill(running.pid, signal.SIGINT)
    assert running.wait(60) == 130
    left = [
        pid
        for pid, created in everyone.items()
        if psutil.pid_exists(pid) and psutil.Process(pid).create_time() == created
    ]
    assert left == []
    clean = subprocess.run(
        [sys.executable, "-m", "comity_host.cli", "demo", "--clean", "--workdir", str(workdir)],
        capture_output=True,
        timeout=60,
    )
    assert clean.returncode == 0
    assert not workdir.exists()
