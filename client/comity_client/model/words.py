"""Texts that came as words, each with a label, as what the trained module eats.

A model reads pieces of words. A word's label stands at its first piece; the later ones, the special
tokens and the padding carry none, and words that were cut off at the end are not there. So every
word has a *place*: where its label is read and learnt, or `NO_PLACE`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from comity_client.model.examples import (
    BUCKETS,
    Batch,
    Indices,
    TokenisedTexts,
    alike,
    buckets_of,
)
from comity_client.model.losses import IGNORED

NO_PLACE = -1  # of a word that was cut off, or of whose signs nothing is left


def places_of_words(piece_owners: Sequence[int | None], words: int) -> Indices:
    """Find the first piece of each word: shape (words,), int64.

    Args:
        piece_owners: for each piece the number of its word; None for a special token.
    """
    places = np.full(words, NO_PLACE)
    for place in reversed(range(len(piece_owners))):
        owner = piece_owners[place]
        if owner is not None:
            places[owner] = place
    return places


def read(places: Indices) -> Indices:
    """Leave out the words that have no place: int64, the others' places in order."""
    found: Indices = places[places != NO_PLACE]
    return found


def aligned(labels: Sequence[Indices], places: Sequence[Indices], width: int) -> torch.Tensor:
    """Put each word's class where its place is: shape (n, width), int64, elsewhere `IGNORED`."""
    targets = np.full((len(places), width), IGNORED)
    for row, classes, where in zip(targets, labels, places, strict=True):
        row[read(where)] = classes[where != NO_PLACE]
    return torch.from_numpy(targets)


def at_places(values: npt.NDArray[np.int64], places: Indices) -> Indices:
    """Read the value of each word: shape (words,), int64; `NO_PLACE` for words without one."""
    return np.where(places == NO_PLACE, NO_PLACE, values[places])


def rows_at(values: npt.NDArray[np.float32], places: Indices) -> npt.NDArray[np.float32]:
    """Read what was computed of each word: shape (words, …); NaN for words without a place."""
    found = values[np.maximum(places, 0)]
    found[places == NO_PLACE] = np.nan
    return found


class TokenisedWords(TokenisedTexts):
    """Words as token ids, for a module that begins with the embeddings.

    Args:
        places: of the words of each text among its tokens.

    Attributes:
        places: the same.
    """

    def __init__(
        self,
        tokens: Sequence[Sequence[int]],
        places: Sequence[Indices],
        *,
        first_position: int,
        padding: int,
    ) -> None:
        super().__init__(tokens, first_position=first_position, padding=padding)
        self.places = places

    def __repr__(self) -> str:
        return "TokenisedWords(...)"

    def targets(self, labels: Any) -> torch.Tensor:
        """Put each word's class where the word is read: shape (n, longest bucket), int64.

        Args:
            labels: for each text the classes of its words, int64.
        """
        return aligned(labels, self.places, max(self._buckets, default=BUCKETS[0]))


class WordFeatures:
    """Words as vectors of the frozen encoder, for a module that is the classifier alone.

    Args:
        vectors: for each text those of the words that have a place: shape (words, h), float32.
        places: of the words of each text among its tokens.

    Attributes:
        places: of the words of each text among its vectors.
    """

    def __init__(
        self, vectors: Sequence[npt.NDArray[np.float32]], places: Sequence[Indices]
    ) -> None:
        self._vectors = [torch.from_numpy(of_text) for of_text in vectors]
        self._buckets = buckets_of([len(of_text) for of_text in vectors])
        self.places = [_renumbered(of_text) for of_text in places]

    def __len__(self) -> int:
        return len(self._vectors)

    def __repr__(self) -> str:
        return "WordFeatures(...)"

    def batches(self, records: Indices) -> Iterator[Batch]:
        """Cut by bucket, texts of few words first."""
        for chosen, rows, length in alike(records, self._buckets):
            inputs = self._vectors[0].new_zeros(rows, length, self._vectors[0].shape[1])
            for row, record in enumerate(chosen):
                inputs[row, : len(self._vectors[record])] = self._vectors[record]
            yield Batch(inputs=(inputs,), records=chosen)

    def targets(self, labels: Any) -> torch.Tensor:
        """Put each word's class where its vector is: shape (n, longest bucket), int64.

        Args:
            labels: for each text the classes of its words, int64.
        """
        return aligned(labels, self.places, max(self._buckets, default=BUCKETS[0]))


def _renumbered(places: Indices) -> Indices:
    """Count only the words that have a place."""
    return np.where(places == NO_PLACE, NO_PLACE, np.cumsum(places != NO_PLACE) - 1)
