"""Builds the classifier of an agreement from a base BERT.

Every institution builds from its own copy of the base and must get the same model to the last
bit: the base is checked by digest, new parameters are zeros or drawn from the agreement's seed,
and a weight that is missing in the base is an error, never a random value.

Only weights in safetensors are read, and no code that comes with a model is run.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from comity_client.model.base import check_base
from comity_client.model.classifier import Classifier
from comity_client.model.lowrank import add_low_rank_updates
from comity_client.model.pooling import write_mean_pooling
from comity_common.agreement import Agreement, Pooling, Task
from comity_common.errors import LocalError
from comity_common.tuning import Tune


def build(
    base: Path,
    task: Task,
    *,
    pooling: Pooling,
    tune: Tune,
    lora_rank: int,
    lora_alpha: int,
    seed: bytes,
) -> Classifier:
    """Build the classifier in its initial state.

    Args:
        base: directory of a BERT.
        lora_rank, lora_alpha, seed: 32 bytes; used by `lora` alone.

    Raises:
        LocalError: the base is not a complete BERT, or its vocabulary or positions do not fit.
    """
    if tune is Tune.LORA and (lora_rank < 1 or lora_alpha < 1):
        raise LocalError(f"expected rank and alpha of at least 1, got {lora_rank} and {lora_alpha}")
    config = _config(base, task, pooling)
    network, missing, tokenizer = _load(base, config)
    if len(tokenizer) > config.vocab_size:
        raise LocalError(f"expected at most {config.vocab_size} tokens, got {len(tokenizer)}")
    base_layers = config.num_hidden_layers - (pooling is Pooling.MEAN)
    _check_complete(missing, base_layers, pooling)
    torch.nn.init.zeros_(network.classifier.weight)
    torch.nn.init.zeros_(network.classifier.bias)
    if pooling is Pooling.MEAN:
        write_mean_pooling(network)
    if tune is Tune.LORA:
        add_low_rank_updates(
            network, rank=lora_rank, alpha=lora_alpha, layers=base_layers, seed=seed
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad = _is_trained(name, tune, base_layers)
    return Classifier(network, tokenizer, task, tune, base_layers)


def _config(base: Path, task: Task, pooling: Pooling) -> Any:
    try:
        kind = json.loads((base / "config.json").read_text()).get("model_type")
    except (OSError, ValueError, AttributeError):
        raise LocalError(f"expected a readable config.json in {base.name}") from None
    if kind != "bert":
        raise LocalError(f"expected a base model of type bert, got {kind}")
    config = transformers.BertConfig.from_pretrained(base, local_files_only=True)
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        raise LocalError("expected a BERT with absolute positions")
    if task.max_tokens > config.max_position_embeddings:
        raise LocalError(f"expected max_tokens of at most {config.max_position_embeddings}")
    config.num_hidden_layers += pooling is Pooling.MEAN
    config.id2label = dict(enumerate(task.labels))
    config.label2id = {label: index for index, label in enumerate(task.labels)}
    config.problem_type = "single_label_classification"
    config.is_decoder = False
    # Dropout adds nothing under DP noise, and would make two runs over one record differ.
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.classifier_dropout = 0.0
    return config


def _load(base: Path, config: Any) -> tuple[Any, set[str], Any]:
    """Load network and tokenizer, and name the weights that the base had not."""
    try:
        with quiet():
            network, report = transformers.BertForSequenceClassification.from_pretrained(
                base,
                config=config,
                dtype=torch.float32,
                attn_implementation="sdpa",
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=True,
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError):
        raise LocalError(
            f"expected a tokenizer and weights that fit config.json in {base.name}"
        ) from None
    return network, set(report["missing_keys"]), tokenizer


def _check_complete(missing: set[str], base_layers: int, pooling: Pooling) -> None:
    """Refuse a base that leaves to chance any weight that is not written afterwards."""
    written = ["classifier."]
    if pooling is Pooling.MEAN:
        written += [_pooling_layer(base_layers), "bert.pooler."]
    absent = [name for name in sorted(missing) if not name.startswith(tuple(written))]
    if absent:
        raise LocalError(f"expected a complete BERT, {absent[0]} is missing")


def _is_trained(name: str, tune: Tune, base_layers: int) -> bool:
    if name.startswith("classifier."):
        return True
    if tune is Tune.LORA:
        return ".lora_B." in name
    frozen = ("bert.pooler.", _pooling_layer(base_layers))
    return tune is Tune.FULL and not name.startswith(frozen)


def _pooling_layer(base_layers: int) -> str:
    """Name the layer after the base's last one, which exists only with mean pooling."""
    return f"bert.encoder.layer.{base_layers}."


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back transformers' progress bars and report of missing keys, which are checked here."""
    log = transformers.utils.logging
    verbosity = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        log.enable_progress_bar()


def build_agreed(agreement: Agreement) -> Classifier:
    """Build the classifier that an agreement names, before its first round.

    Raises:
        Problem: this machine does not have the base model with the agreement's digest.
    """
    model = agreement.model
    return build(
        check_base(model),
        agreement.task,
        pooling=model.pooling,
        tune=model.tune,
        lora_rank=model.lora_rank,
        lora_alpha=model.lora_alpha,
        seed=model.seed,
    )
