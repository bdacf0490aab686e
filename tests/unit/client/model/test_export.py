import json
import re
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from tests.commands import Outcome, comity
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from comity_client.model.export import Provenance, export
from comity_client.model.lowrank import LOW_RANK
from comity_common.agreement import Pooling
from comity_common.dp.terms import Guarantee, Unit
from comity_common.errors import LocalError
from comity_common.ids import Digest, InstitutionId
from comity_common.tuning import Tune

TEXTS = ["my card was lost", "please", "the bank the bank the bank was stolen please help"]
LABELS = ["card", "loan", "fraud"]
PROVENANCE = Provenance(
    agreement=Digest("ab" * 32),
    base="tiny",
    purpose="tests",
    rounds=7,
    unit=Unit.RECORD,
    scores=0,
    guarantees={
        InstitutionId("berlin"): Guarantee(epsilon=Decimal(8), delta=Decimal("0.00001")),
        InstitutionId("accra"): Guarantee(epsilon=Decimal("2.5"), delta=Decimal("0.000002")),
    },
)
MODES = [(tune, pooling) for tune in Tune for pooling in Pooling]


@pytest.fixture(params=MODES, ids=lambda mode: "-".join(mode))
def exported(request, build_tiny, tmp_path: Path):  # type: ignore[no-untyped-def]
    tune, pooling = request.param
    classifier = build_tiny(tune, pooling=pooling)
    step = np.random.default_rng(4).standard_normal(classifier.layout.size) * 0.3
    classifier.load((classifier.vector() + step).astype(np.float32))
    export(classifier, PROVENANCE, tmp_path / "out")
    return classifier, tmp_path / "out"


def _logits(model, directory: Path) -> np.ndarray:  # type: ignore[no-untyped-def]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=48, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**inputs).logits.numpy()


def _own_logits(classifier) -> np.ndarray:  # type: ignore[no-untyped-def]
    pooled = torch.tensor(np.stack(classifier.encode(TEXTS)))
    with torch.no_grad():
        return classifier.network.classifier(pooled).numpy()


def test_plain_transformers_gives_the_same_logits(exported) -> None:  # type: ignore[no-untyped-def]
    classifier, directory = exported
    model, report = AutoModelForSequenceClassification.from_pretrained(
        directory, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert np.abs(_logits(model, directory) - _own_logits(classifier)).max() <= 1e-4
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: k for k, label in enumerate(LABELS)}


def test_plain_peft_puts_the_adapter_on_the_base(exported, tiny_base: Path) -> None:  # type: ignore[no-untyped-def]
    classifier, directory = exported
    if classifier.tune not in LOW_RANK:
        assert not (directory / "adapter").exists()
        return
    config = AutoConfig.from_pretrained(directory)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_base, config=config)
    model = PeftModel.from_pretrained(base, directory / "adapter")
    assert np.abs(_logits(model, directory) - _own_logits(classifier)).max() <= 1e-4


def test_the_card_names_agreement_rounds_and_every_guarantee(exported) -> None:  # type: ignore[no-untyped-def]
    classifier, directory = exported
    card = (directory / "README.md").read_text()
    for needed in ("ab" * 32, "7 certified rounds", "| accra | 2.5 | 0.000002 |", "`tiny`"):
        assert needed in card
    assert "| berlin | 8 | 0.00001 |" in card
    assert ("PeftModel" in card) == (classifier.tune in LOW_RANK)


def card_of(build_tiny, directory: Path, **changed) -> str:  # type: ignore[no-untyped-def]
    export(build_tiny(Tune.HEAD), replace(PROVENANCE, **changed), directory)
    return re.sub(r"\s+", " ", (directory / "README.md").read_text())


def test_the_card_says_whom_and_what_the_guarantee_covers(build_tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain = card_of(build_tiny, tmp_path / "plain")
    assert "each of its records against everyone, adding or removing one record" in plain
    assert "scores" not in plain
    persons = card_of(build_tiny, tmp_path / "persons", unit=Unit.PERSON, scores=3)
    assert "each of its persons against everyone" in persons
    assert "adding or removing all records of one person at a time" in persons
    assert "up to 3 noisy scores on rows that were held out" in persons
    assert "| berlin | 8 | 0.00001 |" in persons


def test_the_card_of_a_model_without_noise_promises_nothing(build_tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    card = card_of(build_tiny, tmp_path / "open", guarantees=None)
    assert "without differential privacy**: ε is infinite" in card
    assert "guarantee" not in card
    assert "berlin" not in card


def test_nothing_is_written_over(build_tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "kept").write_text("x")
    with pytest.raises(LocalError, match="new or empty directory"):
        export(build_tiny(Tune.HEAD), PROVENANCE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def _run(*arguments: object) -> Outcome:
    return comity("model", *arguments)


def test_predict_names_the_label_that_the_model_finds_likeliest(exported) -> None:  # type: ignore[no-untyped-def]
    classifier, directory = exported
    wanted = classifier.predict(TEXTS[:1])[0]
    assert _run("predict", directory, TEXTS[0]).output.startswith(f"{wanted} (")
    result = _run("predict", directory, TEXTS[0], "--json")
    envelope = json.loads(result.output.splitlines()[-1])
    assert result.exit_code == 0
    assert envelope["ok"]
    assert envelope["data"]["label"] == wanted
    assert 1 / 3 <= envelope["data"]["probability"] <= 1


def test_evaluate_scores_a_file_of_rows(exported, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    classifier, directory = exported
    guessed = classifier.predict(TEXTS)
    wrong = LABELS[(LABELS.index(guessed[0]) + 1) % 3]
    data = tmp_path / "data.jsonl"
    with data.open("w") as file:
        for text, label in zip(TEXTS, [wrong, *guessed[1:]], strict=True):
            file.write(json.dumps({"text": text, "label": label}) + "\n")
    result = _run("evaluate", directory, "--data", data, "--json")
    envelope = json.loads(result.output.splitlines()[-1])
    assert result.exit_code == 0
    assert envelope["data"]["rows"] == 3
    assert envelope["data"]["accuracy"] == pytest.approx(2 / 3)


def test_a_directory_without_a_model_is_a_failure_and_a_missing_one_wrong_usage(
    tmp_path: Path,
) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "a", "label": "b"}\n')
    for arguments in (["predict", tmp_path, "x"], ["evaluate", tmp_path, "--data", tmp_path / "d"]):
        result = _run(*arguments, "--json")
        assert result.exit_code == 1
        assert not json.loads(result.output.splitlines()[-1])["ok"]
    assert _run("predict", tmp_path / "nowhere", "x").exit_code == 2
    assert _run("predict").exit_code == 2


def test_the_command_line_is_imported_without_torch() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'opacus'} & set(sys.modules)"
    code = f"import sys, comity_client.model.cli; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
