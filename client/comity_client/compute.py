"""What a vault may compute with, as `vault.toml` says it; apart from PyTorch, for which settings
must not wait."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """What training may use.

    Attributes:
        threads: how many torch may use.
        precision: what layers compute in; norms, sums and noise are in float64 whatever it says.
        device: where the model is.
    """

    threads: int = 1
    precision: Precision = "float32"
    device: Device = "cpu"
