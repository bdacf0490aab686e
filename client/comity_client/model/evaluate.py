"""Scores of a classifier: accuracy and macro F1, in numpy.

Counts per class are exact and would say much about private rows: such scores are for a public
set, or for an institution's own eyes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comity_common.errors import LocalError

Classes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How well classes were guessed, each 0 to 1."""

    accuracy: float
    macro_f1: float


def score(truth: Classes, guessed: Classes) -> Scores:
    """Compare guessed classes with the true ones.

    Args:
        truth, guessed: shape (n,), int64, n at least 1.
    """
    return Scores(accuracy=accuracy(truth, guessed), macro_f1=macro_f1(truth, guessed))


def accuracy(truth: Classes, guessed: Classes) -> float:
    """Return the share of right guesses, 0 to 1."""
    _check(truth, guessed)
    return float(np.mean(truth == guessed))


def macro_f1(truth: Classes, guessed: Classes) -> float:
    """Return the mean F1 over the classes that are true or guessed somewhere, 0 to 1.

    F1 of a class is 2 · hits / (times true + times guessed), 0 when it is never guessed right.
    """
    _check(truth, guessed)
    classes = int(max(truth.max(), guessed.max())) + 1
    hits = np.bincount(truth[truth == guessed], minlength=classes)
    seen = np.bincount(truth, minlength=classes) + np.bincount(guessed, minlength=classes)
    return float(np.mean(2 * hits[seen > 0] / seen[seen > 0]))


def _check(truth: Classes, guessed: Classes) -> None:
    if truth.shape != guessed.shape or truth.ndim != 1 or truth.size == 0:
        raise LocalError(f"expected as many guesses as labels, got {guessed.size} for {truth.size}")
