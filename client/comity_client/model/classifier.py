"""A text classifier whose trained part is one flat vector.

The rest of the house sees a model as texts in, probabilities out, and a float32 vector that can
be read and set. Which parameters the vector holds, and that the encoder runs only once for each
text while it is frozen, stays in here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from comity_client.model.examples import Examples, Features, TokenisedTexts
from comity_common.agreement import Task
from comity_common.tuning import Tune
from comity_common.vectors import Layout, Vector


class Classifier:
    """A BERT with a classifier on top, some of whose parameters are trained.

    Args:
        network: a `BertForSequenceClassification`, or one with PEFT's layers in it; what
            requires a gradient is what is trained.
        tokenizer: of the same base.
        base_layers: how many encoder layers are the base's own.

    Attributes:
        layout: the trained parameters by name, sorted, so that no library's order of modules
            becomes part of an agreement.
    """

    def __init__(
        self, network: Any, tokenizer: Any, task: Task, tune: Tune, base_layers: int
    ) -> None:
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.task = task
        self.tune = tune
        self.base_layers = base_layers
        trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.trained: dict[str, torch.nn.Parameter] = dict(sorted(trained.items()))
        self.layout = Layout(tuple((name, tuple(p.shape)) for name, p in self.trained.items()))
        self._initial = self.vector()
        self._encoded: dict[str, npt.NDArray[np.float32]] = {}

    @property
    def trained_module(self) -> torch.nn.Module:
        """The smallest module that holds every trained parameter and returns logits."""
        module: torch.nn.Module = self.network
        return module.get_submodule("classifier") if self.tune is Tune.HEAD else module

    def initial_vector(self) -> Vector:
        """Copy the vector that the classifier was built with: float32, shape (d,)."""
        return self._initial.copy()

    def vector(self) -> Vector:
        """Copy the trained parameters: float32, shape (d,)."""
        return self.layout.flatten({n: p.detach().numpy() for n, p in self.trained.items()})

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

    def prepare(self, texts: Sequence[str]) -> Examples:
        """Tokenise texts; with a frozen encoder run it instead, once ever for each text."""
        if self.tune is not Tune.HEAD:
            return self._tokenise(texts)
        unseen = [text for text in dict.fromkeys(texts) if text not in self._encoded]
        self._encoded.update(zip(unseen, self.encode(unseen), strict=True))
        return Features(np.array([self._encoded[text] for text in texts], dtype=np.float32))

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Pool each text into the vector that the classifier sees: float32, shape (n, h)."""
        bert = self.network.bert
        return self._run(
            self._tokenise(texts),
            lambda *inputs: (
                bert(
                    inputs[0],
                    attention_mask=inputs[1],
                    token_type_ids=inputs[2],
                    position_ids=inputs[3],
                ).pooler_output
            ),
            self.network.config.hidden_size,
        )

    def probabilities(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Classify prepared texts: float32, shape (n, number of labels), rows sum to 1."""
        module = self.trained_module
        return self._run(
            examples,
            lambda *inputs: torch.softmax(logits(module, inputs), dim=1),
            len(self.task.labels),
        )

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Name the most probable label of each text."""
        best = self.probabilities(self.prepare(texts)).argmax(axis=1)
        return [self.task.labels[index] for index in best]

    def _tokenise(self, texts: Sequence[str]) -> TokenisedTexts:
        if not texts:  # for which the tokenizer has no answer
            return TokenisedTexts([])
        tokens = self.tokenizer(list(texts), truncation=True, max_length=self.task.max_tokens)
        return TokenisedTexts(tokens["input_ids"])

    def _run(self, examples: Examples, forward: Any, width: int) -> npt.NDArray[np.float32]:
        results = np.empty((len(examples), width), dtype=np.float32)
        self.network.eval()
        with torch.no_grad():
            for batch in examples.batches(np.arange(len(examples))):
                output = forward(*batch.inputs)[: len(batch.records)]
                results[batch.records] = output.numpy()
        return results


def logits(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Run the trained module, a whole BERT or a linear layer alone."""
    output = module(*inputs)
    return output if isinstance(output, torch.Tensor) else output.logits
