"""Writes a released model as an ordinary Hugging Face directory.

Whoever gets it needs nothing of ours: plain transformers loads the full model, low-rank updates
merged, and plain PEFT the adapter beside it. The card says under which agreement it was trained
and what was guaranteed to whose rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from comity_client.model.build import build_agreed, quiet
from comity_client.model.classifier import Classifier
from comity_client.model.lowrank import (
    ADAPTER,
    LOW_RANK,
    PEFT_TASKS,
    lora_config,
    low_rank_layers,
)
from comity_client.releases import Release
from comity_common.agreement import TaskKind
from comity_common.dp.terms import Guarantee, Unit
from comity_common.errors import LocalError
from comity_common.ids import Digest, InstitutionId
from comity_common.mechanisms import spending_of

ADAPTER_DIRECTORY = "adapter"
PLAIN_MODELS = {
    TaskKind.SEQUENCE_CLASSIFICATION: AutoModelForSequenceClassification,
    TaskKind.TOKEN_CLASSIFICATION: AutoModelForTokenClassification,
}
PIPELINES = {
    TaskKind.SEQUENCE_CLASSIFICATION: "text-classification",
    TaskKind.TOKEN_CLASSIFICATION: "token-classification",
}

UNITS = {
    Unit.RECORD: ("records", "one record"),
    Unit.PERSON: ("persons", "all records of one person"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a model comes from.

    Attributes:
        agreement: digest of the agreement it was trained under.
        base: name of the base model, as in the agreement.
        rounds: certified rounds that went into it.
        unit: what is protected.
        scores: how many noisy scores on private rows the guarantees cover beside the training, at
            most.
        guarantees: what each unit of each institution was given; None for a model that was
            trained without noise, and promises nothing.
    """

    agreement: Digest
    base: str
    purpose: str
    rounds: int
    unit: Unit
    scores: int
    guarantees: Mapping[InstitutionId, Guarantee] | None


def export(classifier: Classifier, provenance: Provenance, directory: Path) -> None:
    """Write weights, tokenizer, configuration and card; for LoRA an `adapter` as well.

    Args:
        directory: made here; not there yet, or empty.

    Raises:
        LocalError: there is something in the directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise LocalError(f"expected a new or empty directory, {directory.name} has files")
    model = PLAIN_MODELS[classifier.task.kind].from_config(classifier.network.config)
    model.load_state_dict(_merged(classifier))
    with quiet():
        model.save_pretrained(directory)
        classifier.tokenizer.save_pretrained(directory)
    if classifier.tune in LOW_RANK:
        _write_adapter(classifier, provenance.base, directory / ADAPTER_DIRECTORY)
    (directory / "README.md").write_text(_card(classifier, provenance), encoding="utf-8")


def export_release(release: Release, directory: Path) -> None:
    """Write a release with what its agreement guarantees to everyone.

    Raises:
        LocalError: the base model is not here, or there is something in the directory.
    """
    agreement = release.agreement
    classifier = build_agreed(agreement)
    classifier.load(release.state.parameters)
    agreed = spending_of(agreement).guarantee
    provenance = Provenance(
        agreement=agreement.digest,
        base=agreement.model.name,
        purpose=agreement.purpose,
        rounds=release.certified,
        unit=agreement.privacy.unit,
        scores=agreement.attempts - agreement.schedule.attempts,
        guarantees=None if agreed is None else dict.fromkeys(agreement.roster, agreed),
    )
    export(classifier, provenance, directory)


def _merged(classifier: Classifier) -> dict[str, torch.Tensor]:
    """Name every weight as the plain model does, with W + B·A where there is an update."""
    weights = {
        name.replace(".base_layer.", "."): value
        for name, value in classifier.network.state_dict().items()
        if ".lora_" not in name
    }
    for name, layer in low_rank_layers(classifier.network):
        key = f"{name}.weight"
        weights[key] = weights[key] + layer.get_delta_weight(ADAPTER)
    return weights


def _write_adapter(classifier: Classifier, base: str, directory: Path) -> None:
    """Write A, B and, whole, what the base has not: classifier, pooler and pooling layer.

    The names of the weights are those under which PEFT saves them.
    """
    family, network = classifier.family, classifier.network
    saved = _saved_whole(classifier)
    weights = {}
    for name, value in network.state_dict().items():
        in_saved = any(f".{part}." in f".{name}" for part in saved)
        if ".lora_" in name or in_saved:
            weights[f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}"] = value.contiguous()
    low_rank = low_rank_layers(network)[0][1]
    config = lora_config(
        family,
        low_rank.r[ADAPTER],
        low_rank.lora_alpha[ADAPTER],
        classifier.base_layers,
        modules_to_save=saved,
        inference_mode=True,
        task_type=PEFT_TASKS[classifier.task.kind],
        base_model_name_or_path=base,
    )
    directory.mkdir()
    config.save_pretrained(directory)
    save_file(weights, directory / "adapter_model.safetensors", metadata={"format": "pt"})


def _saved_whole(classifier: Classifier) -> list[str]:
    """Name the modules beside the updates that a base lacks or has otherwise, as PEFT finds them.

    The whole of a classification head goes together, a dense layer inside it too.
    """
    family = classifier.family
    saved = ["classifier"]
    if classifier.task.kind is TaskKind.SEQUENCE_CLASSIFICATION:
        pooler = family.pooler.removesuffix(".dense")
        saved += [] if pooler in saved else [pooler.rpartition(".")[2]]
    if classifier.network.config.num_hidden_layers > classifier.base_layers:
        above = family.layers.partition(".")[2]
        saved.append(f"{above}.{classifier.base_layers}")
    return saved


def _card(classifier: Classifier, provenance: Provenance) -> str:
    labels, pipeline = ", ".join(classifier.task.labels), PIPELINES[classifier.task.kind]
    return f"""---
library_name: transformers
pipeline_tag: {pipeline}
---
# A {pipeline.replace("-classification", "")} classifier trained by a federation

Purpose: {provenance.purpose}

Trained with Comity from the base model `{provenance.base}` (tuned: {classifier.tune.value}) in
{provenance.rounds} certified rounds, under the agreement

    {provenance.agreement}

No row left its institution. {_promise(provenance)}

## Use

```python
from transformers import pipeline

classify = pipeline("{pipeline}", model="path/to/this/directory")
```

Texts are cut at {classifier.task.max_tokens} tokens in training. Labels: {labels}.
{_adapter_section(classifier, provenance.base) if classifier.tune in LOW_RANK else ""}"""


def _promise(provenance: Provenance) -> str:
    """Say what is guaranteed, to whom, and for what."""
    if provenance.guarantees is None:
        return """It was trained **without differential privacy**: ε is infinite. Whoever
has the model may learn about single rows from it."""
    unit, one = UNITS[provenance.unit]
    scores = ""
    if provenance.scores:
        scores = f"""
It covers the training and up to {provenance.scores} noisy scores on rows that were held out."""
    guarantees = "\n".join(
        f"| {institution} | {given.epsilon:f} | {given.delta:f} |"
        for institution, given in sorted(provenance.guarantees.items())
    )
    return f"""Each institution added the full noise itself, so that the guarantee
below holds for each of its {unit} against everyone, adding or removing {one} at a time.{scores}

| institution | ε | δ |
|---|---|---|
{guarantees}"""


def _adapter_section(classifier: Classifier, base: str) -> str:
    kind = PLAIN_MODELS[classifier.task.kind].__name__
    return f"""
## The adapter alone

The weights here have the update merged in. `{ADAPTER_DIRECTORY}/` is the same update for PEFT, to
be put on the base model `{base}` in the shape of this model's configuration:

```python
from peft import PeftModel
from transformers import AutoConfig, {kind}

config = AutoConfig.from_pretrained("path/to/this/directory")
base = {kind}.from_pretrained("path/to/the/base", config=config)
model = PeftModel.from_pretrained(base, "path/to/this/directory/{ADAPTER_DIRECTORY}")
```
"""
