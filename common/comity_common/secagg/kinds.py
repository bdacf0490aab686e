"""What a round may sum."""

from enum import StrEnum


class RoundKind(StrEnum):
    """What is summed in a round."""

    TRAIN = "train"  # deltas, which move the model
    EVALUATE = "evaluate"  # noisy scores, which leave it as it is
