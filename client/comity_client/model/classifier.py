"""A classifier of texts, or of their words, whose trained part is one flat vector.

The rest of the house sees a model as texts in, classes out, and a float32 vector that can be read
and set. Which parameters the vector holds, and that the encoder runs only once for each text while
it is frozen, stays in here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from comity_client.model.examples import Examples, Features, Indices, TokenisedTexts
from comity_client.model.families import Family
from comity_client.model.words import (
    TokenisedWords,
    WordFeatures,
    at_places,
    places_of_words,
    read,
    rows_at,
)
from comity_common.agreement import Task, TaskKind
from comity_common.tuning import Tune
from comity_common.vectors import Layout, Vector

Text = str | tuple[str, ...]
"""A text as a whole, or its words where each word has a label."""


class Classifier:
    """A BERT with a classifier on top, some of whose parameters are trained.

    Args:
        network: a classifier of `family`, or one with PEFT's layers in it; what requires a gradient
            is what is trained.
        tokenizer: of the same base.
        base_layers: how many encoder layers are the base's own.

    Attributes:
        layout: the trained parameters by name, sorted, so that no library's order of modules
            becomes part of an agreement.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        task: Task,
        tune: Tune,
        family: Family,
        base_layers: int,
    ) -> None:
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.task = task
        self.tune = tune
        self.family = family
        self.base_layers = base_layers
        trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.trained: dict[str, torch.nn.Parameter] = dict(sorted(trained.items()))
        self.layout = Layout(tuple((name, tuple(p.shape)) for name, p in self.trained.items()))
        self._flat = self._in_one_piece()
        self._initial = self.vector()
        self._encoded: dict[Text, npt.NDArray[np.float32]] = {}

    @property
    def head(self) -> torch.nn.Module:
        """The linear layer that gives the logits."""
        module: torch.nn.Module = self.network
        return module.get_submodule(self.family.classifiers[self.task.kind])

    @property
    def trained_module(self) -> torch.nn.Module:
        """The smallest module that holds every trained parameter and returns logits."""
        module: torch.nn.Module = self.network
        return self.head if self.tune is Tune.HEAD else module

    def initial_vector(self) -> Vector:
        """Copy the vector that the classifier was built with: float32, shape (d,)."""
        return self._initial.copy()

    def vector(self) -> Vector:
        """Copy the trained parameters: float32, shape (d,)."""
        return self.layout.flatten({n: p.detach().cpu().numpy() for n, p in self.trained.items()})

    def _in_one_piece(self) -> Vector:
        """Lay the trained parameters side by side, in the order of the layout: float32, (d,)."""
        flat = torch.empty(self.layout.size)
        views = self.layout.unflatten(flat.numpy())
        for name, parameter in self.trained.items():
            place = torch.from_numpy(views[name])
            place.copy_(parameter.detach())
            parameter.data = place
        return flat.numpy()

    @property
    def live(self) -> Vector | None:
        """The trained parameters themselves: what is written there is what the model runs with.

        float32, shape (d,); None where they lie elsewhere, as after a move to another device.
        """
        places = self.layout.unflatten(self._flat)
        are_here = all(
            parameter.data_ptr() == places[name].ctypes.data
            for name, parameter in self.trained.items()
        )
        return self._flat if are_here else None

    def load(self, vector: Vector) -> None:
        """Set the trained parameters.

        Args:
            vector: shape (d,), float32.

        Raises:
            LocalError: another shape or dtype.
        """
        arrays = self.layout.unflatten(vector)
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(torch.tensor(arrays[name]))

    def prepare(self, texts: Sequence[Text]) -> Examples:
        """Tokenise texts; with a frozen encoder run it instead, once ever for each text."""
        tokenised = self._tokenise(texts)
        if self.tune is not Tune.HEAD:
            return tokenised
        unseen = [text for text in dict.fromkeys(texts) if text not in self._encoded]
        self._encoded.update(zip(unseen, self.encode(unseen), strict=True))
        encoded = [self._encoded[text] for text in texts]
        if isinstance(tokenised, TokenisedWords):
            return WordFeatures(encoded, tokenised.places)
        return Features(np.array(encoded, dtype=np.float32))

    def encode(self, texts: Sequence[Text]) -> list[npt.NDArray[np.float32]]:
        """Return what the classifier sees of each text.

        Returns:
            float32, shape (h,) for a text, (words that are read, h) for words.
        """
        seen: list[torch.Tensor] = []
        watching = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

        def features(*inputs: torch.Tensor) -> torch.Tensor:
            self.network(*inputs)
            return seen.pop()

        tokenised = self._tokenise(texts)
        try:
            if isinstance(tokenised, TokenisedWords):
                places = tokenised.places
                return self._run(tokenised, features, lambda n, row: row[read(places[n])])
            return self._run(tokenised, features)
        finally:
            watching.remove()

    def probabilities(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Classify prepared texts: float32, shape (n, number of labels), rows sum to 1."""
        module = self.trained_module
        rows = self._run(examples, lambda *inputs: torch.softmax(logits(module, inputs), dim=-1))
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(self.task.labels))

    def log_probabilities(self, examples: Examples) -> list[npt.NDArray[np.float32]]:
        """Classify prepared texts, or each word of them, in logarithms.

        Returns:
            float32, shape (number of labels,) for a text, (words, number of labels) for words; NaN
            for a word that is not read.
        """
        module = self.trained_module

        def logarithms(*inputs: torch.Tensor) -> torch.Tensor:
            return torch.log_softmax(logits(module, inputs), dim=-1)

        if isinstance(examples, TokenisedWords | WordFeatures):
            places = examples.places
            return self._run(examples, logarithms, lambda n, row: rows_at(row, places[n]))
        return self._run(examples, logarithms)

    def guess(self, examples: Examples) -> list[Indices]:
        """Find the most probable class of each prepared text, or of each word of it.

        Returns:
            int64, shape () for a text, (words,) for words; `NO_PLACE` for one that is not read.
        """
        module = self.trained_module

        def best(*inputs: torch.Tensor) -> torch.Tensor:
            return logits(module, inputs).argmax(dim=-1)

        if isinstance(examples, TokenisedWords | WordFeatures):
            places = examples.places
            return self._run(examples, best, lambda n, row: at_places(row, places[n]))
        return self._run(examples, best)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Name the most probable label of each text."""
        return [self.task.labels[best] for best in self.guess(self.prepare(texts))]

    def _tokenise(self, texts: Sequence[Text]) -> TokenisedTexts:
        config, words = self.network.config, self.task.kind is TaskKind.TOKEN_CLASSIFICATION
        first, padding = self.family.first_position(config), config.pad_token_id or 0
        tokens: list[list[int]] = []
        places: list[Indices] = []
        if texts:  # for none the tokenizer has no answer
            encoded = self.tokenizer(
                list(map(list, texts)) if words else list(texts),
                is_split_into_words=words,
                truncation=True,
                max_length=self.task.max_tokens,
            )
            tokens = encoded["input_ids"]
            if words:
                places = [
                    places_of_words(encoded.word_ids(n), len(text)) for n, text in enumerate(texts)
                ]
        if words:
            return TokenisedWords(tokens, places, first_position=first, padding=padding)
        return TokenisedTexts(tokens, first_position=first, padding=padding)

    def _run(
        self,
        examples: Examples,
        forward: Callable[..., torch.Tensor],
        pick: Callable[[int, npt.NDArray[Any]], npt.NDArray[Any]] = lambda _, row: row,
    ) -> list[npt.NDArray[Any]]:
        """Run all examples in physical batches, and return for each what is picked of its row."""
        rows: list[Any] = [None] * len(examples)
        self.network.eval()
        with torch.no_grad():
            for batch in examples.batches(np.arange(len(examples))):
                inputs = (array.to(self.network.device) for array in batch.inputs)
                output = forward(*inputs).cpu().numpy()
                for record, row in zip(batch.records, output, strict=False):
                    rows[record] = pick(record, row)
        return rows


def logits(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Run the trained module, a whole BERT or a linear layer alone."""
    output = module(*inputs)
    return output if isinstance(output, torch.Tensor) else output.logits
