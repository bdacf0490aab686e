"""Rounding is unbiased, no sum of lanes wraps, and the mean comes back within its error bound."""

import secrets
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from comity_common.crypto.stream import Keystream
from comity_common.errors import LocalError, PeerError
from comity_common.fixedpoint import CHUNK_VALUES, decode_sum, lane_bound, quantise, scale

RANGE = Decimal("0.05")


def stream(seed: int = 0) -> Keystream:
    return Keystream(seed.to_bytes(32, "big"))


def signed(lanes):
    return lanes.view(np.int32).astype(np.int64)


def ring_sum(parts):
    total = np.zeros_like(parts[0])
    for part in parts:
        total += part
    return total


@pytest.mark.parametrize("participants", [1, 3, 7, 100, 255])
def test_participants_at_the_bound_just_fit_the_ring(participants):
    bound = lane_bound(32, participants)

    assert participants * bound <= 2**31 - 1 < participants * (bound + 1)


@pytest.mark.parametrize("width", [0, 8, 16, 23, 25, 31, 33, 64])
def test_no_other_ring_width_is_known(width):
    with pytest.raises(LocalError):
        lane_bound(width, 3)


@pytest.mark.parametrize("participants", [0, -1, 1 << 16])
def test_no_bound_without_participants(participants):
    with pytest.raises(LocalError):
        lane_bound(32, participants)


@settings(deadline=None)
@given(
    participants=st.integers(1, 255),
    signs=st.sampled_from([(1,), (-1,), (1, -1)]),
    size=st.sampled_from([0.05, 1.0, 3e38]),
    seed=st.integers(0, 2**64),
)
def test_the_largest_deltas_of_all_participants_never_wrap(participants, signs, size, seed):
    bound = lane_bound(32, participants)
    draws = stream(seed)
    column = np.array(signs, dtype=np.float32) * np.float32(size)
    parts = [quantise(column, RANGE, bound, draws) for _ in range(participants)]

    total = ring_sum(parts)

    assert np.array_equal(signed(total), sum(signed(part) for part in parts))
    assert np.abs(signed(total)).max() <= participants * bound
    mean = decode_sum(total, participants, RANGE, bound, 32)
    assert mean == pytest.approx(np.array(signs) * 0.05, rel=1e-6)


@pytest.mark.parametrize("participants", [3, 100, 255])
def test_a_delta_beyond_the_range_saturates_at_the_range(participants):
    bound = lane_bound(32, participants)
    delta = np.array([0.05, 0.0501, 1, 3e38, -0.0501, -3e38], dtype=np.float32)

    lanes = signed(quantise(delta, RANGE, bound, stream()))

    assert np.abs(lanes).max() == bound - 1
    assert lanes[1:4].tolist() == [bound - 1] * 3
    assert lanes[4:].tolist() == [1 - bound] * 2


@settings(deadline=None, max_examples=50)
@given(
    participants=st.integers(3, 255),
    data=st.data(),
    seed=st.integers(0, 2**64),
    limit=st.decimals("0.0001", "100", places=4),
)
def test_the_decoded_mean_is_within_one_lane_and_a_float_of_the_true_mean(
    participants, data, seed, limit
):
    survivors = data.draw(st.integers(1, min(participants, 8)))
    element = st.floats(-float(np.float32(limit)), float(np.float32(limit)), width=32)
    deltas = data.draw(arrays(np.float32, (survivors, 5), elements=element))
    bound = lane_bound(32, participants)
    draws = stream(seed)

    total = ring_sum([quantise(delta, limit, bound, draws) for delta in deltas])
    mean = decode_sum(total, survivors, limit, bound, 32)

    truth = np.clip(deltas.astype(np.float64), -float(limit), float(limit)).mean(axis=0)
    lane = 1 / scale(limit, bound)
    assert np.abs(mean - truth).max() <= lane + float(limit) * 2**-23


def test_rounding_is_unbiased():
    """Fractions of a lane average out: 5 standard errors of a Bernoulli mean, fresh seed."""
    bound, n = lane_bound(32, 255), 200_000
    unit = 1 / scale(RANGE, bound)
    draws = Keystream(secrets.token_bytes(32))
    for exact in (0.25, 0.5, 0.9, -0.25, -0.001, 1000.125, -70_000.75):
        delta = np.full(n, exact * unit, dtype=np.float32)
        true = np.float64(delta[0]) * scale(RANGE, bound)
        fraction = true - np.floor(true)

        lanes = signed(quantise(delta, RANGE, bound, draws))

        assert set(np.unique(lanes)) <= {np.floor(true), np.floor(true) + 1}
        error = np.sqrt(max(fraction * (1 - fraction), 1 / n) / n)
        assert abs(lanes.mean() - true) <= 5 * error


def test_what_lies_on_a_lane_is_not_rounded():
    bound = lane_bound(32, 3)
    delta = np.zeros(1000, dtype=np.float32)

    assert not quantise(delta, RANGE, bound, stream()).any()


def test_chunks_do_not_show():
    bound = lane_bound(32, 5)
    delta = np.linspace(-0.05, 0.05, 2 * CHUNK_VALUES + 17, dtype=np.float32)

    whole = quantise(delta, RANGE, bound, stream())

    draws = stream()
    cuts = (0, CHUNK_VALUES, 2 * CHUNK_VALUES, delta.size)
    parts = [quantise(delta[a:b], RANGE, bound, draws) for a, b in pairwise(cuts)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(
        decode_sum(whole, 1, RANGE, bound, 32),
        np.concatenate([decode_sum(part, 1, RANGE, bound, 32) for part in parts]),
    )


def test_dither_comes_from_the_keystream():
    delta = np.full(100, 1e-9, dtype=np.float32)
    bound = lane_bound(32, 5)

    assert np.array_equal(
        quantise(delta, RANGE, bound, stream(1)), quantise(delta, RANGE, bound, stream(1))
    )
    assert not np.array_equal(
        quantise(delta, RANGE, bound, stream(1)), quantise(delta, RANGE, bound, stream(2))
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, CHUNK_VALUES + 1])
def test_a_delta_that_is_not_finite_is_refused(bad, where):
    delta = np.zeros(CHUNK_VALUES + 2, dtype=np.float32)
    delta[where] = bad

    with pytest.raises(LocalError):
        quantise(delta, RANGE, lane_bound(32, 3), stream())


@pytest.mark.parametrize("delta", [np.zeros(3), np.zeros((3, 1), dtype=np.float32)])
def test_a_delta_of_another_kind_is_refused(delta):
    with pytest.raises(LocalError):
        quantise(delta, RANGE, lane_bound(32, 3), stream())


@pytest.mark.parametrize("limit", [Decimal(0), Decimal(-1)])
def test_a_range_is_positive(limit):
    with pytest.raises(LocalError):
        scale(limit, lane_bound(32, 3))


@settings(deadline=None)
@given(participants=st.integers(3, 255), data=st.data(), beyond=st.integers(1, 1000))
def test_a_sum_larger_than_its_survivors_can_make_is_refused(participants, data, beyond):
    survivors = data.draw(st.integers(1, participants - 1))
    bound = lane_bound(32, participants)
    most = survivors * bound
    for size in (most, -most):
        lanes = np.array([0, size], dtype=np.int32).view(np.uint32)
        decode_sum(lanes, survivors, RANGE, bound, 32)
    for size in (most + beyond, -most - beyond, -(2**31)):
        lanes = np.array([0, size], dtype=np.int64).astype(np.uint32)
        with pytest.raises(PeerError):
            decode_sum(lanes, survivors, RANGE, bound, 32)


@pytest.mark.parametrize("survivors", [0, -1, 6])
def test_more_survivors_than_the_ring_was_made_for_are_refused(survivors):
    with pytest.raises(LocalError):
        decode_sum(np.zeros(2, dtype=np.uint32), survivors, RANGE, lane_bound(32, 5), 32)
