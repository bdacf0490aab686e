"""What trains: the rows as they were registered, the base models, and PyTorch."""

from collections.abc import Sequence
from pathlib import Path

from comity_client.doctor.own import agreements
from comity_client.institution import Institution
from comity_client.registrations import Dataset
from comity_common.agreement import Agreement
from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.tuning import Tune
from comity_host.checks import Finding, ok, problem, told, warning
from comity_host.checks.machine import memory

MEMORY_FLOOR_BYTES = 400_000_000  # Python with torch and transformers
MEMORY_BYTES_A_PARAMETER = 180  # seen, 16 gradients at a time; noise, Adam and masks are vectors
MEMORY_BYTES_WITHOUT_GRADIENTS = 40  # under `full`: a step was seen to take 22, and a delta is 4
ADD_DATA = "comity client data add NAME FILE"


def data(inst: Institution) -> list[Finding]:
    """Check that every file is as it was registered; its rows are not read."""
    registered = [dataset for dataset in inst.data.all() if not dataset.removed]
    findings = [_data_file(inst, dataset) for dataset in registered]
    return findings or [warning("data", "no file is registered", ADD_DATA)]


def base_models(inst: Institution) -> list[Finding]:
    """Check that the base model of every agreement is here and the very same."""
    wanted = {terms.model.name: terms.model.base for terms in agreements(inst)}
    found = [_base_model(name, base) for name, base in wanted.items()]
    return found or [ok("base model", "no agreement names one yet")]


def free_memory(terms: Sequence[Agreement]) -> Finding:
    """Check that the memory is enough to train under any of some agreements."""
    needs = max(map(_memory_bytes, terms), default=MEMORY_FLOOR_BYTES)
    return memory("memory", needs=needs, what="the vault")


def torch_build() -> list[Finding]:
    """Look at PyTorch's build and at the GPU, which the vault uses but does not need."""
    import torch

    toolkit = torch.version.cuda or torch.version.hip
    kind = f"a build for GPUs ({toolkit})" if toolkit else "a build for CPUs"
    detail = f"{torch.__version__}, {kind}, up to {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        return [ok("torch", detail), ok("GPU", f"{name}; used unless vault.toml says device = cpu")]
    if toolkit:
        fix = "install PyTorch's build for CPUs, which is several gigabytes smaller"
        return [warning("torch", f"{detail}, and there is no GPU", fix)]
    return [ok("torch", detail), ok("GPU", "none, and none is needed")]


def _data_file(inst: Institution, dataset: Dataset) -> Finding:
    try:
        inst.data.file(dataset.id)
    except LocalError as error:
        return told("data", error)
    return ok("data", f"{dataset.name} is as it was registered")


def _memory_bytes(terms: Agreement) -> int:
    base = _local_base(terms.model.name)
    weights = sum(file.stat().st_size for file in base.glob("*.safetensors")) if base else 0
    kept = terms.model.tune is Tune.FULL
    each = MEMORY_BYTES_WITHOUT_GRADIENTS if kept else MEMORY_BYTES_A_PARAMETER
    return MEMORY_FLOOR_BYTES + 2 * weights + each * terms.model.parameters


def _base_model(name: str, expected: Digest) -> Finding:
    from comity_client.model.base import base_digest

    path = _local_base(name)
    if path is None:
        fix = f"hf download {name}, where the network allows it, or copy the model's folder here"
        return problem("base model", f"{name} is not on this machine", fix)
    if base_digest(path) != expected:
        fix = f"ask the operator which version of {name} the agreement means, and fetch that"
        return problem("base model", f"{name} is not the agreement's (another digest)", fix)
    return ok("base model", f"{name} is the agreement's")


def _local_base(name: str) -> Path | None:
    """Find a base model without opening a connection."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    from comity_client.model.base import MINILM, VOCABULARY_FILES, base_path

    try:
        if name == MINILM or Path(name).is_dir():
            return base_path(name)
        patterns = ["*.safetensors", *VOCABULARY_FILES]
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
    except (LocalError, HFValidationError, LocalEntryNotFoundError, OSError):
        return None
