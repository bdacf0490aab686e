"""Three lanes of a total are read as what was counted, below zero too."""

import doctest
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.federation import make_agreement

from comity_common import scoresum
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import LocalError
from comity_common.fixedpoint import RING_WIDTHS
from comity_common.privatescore import PrivateScore
from comity_common.scoresum import read_score, score_sum
from comity_common.secagg.packing import pack, unpack

KEYS = {f"inst-{k}": SigningKeys.generate() for k in range(3)}


@given(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=3, max_size=3))
@pytest.mark.parametrize("width", RING_WIDTHS)
def test_what_was_packed_is_read(width, counts):
    lanes = np.array(counts, np.int32).view(np.uint32)
    raw = bytearray(3 * width // 8)
    pack(lanes, width, memoryview(raw))
    assert list(score_sum(unpack(raw, width), width)) == counts
    assert list(score_sum(lanes, width)) == counts


def test_a_sum_of_other_lanes_or_of_another_agreement_is_refused():
    with pytest.raises(LocalError, match=r"expected 3 lanes, got \[50\]"):
        score_sum(np.zeros(50, np.uint32), 32)
    with pytest.raises(LocalError, match="an agreement with scores"):
        read_score(make_agreement(KEYS, SigningKeys.generate()), np.zeros(3, np.uint32), 3)


def test_a_score_has_the_deviation_of_as_many_vaults_as_are_in_it():
    agreement = make_agreement(KEYS, SigningKeys.generate(), scored_after=(1,))
    total = np.array([4000, 1000, 500], np.uint32)
    three, four = (read_score(agreement, total, vaults) for vaults in (3, 4))
    mechanism = PrivateScore(noise_multiplier=Decimal("0.5"), loss_clip=Decimal(4), grid=64)
    assert three.counts == (4000, 1000, 500)
    assert three.estimate == mechanism.read((4000, 1000, 500), 3)
    assert three.estimate.right == four.estimate.right == 0.8
    assert three.estimate.right_deviation < four.estimate.right_deviation
    assert three.words == "80.0 % ± 1.0 right, loss 0.800 ± 0.100"
    assert three.data["counts"] == [4000, 1000, 500]
    assert three.data["estimate"]["right"] == 0.8
    nothing = read_score(agreement, np.zeros(3, np.uint32), 3)
    assert (nothing.estimate, nothing.data["estimate"]) == (None, None)
    assert nothing.words == "the noise is too large to tell"


def test_the_examples_are_true():
    assert doctest.testmod(scoresum).attempted == 2
    assert doctest.testmod(scoresum).failed == 0
