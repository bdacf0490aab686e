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
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

BUCKETS = (12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
TOKENS_PER_BATCH = 96  # 6 texts of 16: near full speed on a processor, and little filler
FEATURE_ROWS = 128  # a batch costs as much as some 30 rows; no row's gradient is written out

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

    def targets(self, labels: Any) -> torch.Tensor:
        """Put the rows' labels into the form that `record_losses` takes: int64."""
        ...


def buckets_of(lengths: Sequence[int]) -> Indices:
    """Return the bucket of each length, at most 512: shape (n,), int64."""
    return np.asarray(BUCKETS)[np.searchsorted(BUCKETS, lengths)]


def alike(records: Indices, buckets: Indices) -> Iterator[tuple[Indices, int, int]]:
    """Cut records by bucket, short ones first, and each bucket into batches of its own shape.

    Args:
        buckets: of every record that there is.

    Yields:
        the records of a batch, how many rows it has, filler in, and its length.
    """
    for length in BUCKETS:
        of_bucket = records[buckets[records] == length]
        rows = max(1, TOKENS_PER_BATCH // length)
        for start in range(0, len(of_bucket), rows):
            yield of_bucket[start : start + rows], rows, length


class TokenisedTexts:
    """Texts as token ids, for a module that begins with the embeddings.

    Args:
        tokens: token ids of each text, special tokens included.
        first_position: of the first token of each text.
        padding: the id of the token that fills up.
    """

    def __init__(
        self, tokens: Sequence[Sequence[int]], *, first_position: int = 0, padding: int = 0
    ) -> None:
        self._tokens = [np.asarray(ids, dtype=np.int64) for ids in tokens]
        self._first_position = first_position
        self._padding = padding
        self._buckets = buckets_of([len(ids) for ids in self._tokens])

    def __len__(self) -> int:
        return len(self._tokens)

    def __repr__(self) -> str:
        return "TokenisedTexts(...)"

    def batches(self, records: Indices) -> Iterator[Batch]:
        """Cut by bucket, short texts first."""
        for chosen, rows, length in alike(records, self._buckets):
            yield self._batch(chosen, rows, length)

    def targets(self, labels: Any) -> torch.Tensor:
        """Copy the class of each text: shape (n,), int64.

        Args:
            labels: the same.
        """
        return torch.tensor(labels)

    def _batch(self, records: Indices, rows: int, length: int) -> Batch:
        ids = np.full((rows, length), self._padding)
        visible = np.zeros((rows, 1, 1, length), dtype=np.bool_)
        visible[:, :, :, 0] = True  # a filler row sees one token: no softmax over nothing
        for row, record in enumerate(records):
            tokens = self._tokens[record]
            ids[row, : len(tokens)] = tokens
            visible[row, :, :, : len(tokens)] = True
        # Written out for every row: Opacus needs one position gradient for each record.
        positions = (self._first_position + torch.arange(length)).repeat(rows, 1)
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

    def targets(self, labels: Any) -> torch.Tensor:
        """Copy the class of each text: shape (n,), int64.

        Args:
            labels: the same.
        """
        return torch.tensor(labels)
