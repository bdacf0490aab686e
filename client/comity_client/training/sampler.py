"""The Poisson sampler: every record is in a batch with probability q, alone and afresh.

The accountant's amplification by sampling is a theorem about exactly this (Abadi et al. 2016;
Mironov et al. 2019, "Rényi DP of the sampled Gaussian mechanism"), not about shuffled batches of
one size. So a batch may be empty, may be large, and is used whole. Its size is a secret.

A record is in when its fresh 64-bit word lies below ⌊q·2⁶⁴⌋: an integer comparison, whose error
is at most 2⁻⁶⁴ and on the private side.
"""

from decimal import Decimal

import numpy as np
import numpy.typing as npt

from comity_common.crypto.stream import Keystream
from comity_common.errors import LocalError

WORD_RANGE = 1 << 64


class PoissonSampler:
    """Draws batches from n records."""

    def __init__(self, records: int, probability: Decimal) -> None:
        if not 0 < probability <= 1:
            raise LocalError("expected a sampling probability above 0 and at most 1")
        self._records = records
        numerator, denominator = probability.as_integer_ratio()
        self._threshold = numerator * WORD_RANGE // denominator

    def draw(self) -> npt.NDArray[np.int64]:
        """Draw one batch: the places of its records, ascending, int64, possibly none."""
        if self._threshold == WORD_RANGE:
            return np.arange(self._records)
        words = Keystream.fresh().uint64(self._records)
        return np.flatnonzero(words < np.uint64(self._threshold))
