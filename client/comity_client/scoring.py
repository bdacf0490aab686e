"""Scores a model on the rows that a vault has held out: exact counts, cut to a mechanism's bounds.

What is returned here has no noise yet and is as private as the rows; `contributions` adds the noise
before anything is masked. Imports torch.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from comity_client.model.classifier import Classifier
from comity_client.rows import Rows, WordRows
from comity_client.training.units import Units
from comity_common.privatescore import Counts, PrivateScore
from comity_common.vectors import Vector

Numbers = npt.NDArray[np.float64]


class Scoring:
    """The held-out rows of one agreement, prepared once.

    Args:
        rows: those that are held out, possibly none.
        units: of these rows.
    """

    def __init__(
        self,
        classifier: Classifier,
        rows: Rows | WordRows,
        units: Units,
        mechanism: PrivateScore,
    ) -> None:
        self._classifier = classifier
        self._examples = classifier.prepare(rows.texts)
        self._labels = rows.labels
        self._units = units
        self._mechanism = mechanism

    def __repr__(self) -> str:
        return "Scoring(...)"

    def counts(self, parameters: Vector) -> Iterator[Counts]:
        """Score each unit: the mean over its rows, or over all their words.

        Args:
            parameters: of the model, shape (d,), float32.
        """
        self._classifier.load(parameters)
        logarithms = self._classifier.log_probabilities(self._examples)
        for unit in range(len(self._units)):
            rows = self._units.rows_of(unit).tolist()
            right, losses = zip(
                *(_judged(logarithms[row], self._labels[row]) for row in rows), strict=True
            )
            yield self._mechanism.unit(
                np.concatenate(right).tolist(), np.concatenate(losses).tolist()
            )


def _judged(
    logarithms: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], Numbers]:
    """Judge a row.

    Args:
        logarithms: of the probabilities, shape (labels,), or (words, labels).
        truth: shape () or (words,), int64.

    Returns:
        whether the truth is the most probable class, and the loss in nats, of the text or of each
        word; a word that was not read is wrong, and its loss not finite.
    """
    each, classes = np.atleast_2d(logarithms), np.atleast_1d(truth)
    of_truth = each[np.arange(len(classes)), classes]
    is_right = np.isfinite(of_truth) & (each.argmax(axis=1) == classes)
    return is_right, -of_truth.astype(np.float64)
