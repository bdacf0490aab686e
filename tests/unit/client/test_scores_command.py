"""What was found is told with its error, or that it says nothing."""

from dataclasses import replace
from decimal import Decimal

import pytest
from tests.commands import comity
from tests.unit.client.test_rehearsal import Place, place  # noqa: F401

from comity_client.scores import Score
from comity_common.agreement import PrivateEvaluation

SCORES = PrivateEvaluation(
    share=Decimal("0.2"),
    after=(2, 3),
    spare=0,
    units=600,
    noise_multiplier=Decimal(20),
    loss_clip=Decimal(4),
    grid=64,
)


def test_scores_are_told_with_their_errors(place: Place) -> None:  # noqa: F811
    home = place.inst.home.path
    assert comity("client", "scores", "--home", home).output == "There is no score yet.\n"
    agreement = replace(place.write(), private_evaluation=SCORES)
    place.offer(agreement)
    table = place.inst.scores
    with place.inst.store.transaction() as tx:
        for round, total in ((3, (64 * 450, 64 * 150, 32 * 150)), (4, (64 * 20, 64 * 5, 0))):
            one = Score(round=round, certified=round - 1, vaults=3, total=total)
            table.note(tx, agreement.digest, one)
    first, second = comity("client", "scores", "--home", home, "--json").data
    assert (first["round"], first["after"], first["institutions"]) == (3, 2, 3)
    assert first["estimate"]["right"] == 0.75
    assert first["estimate"]["loss"] == pytest.approx(1.0)
    assert 0.04 < first["estimate"]["right_deviation"] < 0.06
    assert second["estimate"] is None  # 25 units, and noise of some forty
    text = comity("client", "scores", "northern-banks", "--home", home).output
    deviation = 100 * first["estimate"]["right_deviation"]
    assert f"after 2 rounds of training, 3 institutions: 75.0 % ± {deviation:.1f} right" in text
    assert "after 3 rounds of training, 3 institutions: the noise is too large to tell" in text
