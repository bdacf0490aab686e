"""Runs an exported model as anybody would, with plain transformers and no agreement at hand.

model = Exported(directory)
best = model.probabilities(["my card was stolen"]).argmax(axis=1)
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from comity_client.model.build import load_tokenizer, quiet
from comity_client.model.families import read_config
from comity_client.model.words import at_places, places_of_words
from comity_common.errors import LocalError

TEXTS_AT_ONCE = 32

Text = str | tuple[str, ...]
"""A text as a whole, or its words."""


class Exported:
    """A model that `export` wrote.

    Attributes:
        labels: in the order of the classes.
        words: whether it classifies words.

    Raises:
        LocalError: there is no exported model in the directory.
    """

    def __init__(self, directory: Path) -> None:
        try:
            family, config = read_config(directory)
            (architecture,) = config.architectures
            self.words = architecture.endswith("ForTokenClassification")
            kind = (
                AutoModelForTokenClassification
                if self.words
                else AutoModelForSequenceClassification
            )
            self._tokenizer = load_tokenizer(directory, words=self.words)
            with quiet():
                self._model: Any = kind.from_pretrained(
                    directory, local_files_only=True, use_safetensors=True
                )
        except (LocalError, OSError, ValueError, TypeError):
            raise LocalError(f"expected an exported model in {directory}") from None
        self._longest = family.longest_text(config)
        self.labels: list[str] = [config.id2label[index] for index in range(config.num_labels)]

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the probability of each label for each text: float32, shape (n, labels)."""
        probabilities = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for chosen, logits, _ in self._run(texts):
            probabilities[chosen] = torch.softmax(logits, dim=-1).numpy()
        return probabilities

    def guess(self, texts: Sequence[Text]) -> list[npt.NDArray[np.int64]]:
        """Find the most probable class of each text, or of each word of it.

        Returns:
            int64, shape () for a text, (words,) for words, -1 for a word that was not read.
        """
        guessed: list[Any] = [None] * len(texts)
        for chosen, logits, encoded in self._run(texts):
            for row, (place, best) in enumerate(
                zip(chosen, logits.argmax(dim=-1).numpy(), strict=True)
            ):
                guessed[place] = best
                if self.words:
                    owners = encoded.word_ids(row)
                    guessed[place] = at_places(best, places_of_words(owners, len(texts[place])))
        return guessed

    def _run(self, texts: Sequence[Text]) -> Iterator[tuple[list[int], torch.Tensor, Any]]:
        """Run texts of like length together; yields their places, logits and encodings."""
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            chosen = by_length[start : start + TEXTS_AT_ONCE]
            encoded = self._tokenizer(
                [list(texts[n]) if self.words else texts[n] for n in chosen],
                is_split_into_words=self.words,
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            )
            with torch.inference_mode():
                logits = self._model(**encoded).logits
            yield chosen, logits, encoded
