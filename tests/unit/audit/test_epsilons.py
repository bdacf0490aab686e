"""ε by two implementations that share no code, over settings that federations have."""

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from comity_audit.ledgers.epsilons import (
    ABSOLUTE,
    RELATIVE,
    Computed,
    computed,
    computed_at,
    merged,
)
from comity_common.dp.terms import DISCRETE_GAUSSIAN, SampledGaussian

DELTA = Decimal("0.00001")
SETTINGS = [
    (q, sigma, steps)
    for q in ("0.001", "0.01", "0.05", "0.2")
    for sigma, steps in (("0.6", 20), ("0.8", 300), ("1.1", 1000), ("2.5", 4000), ("6", 10_000))
] + [("1", "4", 1), ("1", "20", 50)]


def event(q: str, sigma: str, steps: int) -> SampledGaussian:
    return SampledGaussian(
        sampling_probability=Decimal(q), noise_multiplier=Decimal(sigma), steps=steps
    )


@pytest.mark.parametrize(("q", "sigma", "steps"), SETTINGS)
def test_both_agree_within_a_hundredth_in_both_directions(q: str, sigma: str, steps: int) -> None:
    pytest.importorskip("dp_accounting")
    found = computed([event(q, sigma, steps)], DELTA, True)
    assert found.theirs is not None
    assert abs(found.ours - found.theirs) <= max(RELATIVE * found.theirs, ABSOLUTE)
    assert found.agree


@pytest.mark.parametrize("order", [2, 8, 64])
@pytest.mark.parametrize(("q", "sigma", "steps"), SETTINGS[::4])
def test_both_agree_at_one_order(q: str, sigma: str, steps: int, order: int) -> None:
    pytest.importorskip("dp_accounting")
    found = computed_at([event(q, sigma, steps)], order, DELTA, True)
    assert found.theirs == pytest.approx(found.ours, rel=1e-3)


def test_several_mechanisms_are_composed_and_steps_of_one_are_put_together() -> None:
    pytest.importorskip("dp_accounting")
    one, other = event("0.05", "1", 100), event("0.01", "0.8", 50)
    several = [replace(one, steps=30), other, replace(one, steps=70)]
    assert set(merged(several)) == {one, other}
    assert computed(merged(several), DELTA, True).agree


@pytest.mark.parametrize(
    ("q", "sigma", "steps"), [("0.5", "0.001", 1), ("0.5", "1", 2**53 - 1), ("1", "1e-40", 3)]
)
def test_what_is_out_of_reach_of_ours_is_not_asked_of_the_other(
    q: str, sigma: str, steps: int
) -> None:
    assert computed([event(q, sigma, steps)], DELTA, True) == Computed(ours=math.inf, theirs=None)


def test_a_score_is_bounded_from_above() -> None:
    pytest.importorskip("dp_accounting")
    score = replace(event("1", "20", 3), mechanism=DISCRETE_GAUSSIAN)
    found = computed([event("0.05", "1", 100), score], DELTA, True)
    assert found.is_bound
    assert found.agree
    assert found.difference > 0


@pytest.mark.parametrize(
    ("ours", "theirs", "agree"),
    [
        (1.0, 1.009, True),
        (1.0, 1.02, False),
        (1.02, 1.0, False),
        (0.003, 0.007, True),
        (0.001, 0.007, False),
        (float("inf"), float("inf"), True),
        (float("inf"), 3.0, False),
        (2.0, None, True),
    ],
)
def test_what_counts_as_agreement(ours: float, theirs: float | None, agree: bool) -> None:
    assert Computed(ours=ours, theirs=theirs).agree is agree
    if theirs is not None:
        bound = Computed(ours=ours, theirs=theirs, is_bound=True)
        assert bound.agree is (ours >= theirs * 0.99)
