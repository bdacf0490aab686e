"""Which part of a model is trained: apart from the agreement, for which `--help` must not wait."""

from enum import StrEnum


class Tune(StrEnum):
    """Which parameters are trained.

    Attributes:
        HEAD: the classifier on frozen features.
        LORA: the classifier and B of low-rank updates B·A, with A frozen from the agreement's seed
            (FFA-LoRA).
        LORA_PLAIN: the classifier and both A and B.
        BITFIT: the classifier and every bias.
        FULL: everything.
    """

    HEAD = "head"
    LORA = "lora"
    LORA_PLAIN = "lora-plain"
    BITFIT = "bitfit"
    FULL = "full"
