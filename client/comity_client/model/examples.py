"""Texts as what the trained module eats: physical batches of fixed shape.

No record may touch another's gradient, not even its rounding. A matrix product of another shape
may add in another order, so the shape of a batch must not say who else is in it:

* a text is padded to the bucket of its own length, never to its neighbours';
* every batch of a bucket has the same number of rows, the last one filled up with filler rows,
  whose results are thrown away;
* the attention mask is built here, in full: transformers drops a mask that masks nothing, which
  would choose the attention kernel by the other rows of the batch.

A logical batch of any size becomes as many physical batches as it takes; none is truncated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

BUCKETS = (12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
TOKENS_PER_BATCH = 96  # 6 texts of 16: near full speed on a processor, and little filler
FEATURE_ROWS = 16  # their gradients stay in the second-level cache

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Batch:
    """One physical batch.

    Attributes:
        inputs: positional arguments of the trained module, each with the same number of rows.
        records: shape (n,), int64: which records the first n rows are; the others are filler.
    """

    inputs: tuple[torch.Tensor, ...]
    records: Indices


class Examples(Protocol):
    """A set of texts, prepared once."""

    def __len__(self) -> int: ...

    def batches(self, records: Indices) -> Iterator[Batch]:
        """Cut any choice of records into physical batches; no record is left out."""
        ...

    def targets(self, labels: Indices) -> torch.Tensor:
        """Put the classes of the rows into the form that `record_losses` takes: int64."""
        ...


class TokenisedTexts:
    """Texts as token ids, for a module that begins with the embeddings.

    Args:
        tokens: token ids of each text, special tokens included.
    """

    def __init__(self, tokens: Sequence[Sequence[int]]) -> None:
        self._tokens = [np.asarray(ids, dtype=np.int64) for ids in tokens]
        lengths = [len(ids) for ids in self._tokens]
        self._buckets = np.asarray(BUCKETS)[np.searchsorted(BUCKETS, lengths)]

    def __len__(self) -> int:
        return len(self._tokens)

    def __repr__(self) -> str:
        return "TokenisedTexts(...)"

    def batches(self, records: Indices) -> Iterator[Batch]:
        """Cut by bucket, short texts first."""
        for length in BUCKETS:
            alike = records[self._buckets[records] == length]
            rows = max(1, TOKENS_PER_BATCH // length)
            for start in range(0, len(alike), rows):
                yield self._batch(alike[start : start + rows], rows, length)

    def targets(self, labels: Indices) -> torch.Tensor:
        """Copy one class for each text: shape (n,), int64."""
        return torch.tensor(labels)

    def _batch(self, records: Indices, rows: int, length: int) -> Batch:
        ids = np.zeros((rows, length), dtype=np.int64)
        visible = np.zeros((rows, 1, 1, length), dtype=np.bool_)
        visible[:, :, :, 0] = True  # a filler row sees one token: no softmax over nothing
        for row, record in enumerate(records):
            tokens = self._tokens[record]
            ids[row, : len(tokens)] = tokens
            visible[row, :, :, : len(tokens)] = True
        # Written out for every row: Opacus needs one position gradient for each record.
        positions = torch.arange(length).repeat(rows, 1)
        inputs = (torch.from_numpy(ids), torch.from_numpy(visible), torch.zeros_like(positions))
        return Batch(inputs=(*inputs, positions), records=records)


class Features:
    """Texts as vectors of the frozen encoder, for a module that is the classifier alone.

    Args:
        vectors: shape (n, h), float32.
    """

    def __init__(self, vectors: npt.NDArray[np.float32]) -> None:
        self._vectors = torch.from_numpy(vectors)

    def __len__(self) -> int:
        return len(self._vectors)

    def __repr__(self) -> str:
        return "Features(...)"

    def batches(self, records: Indices) -> Iterator[Batch]:
        """Cut in the given order."""
        for start in range(0, len(records), FEATURE_ROWS):
            chosen = records[start : start + FEATURE_ROWS]
            rows = self._vectors.new_zeros(FEATURE_ROWS, self._vectors.shape[1])
            rows[: len(chosen)] = self._vectors[torch.from_numpy(chosen)]
            yield Batch(inputs=(rows,), records=chosen)

    def targets(self, labels: Indices) -> torch.Tensor:
        """Copy one class for each text: shape (n,), int64."""
        return torch.tensor(labels)
