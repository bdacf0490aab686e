import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from comity_client.model.evaluate import accuracy, macro_f1, score
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
