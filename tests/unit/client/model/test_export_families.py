"""An export of every family is what plain transformers and plain PEFT load again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from tests.unit.client.model.test_export import PROVENANCE
from transformers import AutoConfig, AutoTokenizer

from comity_client.model.classifier import Classifier
from comity_client.model.export import PLAIN_MODELS, export
from comity_client.model.families import FAMILIES, TEXTS
from comity_client.model.lowrank import LOW_RANK
from comity_client.model.words import NO_PLACE
from comity_common.agreement import Pooling, TaskKind
from comity_common.tuning import Tune

PHRASES = ["my card was lost", "please", "the bank the bank was stolen please help"]
CELLS = [
    (family, kind, tune, pooling)
    for family in FAMILIES
    for kind in TaskKind
    for tune in (Tune.HEAD, Tune.LORA, Tune.LORA_PLAIN, Tune.FULL)
    for pooling in (Pooling if kind is TEXTS else (Pooling.MEAN,))
]


@pytest.fixture(params=CELLS, ids=lambda cell: "-".join(cell))
def exported(request, build_family, tmp_path: Path):  # type: ignore[no-untyped-def]
    family, kind, tune, pooling = request.param
    classifier = build_family(family, kind, tune, pooling=pooling)
    step = np.random.default_rng().standard_normal(classifier.layout.size) * 0.3
    classifier.load((classifier.vector() + step).astype(np.float32))
    export(classifier, PROVENANCE, tmp_path / "out")
    return classifier, family, tmp_path / "out"


def guessed_by(model, directory: Path, kind: TaskKind) -> list[list[int]]:  # type: ignore[no-untyped-def]
    """The classes by a padded batch, as a user runs it: of each text, or of each word."""
    words = kind is not TEXTS
    tokenizer = AutoTokenizer.from_pretrained(directory)
    phrases = [phrase.split() for phrase in PHRASES] if words else PHRASES
    inputs = tokenizer(
        phrases,
        is_split_into_words=words,
        padding=True,
        truncation=True,
        max_length=24,
        return_tensors="pt",
    )
    with torch.no_grad():
        best = model.eval()(**inputs).logits.argmax(dim=-1).tolist()
    if not words:
        return [[one] for one in best]
    found = []
    for n, row in enumerate(best):
        owners = inputs.word_ids(n)
        read = sorted({owner for owner in owners if owner is not None})
        found.append([row[owners.index(owner)] for owner in read])
    return found


def guessed_here(classifier: Classifier) -> list[list[int]]:
    if classifier.task.kind is TEXTS:
        return [[int(one)] for one in classifier.guess(classifier.prepare(PHRASES))]
    examples = classifier.prepare([tuple(phrase.split()) for phrase in PHRASES])
    return [row[row != NO_PLACE].tolist() for row in classifier.guess(examples)]


def test_plain_transformers_guesses_the_same(exported) -> None:  # type: ignore[no-untyped-def]
    classifier, family, directory = exported
    kind = PLAIN_MODELS[classifier.task.kind]
    model, report = kind.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.model_type == family
    assert type(model).__module__.startswith("transformers.")
    assert model.config.architectures == [type(model).__name__]
    assert guessed_by(model, directory, classifier.task.kind) == guessed_here(classifier)
    assert f"pipeline_tag: {classifier.task.kind.value.replace('sequence', 'text')}" in (
        directory / "README.md"
    ).read_text("utf-8")


def test_plain_peft_guesses_the_same(exported, tiny_bases) -> None:  # type: ignore[no-untyped-def]
    classifier, family, directory = exported
    assert (directory / "adapter").exists() == (classifier.tune in LOW_RANK)
    if classifier.tune not in LOW_RANK:
        return
    config = AutoConfig.from_pretrained(directory)
    base = PLAIN_MODELS[classifier.task.kind].from_pretrained(tiny_bases[family], config=config)
    model = PeftModel.from_pretrained(base, directory / "adapter")
    assert guessed_by(model, directory, classifier.task.kind) == guessed_here(classifier)
