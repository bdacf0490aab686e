"""Scores of a classifier: accuracy and macro F1 of classes, F1 of spans, in numpy.

Counts per class are exact and would say much about private rows: such scores are for a public
set, or for an institution's own eyes.

Words that a model did not read, because the text was cut off before them, count as guessed wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comity_client.rows import Rows, WordRows
from comity_common.errors import LocalError

Classes = npt.NDArray[np.int64]

NO_GUESS = -1
OUTSIDE = "O"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How well classes were guessed, each 0 to 1.

    Attributes:
        span_f1: of spans of words; None unless the labels mark spans.
    """

    accuracy: float
    macro_f1: float
    span_f1: float | None = None


def score(truth: Classes, guessed: Classes) -> Scores:
    """Compare guessed classes with the true ones.

    Args:
        truth, guessed: shape (n,), int64, n at least 1.
    """
    return Scores(accuracy=accuracy(truth, guessed), macro_f1=macro_f1(truth, guessed))


def score_rows(rows: Rows | WordRows, guessed: Sequence[Classes], labels: Sequence[str]) -> Scores:
    """Compare what was guessed of each row with its labels.

    Args:
        rows: at least one.
        guessed: of each row, as `Classifier.guess` returns it.
        labels: the classes' names.
    """
    if isinstance(rows, WordRows):
        return score_words(rows.labels, guessed, labels)
    return score(rows.labels, np.asarray(guessed, dtype=np.int64))


def score_words(
    truth: Sequence[Classes], guessed: Sequence[Classes], labels: Sequence[str]
) -> Scores:
    """Compare the guessed classes of words with the true ones.

    Args:
        truth, guessed: of each text shape (words,), int64, in all at least one; guesses may be
            `NO_GUESS`.
        labels: the classes' names.
    """
    every, guess = np.concatenate(truth), np.concatenate(guessed)
    return Scores(
        accuracy=accuracy(every, guess),
        macro_f1=macro_f1(every, guess),
        span_f1=span_f1(truth, guessed, labels) if marks_spans(labels) else None,
    )


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
    given = guessed[guessed != NO_GUESS]
    seen = np.bincount(truth, minlength=classes) + np.bincount(given, minlength=classes)
    return float(np.mean(2 * hits[seen > 0] / seen[seen > 0]))


def marks_spans(labels: Sequence[str]) -> bool:
    """Tell whether labels mark spans as IOB2 does: `O`, and others that begin with B- or I-."""
    return OUTSIDE in labels and all(
        label.startswith(("B-", "I-")) for label in labels if label != OUTSIDE
    )


def span_f1(truth: Sequence[Classes], guessed: Sequence[Classes], labels: Sequence[str]) -> float:
    """Return the F1 of all spans together, a hit being the same words and the same kind, 0 to 1.

    As the scorer of CoNLL-2003 counts: a span begins with B-, or with an I- that goes on with no
    span of its kind. 1 where nobody sees a span.
    """
    hits = seen = 0
    for true, guess in zip(truth, guessed, strict=True):
        _check(true, guess)
        real, found = (set(_spans(_names(classes, labels))) for classes in (true, guess))
        hits += len(real & found)
        seen += len(real) + len(found)
    return 2 * hits / seen if seen else 1.0


def _names(classes: Classes, labels: Sequence[str]) -> list[str]:
    """Name classes; what was not guessed is outside any span."""
    return [OUTSIDE if place == NO_GUESS else labels[place] for place in classes.tolist()]


def _spans(names: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield kind, first word and the word after the last of each span."""
    kind: str | None = None
    start = 0
    for place, name in enumerate([*names, OUTSIDE]):
        mark, _, new = name.partition("-")
        if kind is not None and (mark != "I" or new != kind):
            yield kind, start, place
            kind = None
        if kind is None and name != OUTSIDE:
            kind, start = new, place


def _check(truth: Classes, guessed: Classes) -> None:
    if truth.shape != guessed.shape or truth.ndim != 1 or truth.size == 0:
        raise LocalError(f"expected as many guesses as labels, got {guessed.size} for {truth.size}")
