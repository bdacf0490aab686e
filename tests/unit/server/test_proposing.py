"""A terms file becomes an agreement with its first model, or one line says why not."""

import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from tests.commands import comity
from tests.ledger_keys import public_keys
from tests.tiny_bert import save_tiny_bert

from comity_common.agreement import ModelOptimizer, Party, PublicIdentity
from comity_common.errors import Problem
from comity_common.ids import InstitutionId
from comity_common.modelfile import read_state, write_state
from comity_common.optimizer import ModelState, first_state, state_digest
from comity_server.evaluation import digest_of_file
from comity_server.models import Models
from comity_server.proposing import Prepared, prepare
from comity_server.terms import SAMPLE

TODAY = date(2030, 6, 1)
LABELS = ("card", "loan", "fraud")


def party(id: str) -> Party:
    name = id.encode()
    identity = PublicIdentity(
        ed25519=name.ljust(32),
        mldsa44=name.ljust(1312),
        tls=name.ljust(32),
        ledger=public_keys(name),
    )
    return Party(id=InstitutionId(id), name=id.title(), jurisdiction="DE", identity=identity)


OPERATOR = party("operator")
PARTIES = {InstitutionId(id): party(id) for id in ("berlin", "nairobi", "paris", "recife", "rome")}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base")
    return save_tiny_bert(directory, ("card", "loan"), hidden=16, positions=64, seed=1)


@pytest.fixture
def terms_file(base: Path, tmp_path: Path) -> Path:
    """The sample with a small model, and an evaluation set beside it."""
    file = tmp_path / "terms.toml"
    file.write_text(SAMPLE.read_text("utf-8").replace('"minilm"', json.dumps(str(base))), "utf-8")
    rows = [{"text": "my card", "label": "card"}, {"text": "my loan", "label": "loan"}]
    (tmp_path / "evaluation.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return file


@pytest.fixture
def start_dir(terms_file: Path, tmp_path: Path) -> Path:
    """What `comity model start` wrote, with the terms as they were then."""
    assert comity("model", "start", terms_file, "--out", tmp_path / "start").exit_code == 0
    return tmp_path / "start"


def change(file: Path, line: str, instead: str) -> None:
    text = file.read_text("utf-8")
    assert line in text
    file.write_text(text.replace(line, instead, 1), "utf-8")


def prepared(terms_file: Path, start_dir: Path | None = None) -> Prepared:
    return prepare(terms_file, OPERATOR, PARTIES, start_dir, today=TODAY)


def problem(terms_file: Path, start_dir: Path | None = None) -> Problem:
    with pytest.raises(Problem) as caught:
        prepared(terms_file, start_dir)
    assert "\n" not in str(caught.value)
    return caught.value


def test_terms_become_an_agreement_with_the_model_that_was_built_elsewhere(
    terms_file, start_dir, tmp_path
):
    found = prepared(terms_file, start_dir)
    agreement, record = found.agreement, json.loads((start_dir / "start.json").read_text())
    assert agreement.roster == ("berlin", "nairobi", "paris", "recife")
    assert agreement.operator == OPERATOR
    assert agreement.party(InstitutionId("paris")) == PARTIES[InstitutionId("paris")]
    assert agreement.model.seed.hex() == record["seed"]
    assert agreement.model.base == record["base"]
    assert agreement.evaluation_set == digest_of_file(tmp_path / "evaluation.jsonl", agreement.task)
    (tmp_path / "models").mkdir()
    Models(tmp_path / "models").begin(agreement, found.parameters)


def test_the_model_is_built_here_in_a_process_of_its_own(terms_file, tmp_path, capfd):
    seed = "7a" * 32
    change(terms_file, "#seed = ", f'seed = "{seed}" # ')
    change(terms_file, 'tune = "head"', 'tune = "full"')
    change(terms_file, 'optimizer = "fedavg"', 'optimizer = "fedavgm"')
    before = set(tmp_path.iterdir())
    found = prepared(terms_file)
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "building the first model\n")
    assert set(tmp_path.iterdir()) == before
    model, aggregation = found.agreement.model, found.agreement.aggregation
    assert aggregation.optimizer is ModelOptimizer.FEDAVGM
    assert model.seed.hex() == seed
    assert found.parameters.dtype == np.float32
    assert found.parameters.shape == (model.parameters,)
    assert state_digest(first_state(found.parameters, aggregation)) == model.initial_state


def test_what_the_building_process_refuses_is_told_as_it_told_it(terms_file, tmp_path):
    change(terms_file, "max_tokens = 64", "max_tokens = 65")
    told = problem(terms_file)
    assert told.code == "COM-MODEL-004"
    assert str(told).endswith("cannot be trained: expected max_tokens of at most 64")
    assert "name a BERT" in str(told.facts["fix"])


def test_without_pytorch_the_operator_is_told_to_build_it_elsewhere(terms_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    told = problem(terms_file)
    assert told.code == "COM-MODEL-002"
    assert told.facts["file"] == terms_file


def test_every_agreement_has_a_nonce_of_its_own(terms_file, start_dir):
    first, second = (prepared(terms_file, start_dir).agreement for _ in range(2))
    assert first.nonce != second.nonce
    assert first.digest != second.digest


def test_an_institution_that_was_not_approved_is_named(terms_file):
    change(terms_file, '"nairobi", "paris"', '"atlantis", "lutetia"')
    told = problem(terms_file)
    assert told.code == "COM-TERMS-001"
    assert str(told) == "terms.toml: no approved institution is called atlantis, lutetia"


@pytest.mark.parametrize(("day", "fine"), [("2030-06-01", True), ("2030-05-31", False)])
def test_the_last_day_counts_and_the_day_after_it_does_not(terms_file, start_dir, day, fine):
    change(terms_file, "2030-12-31", day)
    if fine:
        assert prepared(terms_file, start_dir).agreement.schedule.expires == day
    else:
        assert problem(terms_file, start_dir).code == "COM-TERMS-002"


@pytest.mark.parametrize(
    ("line", "instead", "code"),
    [
        ("epsilon = 8", "epsilon = 0.001", "COM-TERMS-003"),
        ("#noise_multiplier = 2", "noise_multiplier = 1", "COM-TERMS-004"),
        ('"loan", ', '"credit", ', "COM-TERMS-005"),
        ("evaluation.jsonl", "nowhere.jsonl", "COM-TERMS-006"),
    ],
)
def test_what_is_wrong_in_the_terms_is_told_before_a_model_is_built(
    line, instead, code, terms_file, monkeypatch
):
    change(terms_file, line, instead)
    monkeypatch.setitem(sys.modules, "torch", None)  # so that building would be another problem
    assert problem(terms_file).code == code


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        ('tune = "head"', 'tune = "full"', "tune"),
        ('pooling = "mean"', 'pooling = "cls"', "pooling"),
        ("lora_rank = 4", "lora_rank = 5", "lora_rank"),
        ("lora_alpha = 16", "lora_alpha = 8", "lora_alpha"),
        ("max_tokens = 64", "max_tokens = 32", "max_tokens"),
        ('["card", "loan", "fraud"]', '["loan", "card", "fraud"]', "labels"),
        ('optimizer = "fedavg"', 'optimizer = "fedavgm"', "optimizer"),
        ("#seed", "seed", "seed"),
        ('name = "', 'name = "./', "model"),
    ],
)
def test_a_model_that_was_built_by_other_terms_is_refused(
    line, instead, named, terms_file, start_dir
):
    change(terms_file, line, instead)
    told = problem(terms_file, start_dir)
    assert told.code == "COM-MODEL-005"
    assert f"it was built with another {named} than terms.toml says" in str(told)


def spoil(start_dir: Path, **record: object) -> None:
    file = start_dir / "start.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | record))


def test_a_state_that_its_record_does_not_name_is_refused(terms_file, start_dir):
    state = start_dir / "start.state"
    right = read_state(state.read_bytes()).parameters
    for wrong in (right + np.float32(1), np.append(right, np.float32(0))):
        state.write_bytes(write_state(ModelState(parameters=wrong, momentum=None, round=0)))
        assert "start.state is not the one that start.json names" in str(
            problem(terms_file, start_dir)
        )


def test_a_state_with_weights_that_are_no_numbers_is_refused(terms_file, start_dir):
    file = start_dir / "start.state"
    parameters = read_state(file.read_bytes()).parameters
    parameters[0] = np.nan
    state = ModelState(parameters=parameters, momentum=None, round=0)
    file.write_bytes(write_state(state))
    spoil(start_dir, initial_state=state_digest(state))
    assert "weights that are no numbers" in str(problem(terms_file, start_dir))


@pytest.mark.parametrize("name", ["start.json", "start.state"])
def test_files_that_are_missing_or_of_another_kind_are_named(name, terms_file, start_dir):
    (start_dir / name).write_bytes(b"{}")
    assert f"{name} is not what comity model start writes" in str(problem(terms_file, start_dir))
    (start_dir / name).unlink()
    told = problem(terms_file, start_dir)
    assert told.code == "COM-MODEL-005"
    assert f"{name}: No such file" in str(told)
