"""Which part of a model is trained: apart from the agreement, for which `--help` must not wait."""

from enum import StrEnum


class Tune(StrEnum):
    """Which parameters are trained."""

    HEAD = "head"
    LORA = "lora"
    FULL = "full"
