"""What a person reads before signing says what is promised, and also that nothing is."""

from dataclasses import replace
from decimal import Decimal

import pytest
from tests.simulation.federation import make_agreement

from comity_client.terms import in_words
from comity_common.agreement import Agreement, Gate, Noise, PrivateEvaluation, Unit
from comity_common.crypto.sign import SigningKeys
from comity_common.ids import InstitutionId

SCORES = PrivateEvaluation(
    share=Decimal("0.20"),
    after=(1,),
    spare=2,
    units=600,
    noise_multiplier=Decimal(20),
    loss_clip=Decimal(4),
    grid=64,
)
IDS = [InstitutionId(f"inst-0{k}") for k in range(3)]


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    return make_agreement({id: SigningKeys.generate() for id in IDS}, SigningKeys.generate())


@pytest.mark.parametrize("unit", list(Unit))
def test_the_guarantee_is_said_of_what_is_protected(agreement: Agreement, unit: Unit) -> None:
    words = in_words(replace(agreement, privacy=replace(agreement.privacy, unit=unit)), IDS[0])
    assert f"at most ε = 8 at δ = 0.00001 for each single {unit}, all rounds" in words
    assert f"a {unit} takes part with probability 0.1;" in words


def test_an_agreement_without_privacy_does_not_read_like_one_of_perfect_privacy(
    agreement: Agreement,
) -> None:
    none = Decimal(0)
    privacy = replace(
        agreement.privacy, noise=Noise.NONE, gate=Gate.NONE, order=0, epsilon=none, delta=none
    )
    training = replace(agreement.training, noise_multiplier=none)
    words = in_words(replace(agreement, privacy=privacy, training=training), IDS[0])
    assert "Privacy: none at all, ε = ∞." in words
    assert "ε = 0" not in words


def test_scores_are_told_with_their_error_before_they_are_bought(agreement: Agreement) -> None:
    assert "Scores" not in in_words(agreement, IDS[0])
    words = in_words(replace(agreement, private_evaluation=SCORES), IDS[0])
    assert "after round 1 the model is scored on 20 % of each institution's records" in words
    assert "At most 3 scores, 2 of them spare, are paid for out of the same ε; alone" in words
    assert "cost ε = 0.32" in words
    assert "a round, or one of 36 bytes where it is a score" in words
    deviation = 100 * SCORES.score.expected_deviation(600, 3)
    assert f"± {deviation:.1f} points" in words
    assert 1 < deviation < 10
    assert "hold out 600 records together" in words
    assert "Nothing can be read" not in words
    loud = replace(SCORES, noise_multiplier=Decimal(100))
    told = in_words(replace(agreement, private_evaluation=loud), IDS[0])
    assert "Nothing can be read from so much noise" in told
