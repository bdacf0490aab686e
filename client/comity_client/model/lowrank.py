"""Low-rank updates B·A of the attention's query and value (Hu et al. 2021, "LoRA").

The mean of products is not the product of means, so institutions that train both A and B cannot
average them. In `lora` A is therefore frozen and drawn from the agreement's seed, the same on every
machine to the last bit (Sun et al. 2024, "Improving LoRA in privacy-preserving federated learning",
FFA-LoRA); the update is then linear in B, and B can be averaged, masked and noised. `lora-plain`
starts from the same A and trains it as well, for comparison.

The network gets PEFT's own layers on query and value of every pretrained encoder layer, so that
an export is an ordinary PEFT adapter.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peft import LoraConfig, inject_adapter_in_model

from comity_client.model.families import Family
from comity_common.agreement import TaskKind
from comity_common.crypto.derive import expand
from comity_common.crypto.stream import Keystream
from comity_common.tuning import Tune

LOW_RANK = frozenset({Tune.LORA, Tune.LORA_PLAIN})
ADAPTER = "default"  # PEFT's name for the only adapter of a model
PEFT_TASKS = {
    TaskKind.SEQUENCE_CLASSIFICATION: "SEQ_CLS",
    TaskKind.TOKEN_CLASSIFICATION: "TOKEN_CLS",
}


def lora_config(family: Family, rank: int, alpha: int, layers: int, **exported: Any) -> LoraConfig:
    """Describe the adapter in PEFT's words.

    Args:
        rank: r of B·A.
        alpha: the product is scaled by alpha / rank.
        layers: how many encoder layers get one, from the first.
        exported: what only an adapter that is written to a file has.
    """
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=[family.layer.query, family.layer.value],
        layers_to_transform=list(range(layers)),
        layers_pattern="layer",
        **exported,
    )


def add_low_rank_updates(
    network: Any, family: Family, *, rank: int, alpha: int, layers: int, seed: bytes
) -> None:
    """Put B = 0 and a seeded A on query and value of the first `layers` encoder layers.

    Args:
        seed: 32 bytes, the agreement's.
    """
    inject_adapter_in_model(lora_config(family, rank, alpha, layers), network)
    with torch.no_grad():
        for name, low_rank in low_rank_layers(network):
            a = low_rank.lora_A[ADAPTER].weight
            a.copy_(torch.from_numpy(seeded_uniform(seed, name, tuple(a.shape))))
            low_rank.lora_B[ADAPTER].weight.zero_()


def low_rank_layers(network: Any) -> list[tuple[str, Any]]:
    """List the adapted modules with their names."""
    return [(name, module) for name, module in network.named_modules() if hasattr(module, "lora_A")]


def seeded_uniform(seed: bytes, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Draw one matrix A: uniform within ±1/√(columns), Kaiming's bound for a linear layer.

    24-bit integers and one product, so that every machine gets the same bits.
    """
    words = Keystream(expand(seed, "lora", name.encode())).uint64(math.prod(shape))
    centred = (words >> np.uint64(40)).astype(np.float64) + 0.5 - 2.0**23
    bound = 2.0**-23 / math.sqrt(shape[-1])
    return (centred * bound).astype(np.float32).reshape(shape)
