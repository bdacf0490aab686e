"""How much room on the disk a round takes, asked before anything is spent on it.

    masked vector + model state, old and new + moments, old and new + what the store grows by

A disk that fills up while a round is at work costs that round; one that is full before costs
nothing.
"""

import shutil
from pathlib import Path

from comity_common.agreement import Agreement, ModelOptimizer
from comity_common.secagg.masking import vector_bytes

NUMBER_BYTES = 4  # of a float32
STORE_BYTES = 16 << 20  # write-ahead log, plan, shares and boxes of 100 institutions


def needed_bytes(agreement: Agreement) -> int:
    """Return how many bytes must be free for a round."""
    vector = NUMBER_BYTES * agreement.model.parameters
    with_momentum = agreement.aggregation.optimizer is ModelOptimizer.FEDAVGM
    state, moments = vector * (2 if with_momentum else 1), 2 * vector
    masked = vector_bytes(agreement.model.parameters, agreement.aggregation.ring_width)
    return masked + 2 * state + 2 * moments + STORE_BYTES


def free_bytes(directory: Path) -> int:
    """Return how many bytes this user may still write where a directory lies."""
    return shutil.disk_usage(directory).free
