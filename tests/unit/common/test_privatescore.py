"""A noisy score says what is true, within the deviation it names, and no unit moves it by more."""

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity_common.dp import accountant
from comity_common.errors import LocalError
from comity_common.privatescore import PrivateScore

SCORE = PrivateScore(noise_multiplier=Decimal(20), loss_clip=Decimal(4), grid=64)
ROWS = st.lists(
    st.tuples(st.booleans(), st.floats(allow_nan=True, allow_infinity=True)), min_size=1, max_size=9
)


@given(
    rows=ROWS,
    grid=st.integers(1, 2**19).map(lambda half: 2 * half),
    clip=st.decimals("1e-9", "1e9"),
)
def test_no_unit_moves_the_sum_by_more_than_the_sensitivity(rows, grid, clip):
    score = PrivateScore(noise_multiplier=Decimal(1), loss_clip=clip, grid=grid)
    right, losses = zip(*rows, strict=True)

    moved = score.unit(right, losses)

    assert sum(part * part for part in moved) <= score.variance  # σ² = Δ² at this multiplier
    assert moved[0] + moved[1] == grid
    assert score.release([moved]) is not None


def test_a_unit_reaches_the_sensitivity():
    worst = SCORE.unit([True], [math.inf])

    assert worst == (64, 0, 32)
    assert sum(part * part for part in worst) * 400 == SCORE.variance


def test_a_person_counts_like_a_record():
    assert SCORE.unit([True, True, False, False], [0, 8, 0, 0]) == (32, 32, 8)
    assert SCORE.unit([True], [0.5]) == (64, 0, 4)


def noisy_totals(right: int, wrong: int, loss: float, vaults: int, draws: int):
    units = [SCORE.unit([True], [loss])] * right + [SCORE.unit([False], [loss])] * wrong
    for _ in range(draws):
        own = [SCORE.release(units) for _ in range(vaults)]
        yield tuple(map(sum, zip(*own, strict=True)))


def test_the_score_is_right_within_the_deviation_that_it_names():
    found = [SCORE.read(total, 4) for total in noisy_totals(600, 200, 1.0, 4, 250)]
    shares = np.array([each.right for each in found])
    losses = np.array([each.loss for each in found])
    named = SCORE.expected_deviation(3200, 4, right=0.75)

    assert abs(shares.mean() - 0.75) < 6 * named / math.sqrt(250)
    assert shares.std() == pytest.approx(named, rel=0.3)
    assert np.mean([each.right_deviation for each in found]) == pytest.approx(named, rel=0.05)
    assert abs(losses.mean() - 1.0) < 6 * found[0].loss_deviation / math.sqrt(250)
    assert losses.std() == pytest.approx(np.mean([each.loss_deviation for each in found]), rel=0.3)


def test_nothing_is_said_where_nobody_may_be_there():
    assert [SCORE.read(total, 4) for total in noisy_totals(3, 1, 0.0, 4, 5)] == [None] * 5
    assert SCORE.read(SCORE.release([]), 1) is None


def test_it_is_foretold_whether_anything_can_be_read():
    noise, edge = 20 * math.sqrt(5 / 4) * math.sqrt(4), 5 * math.sqrt(2)
    least = math.ceil(noise * edge)  # units; the noise is in parts of them
    assert SCORE.is_readable(least, 4)
    assert not SCORE.is_readable(least - 1, 4)
    told = [SCORE.read(total, 1) is not None for total in noisy_totals(least, 0, 0.0, 1, 5)]
    assert told == [True] * 5


def test_the_accountant_knows_the_event():
    event = SCORE.event(2)

    assert accountant.cost(event, 8) == pytest.approx(2 * 8 / 2 / 20**2)


@pytest.mark.parametrize("unit", [(65, 0, 0), (64, 1, 0), (65, -1, 0), (32, 32, 33), (32, 32, -1)])
def test_what_is_out_of_bounds_is_not_summed(unit):
    with pytest.raises(LocalError, match="within the bounds"):
        SCORE.release([unit])


@pytest.mark.parametrize(
    "wrong",
    [
        {"grid": 3},
        {"grid": 0},
        {"grid": 2**21},
        {"noise_multiplier": Decimal(0)},
        {"noise_multiplier": Decimal("NaN")},
        {"loss_clip": Decimal(-1)},
        {"loss_clip": Decimal("Infinity")},
    ],
)
def test_constants_out_of_range_are_refused(wrong):
    given = {"noise_multiplier": Decimal(20), "loss_clip": Decimal(4), "grid": 64}
    with pytest.raises(LocalError):
        PrivateScore(**given | wrong)


@pytest.mark.parametrize(("right", "losses"), [([], []), ([True], []), ([True], [1.0, 2.0])])
def test_a_unit_has_rows_and_a_loss_for_each(right, losses):
    with pytest.raises(LocalError):
        SCORE.unit(right, losses)
