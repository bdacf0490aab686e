"""On what training computes and how precisely: as `vault.toml` says, or found out at run time.

bfloat16 is used by autocast, for layers alone: parameters stay float32, losses are float32, norms,
sums and noise float64. `auto` takes it where the processor or the GPU has instructions for it and a
short measurement says that they pay. The clipping bound holds in any precision, because a record
is clipped by the norm of the very gradient that is added.

On short texts attention in bfloat16 is written out (`eager`), which is faster there than the fused
kernel (`sdpa`), and dropout is 0 anyway.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from comity_client.compute import Compute
from comity_client.model.classifier import Classifier, logits
from comity_common.errors import Problem
from comity_common.tuning import Tune

CPU_FLAGS = frozenset(("amx_bf16", "avx512_bf16"))
PAYS = 1.3  # times as fast as float32 in `_gain`, which sees only the products
EAGER_TOKENS = 128
ROWS, FAN_IN, FAN_OUT, REPETITIONS = 256, 384, 1536, 10  # a feed-forward layer of MiniLM


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Where and in what a model's layers compute."""

    device: torch.device
    bfloat16: bool

    def move(self, classifier: Classifier) -> None:
        """Put the network where it is to compute."""
        classifier.network.to(self.device)

    def here(self, array: torch.Tensor) -> torch.Tensor:
        """Put a tensor there too."""
        return array.to(self.device)

    def logits(
        self, classifier: Classifier, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        """Run the classifier's trained module, or what wraps it: logits in float32 at least."""
        inputs = tuple(map(self.here, inputs))
        if not self.bfloat16 or classifier.tune is Tune.HEAD:  # whose only layer is no work
            return logits(module, inputs)
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            if inputs[0].shape[1] > EAGER_TOKENS:
                return logits(module, inputs).float()
            with _eager(classifier.network):
                return logits(module, tuple(map(_additive, inputs))).float()


PLAIN = Hardware(device=torch.device("cpu"), bfloat16=False)


def find(compute: Compute) -> Hardware:
    """Choose what to compute with.

    Raises:
        Problem: the settings want a GPU, and PyTorch sees none.
    """
    there = torch.cuda.is_available()
    if compute.device == "cuda" and not there:
        raise Problem("COM-DEVICE-001")
    device = torch.device("cuda" if there and compute.device != "cpu" else "cpu")
    if compute.precision == "auto":
        bfloat16 = has_bfloat16(device) and _gain(device) >= PAYS
    else:
        bfloat16 = compute.precision == "bfloat16"
    return Hardware(device=device, bfloat16=bfloat16)


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not CPU_FLAGS.isdisjoint(flags.split())


def _gain(device: torch.device) -> float:
    """Measure how many times as fast as in float32 a layer is in bfloat16; some milliseconds."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(ROWS, FAN_IN, device=device, dtype=dtype)
        weight = torch.ones(FAN_OUT, FAN_IN, device=device, dtype=dtype)
        x @ weight.T  # what a first call prepares
        began = time.perf_counter()
        for _ in range(REPETITIONS):
            x @ weight.T
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds[dtype] = time.perf_counter() - began
    return seconds[torch.float32] / seconds[torch.bfloat16]


@contextmanager
def _eager(network: Any) -> Iterator[None]:
    """Write attention out for one forward pass."""
    network.set_attn_implementation("eager")
    try:
        yield
    finally:
        network.set_attn_implementation("sdpa")


def _additive(array: torch.Tensor) -> torch.Tensor:
    """Turn a mask of what is visible into what is added to scores; leave other inputs alone."""
    if array.dtype is not torch.bool:
        return array
    hidden = torch.finfo(torch.float32).min
    return torch.zeros(array.shape, device=array.device).masked_fill(~array, hidden)
