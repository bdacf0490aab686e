"""Builds the classifier of an agreement from a base BERT.

Every institution builds from its own copy of the base and must get the same model to the last
bit: the base is checked by digest, new parameters are zeros or drawn from the agreement's seed,
and a weight that is missing in the base is an error, never a random value.

Only weights in safetensors are read, and no code that comes with a model is run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from comity_client.model.base import check_base
from comity_client.model.classifier import Classifier
from comity_client.model.families import Family, read_config
from comity_client.model.lowrank import LOW_RANK, add_low_rank_updates
from comity_client.model.pooling import write_mean_layer, write_pooler
from comity_common.agreement import Agreement, Pooling, Task, TaskKind
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
        base: directory of a BERT, RoBERTa, DistilBERT or XLM-RoBERTa.
        pooling: used by classifiers of texts alone; for tokens nothing is pooled.
        lora_rank, lora_alpha, seed: 32 bytes; used by `lora` and `lora-plain` alone.

    Raises:
        LocalError: the base is none of these or not complete, or its vocabulary or positions do
            not fit.
    """
    if tune in LOW_RANK and (lora_rank < 1 or lora_alpha < 1):
        raise LocalError(f"expected rank and alpha of at least 1, got {lora_rank} and {lora_alpha}")
    family, config = read_config(base)
    base_layers = config.num_hidden_layers
    means = task.kind is TaskKind.SEQUENCE_CLASSIFICATION and pooling is Pooling.MEAN
    _configure(config, family, task, extra_layers=int(means))
    network, missing = _load(base, family.networks[task.kind], config)
    tokenizer = _tokenizer(base, task)
    if len(tokenizer) > config.vocab_size:
        raise LocalError(f"expected at most {config.vocab_size} tokens, got {len(tokenizer)}")

    head = family.classifiers[task.kind]
    mean_layer, pooler = f"{family.layers}.{base_layers}", family.pooler
    written = [head]
    if means:
        written += [mean_layer, pooler]
    elif task.kind is TaskKind.SEQUENCE_CLASSIFICATION and not family.pretrained_pooler:
        written += [pooler]
    _check_complete(missing, written, family)
    torch.nn.init.zeros_(network.get_submodule(head).weight)
    torch.nn.init.zeros_(network.get_submodule(head).bias)
    if means:
        write_mean_layer(network, family)
    if pooler in written:
        write_pooler(network, family)
    if tune in LOW_RANK:
        add_low_rank_updates(
            network, family, rank=lora_rank, alpha=lora_alpha, layers=base_layers, seed=seed
        )
    fixed = (f"{mean_layer}.", f"{pooler}.") if means else ()
    for name, parameter in network.named_parameters():
        trained = name.startswith(f"{head}.") or (
            _is_tuned(name, tune) and not name.startswith(fixed)
        )
        parameter.requires_grad = trained
    return Classifier(network, tokenizer, task, tune, family, base_layers)


def _configure(config: Any, family: Family, task: Task, extra_layers: int) -> None:
    """Set what the task decides.

    Raises:
        LocalError: the base has too few positions.
    """
    longest = family.longest_text(config)
    if task.max_tokens > longest:
        raise LocalError(f"expected max_tokens of at most {longest}")
    config.num_hidden_layers += extra_layers
    config.id2label = dict(enumerate(task.labels))
    config.label2id = {label: index for index, label in enumerate(task.labels)}
    if task.kind is TaskKind.SEQUENCE_CLASSIFICATION:
        config.problem_type = "single_label_classification"
    # Dropout adds nothing under DP noise, and would make two runs over one record differ.
    for dropout in family.dropouts:
        setattr(config, dropout, 0.0)


def _load(base: Path, kind: Any, config: Any) -> tuple[Any, set[str]]:
    """Load the network, and name the weights that the base had not."""
    try:
        with quiet():
            network, report = kind.from_pretrained(
                base,
                config=config,
                dtype=torch.float32,
                attn_implementation="sdpa",
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=True,
            )
    except Exception:  # a broken file of weights raises anything
        raise LocalError(f"expected weights that fit config.json in {base.name}") from None
    return network, set(report["missing_keys"])


def _tokenizer(base: Path, task: Task) -> Any:
    """Load the tokenizer; one for words must know which piece is of which word."""
    words = task.kind is TaskKind.TOKEN_CLASSIFICATION
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                base,
                local_files_only=True,
                trust_remote_code=False,
                **({"add_prefix_space": True} if words else {}),
            )
    except Exception:  # the tokenizers of a broken file raise anything
        raise LocalError(f"expected a tokenizer in {base.name}") from None
    if words and not tokenizer.is_fast:
        raise LocalError(
            f"expected a tokenizer.json in {base.name}, as no other says which piece is of which "
            "word"
        )
    return tokenizer


def _check_complete(missing: set[str], written: list[str], family: Family) -> None:
    """Refuse a base that leaves to chance any weight that is not written afterwards."""
    parts = tuple(f"{part}." for part in written)
    absent = [name for name in sorted(missing) if not name.startswith(parts)]
    if absent:
        raise LocalError(f"expected a complete {family.name}, {absent[0]} is missing")


def _is_tuned(name: str, tune: Tune) -> bool:
    """Tell whether a parameter outside the classifier is trained."""
    match tune:
        case Tune.HEAD:
            return False
        case Tune.LORA:
            return ".lora_B." in name
        case Tune.LORA_PLAIN:
            return ".lora_" in name
        case Tune.BITFIT:
            return name.endswith(".bias")
        case Tune.FULL:
            return True


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
