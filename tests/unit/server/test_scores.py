"""What an operator sees of a score: what its sum says, as long as the sum is there."""

import doctest
from pathlib import Path
from typing import Any

import pytest
from tests.commands import comity
from tests.simulation.federation import World
from tests.simulation.storedrounds import Played

from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import Plan
from comity_server import progress
from comity_server.aggregator import total_path
from comity_server.scores import score_of

SILENT = {"inst-00", "inst-04"}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play a round of training, a score that lost one, and a void one."""
    played = Played(
        tmp_path_factory.mktemp("played") / "operator", ring_width=24, scored_after=(1, 2)
    )
    assert played.round().survivors
    assert played.round(dropped={"inst-02"}, kind=RoundKind.EVALUATE).survivors
    assert played.round(silent=SILENT, kind=RoundKind.EVALUATE).void
    return played


def shown(played: Played) -> tuple[list[str], dict[str, Any]]:
    """What `run show` prints, line by line, and what a script gets."""
    asked = ("server", "run", "show", "simulated", "--home", played.home.path)
    return comity(*asked).output.splitlines(), comity(*asked, "--json").data


def test_a_run_shows_what_each_score_says(played: Played) -> None:
    lines, data = shown(played)
    assert lines[0] == "simulated: running, 1 of 3 rounds certified, 1 of 2 scores"
    assert [one["kind"] for one in data["rounds"]] == ["train", "evaluate", "evaluate"]
    assert [data[name] for name in ("certified", "scored", "of_scores", "attempts")] == [1, 1, 2, 8]

    train, score, void = data["rounds"]
    assert (train["score"], void["score"]) == (None, None)
    right, wrong, _ = score["score"]["counts"]
    estimate = score["score"]["estimate"]
    assert estimate["right"] == right / (right + wrong)
    assert f"score {100 * estimate['right']:.1f} % ± " in lines[2]
    assert lines[2].endswith("  inst-00, inst-01, inst-03, inst-04")
    assert "score void: 3 of 4 reveals arrived" in lines[3]


def test_a_score_whose_sum_is_gone_says_so(played: Played) -> None:
    total = total_path(played.home.totals, played.agreement.digest, 2)
    total.rename(total.with_suffix(".away"))
    lines, data = shown(played)
    total.with_suffix(".away").rename(total)
    assert data["rounds"][1]["score"] is None
    assert "score its sum is not on this disk any more  inst-00" in lines[2]


def test_a_score_in_which_the_noise_drowns_everything_says_so(tmp_path: Path) -> None:
    def counts_nothing(world: World, plan: Plan) -> None:
        for who in plan.participants:
            world.deal(plan, who, _Nothing())

    played = Played(tmp_path / "operator", 3, scored_after=(1,))
    assert played.round().survivors
    assert played.round(kind=RoundKind.EVALUATE, mischief=counts_nothing).survivors
    lines, data = shown(played)
    assert data["rounds"][1]["score"] == {
        "counts": [0, 0, 0],
        "estimate": None,
        "words": "the noise is too large to tell",
    }
    assert "score the noise is too large to tell  inst-00" in lines[2]


class _Nothing:
    def randint(self, _least: int, _most: int) -> int:
        return 0


def test_an_agreement_tells_how_certain_its_scores_will_be(played: Played) -> None:
    asked = ("server", "agreement", "show", "simulated", "--home", played.home.path)
    data = comity(*asked, "--json").data["scores"]
    scores = played.agreement.private_evaluation
    assert data == {
        "after": [1, 2],
        "expected_deviation": scores.score.expected_deviation(100, 5),
        "readable": True,
    }
    assert (
        "  scores  Scored on private rows after round 1, 2, each time to about ± 1.0 points."
        in comity(*asked).output.splitlines()
    )


def test_an_agreement_whose_scores_say_nothing_is_told_as_such(tmp_path: Path) -> None:
    played = Played(tmp_path / "operator", 3, scored_after=(1,), score_units=5)
    asked = ("server", "agreement", "show", "simulated", "--home", played.home.path)
    assert comity(*asked, "--json").data["scores"]["readable"] is False
    assert "too much noise to read anything from: expect no result" in comity(*asked).output


def test_a_round_of_training_has_no_score(played: Played) -> None:
    for number, has_one in ((1, False), (2, True), (3, False)):
        record = played.history.get(played.agreement.digest, number)
        total = total_path(played.home.totals, played.agreement.digest, number)
        assert (score_of(played.agreement, record, total) is not None) is has_one


def test_the_history_counts_scores_apart(played: Played) -> None:
    head = played.history.head(played.agreement)
    counted = (head.begun, head.begun_scores, head.certified, head.scored)
    assert counted == (3, 2, 1, 1)
    moved = [one.moved_the_model for one in played.history.rounds(played.agreement.digest)]
    assert moved == [True, False, False]


def test_the_examples_are_true() -> None:
    assert doctest.testmod(progress).failed == 0
