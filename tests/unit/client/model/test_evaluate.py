import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from comity_client.model.evaluate import (
    NO_GUESS,
    accuracy,
    macro_f1,
    marks_spans,
    score,
    score_rows,
    span_f1,
)
from comity_client.rows import Rows, WordRows
from comity_common.errors import LocalError


@pytest.mark.parametrize("classes", [2, 5, 77])
@pytest.mark.parametrize("count", [1, 3, 200])
def test_scores_equal_those_of_scikit_learn(classes: int, count: int) -> None:
    rng = np.random.default_rng(classes * 1000 + count)
    for _ in range(20):
        truth = rng.integers(0, classes, count)
        guessed = np.where(rng.random(count) < 0.5, truth, rng.integers(0, classes, count))
        scores = score(truth, guessed)
        assert scores.accuracy == pytest.approx(accuracy_score(truth, guessed))
        wanted = f1_score(truth, guessed, average="macro", zero_division=0)
        assert scores.macro_f1 == pytest.approx(wanted)


def test_a_set_without_texts_has_no_score() -> None:
    empty = np.array([], dtype=np.int64)
    for function in (accuracy, macro_f1):
        with pytest.raises(LocalError, match="as many guesses as labels"):
            function(empty, empty)
        with pytest.raises(LocalError, match="got 2 for 3"):
            function(np.zeros(3, dtype=np.int64), np.zeros(2, dtype=np.int64))


LABELS = ("O", "B-X", "I-X", "B-Y", "I-Y")


def _classes(*texts: str) -> list[np.ndarray]:  # type: ignore[type-arg]
    names = {"o": 0, "b": 1, "i": 2, "B": 3, "I": 4, "-": NO_GUESS}
    return [np.array([names[sign] for sign in text]) for text in texts]


@pytest.mark.parametrize(
    ("truth", "guessed", "wanted"),
    [
        (["obio"], ["obio"], 1.0),
        (["obio"], ["oboo"], 0.0),  # a part of a span is no hit
        (["obiob"], ["obioo"], 2 / 3),
        (["bb"], ["bi"], 0.0),  # two spans are not one
        (["bi"], ["bI"], 0.0),  # an I- of another kind begins a span of its own
        (["bI"], ["bB"], 1.0),
        (["oi"], ["ob"], 1.0),  # an I- that goes on with nothing begins a span
        (["bi", "o"], ["b", "io"], None),
        (["bio"], ["bi-"], 1.0),  # a word that is not read is outside
        (["biB"], ["---"], 0.0),
        (["ooo"], ["ooo"], 1.0),
        (["ooo"], ["obo"], 0.0),
        (["b", "b"], ["b", "o"], 2 / 3),
    ],
)
def test_spans_are_hit_whole_or_not_at_all(
    truth: list[str], guessed: list[str], wanted: float | None
) -> None:
    if wanted is None:
        with pytest.raises(LocalError, match="as many guesses as labels"):
            span_f1(_classes(*truth), _classes(*guessed), LABELS)
        return
    found = span_f1(_classes(*truth), _classes(*guessed), LABELS)
    assert found == pytest.approx(wanted)


def test_only_labels_that_mark_spans_have_spans() -> None:
    assert marks_spans(LABELS)
    assert marks_spans(("O", "B-X"))
    assert not marks_spans(("NOUN", "VERB"))
    assert not marks_spans(("B-X", "I-X"))
    assert not marks_spans(("O", "X"))


def test_words_are_scored_over_all_texts_and_unread_ones_are_wrong() -> None:
    rows = WordRows(texts=(("a", "b"), ("c", "d")), labels=tuple(_classes("ob", "ii")))
    scores = score_rows(rows, _classes("ob", "i-"), LABELS)
    assert scores.accuracy == 3 / 4
    assert scores.macro_f1 == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert scores.span_f1 == pytest.approx(2 * 1 / (2 + 2))
    assert score_rows(rows, _classes("ob", "i-"), ("O", "A", "B")).span_f1 is None


def test_texts_are_scored_as_before() -> None:
    rows = Rows(texts=("a", "b"), labels=np.array([0, 1]))
    scores = score_rows(rows, [np.int64(0), np.int64(0)], LABELS)
    assert (scores.accuracy, scores.span_f1) == (0.5, None)
