"""The envelope of `--json`: one line, fixed names, finite numbers."""

import json
from dataclasses import replace

import pytest

from comity_common.errors import LocalError
from comity_local.results import DemoResult, Score, envelope

DATA = {
    "workdir", "model_dir", "report", "seconds", "full_model_bytes", "baseline", "federated",
    "without_dp", "alone", "rounds", "institutions",
}  # fmt: skip
ROUND = {"n", "void", "survivors", "seconds", "accuracy", "macro_f1"}
INSTITUTION = {
    "id", "jurisdiction", "rows", "epsilon", "epsilon_reserved", "delta", "rounds", "bytes_sent",
    "bytes_received",
}  # fmt: skip


def test_the_envelope_is_one_line_with_the_names_that_were_promised(result: DemoResult) -> None:
    line = envelope(result)
    assert "\n" not in line
    whole = json.loads(line)
    assert set(whole) == {"ok", "data"}
    assert whole["ok"] is True
    data = whole["data"]
    assert set(data) >= DATA
    assert all(set(one) >= ROUND for one in data["rounds"])
    assert all(set(one) >= INSTITUTION for one in data["institutions"])
    for score in (data["baseline"], data["federated"], data["without_dp"]):
        assert set(score) == {"accuracy", "macro_f1"}
    assert set(data["alone"]) == {"spree-bank", "banco-ipe", "ziwa-sacco"}
    assert data["alone"]["banco-ipe"] == {"accuracy": 0.61, "macro_f1": 0.6}


def test_paths_are_texts_and_a_void_round_has_null_scores(result: DemoResult) -> None:
    data = json.loads(envelope(result))["data"]
    assert data["model_dir"] == "/tmp/run/model"
    void = data["rounds"][1]
    assert void["accuracy"] is None
    assert void["macro_f1"] is None
    assert void["reason"] == "1 upload came, 3 are needed"
    assert data["rounds"][2]["survivors"] == ["banco-ipe", "ziwa-sacco"]


def test_training_without_privacy_has_null_epsilon_and_no_largest(result: DemoResult) -> None:
    first, *others = result.institutions
    bare = replace(result, institutions=(replace(first, epsilon=None), *others))
    assert json.loads(envelope(bare))["data"]["institutions"][0]["epsilon"] is None
    assert bare.largest_epsilon() is None
    assert result.largest_epsilon() == 6.5


def test_what_is_not_a_number_never_gets_into_the_envelope(result: DemoResult) -> None:
    with pytest.raises(LocalError, match="between 0 and 1"):
        Score(accuracy=float("nan"), macro_f1=0.5)
    with pytest.raises(ValueError, match="JSON"):
        envelope(replace(result, seconds=float("nan")))


def test_best_alone_and_bytes_per_round(result: DemoResult) -> None:
    best = result.best_alone()
    assert best is not None
    assert best[0] == "ziwa-sacco"
    assert result.sent_per_round() == 46_200 * 3 / 5
    assert replace(result, alone={}).best_alone() is None
