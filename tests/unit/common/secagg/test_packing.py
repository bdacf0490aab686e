"""Lanes come back as they went, and cutting them changes no sum of the narrower ring."""

from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulation.wholevector import mask, masked_vector, with_canaries

from comity_common.errors import LocalError
from comity_common.fixedpoint import (
    MIN_LANE_BOUND,
    decode_sum,
    lane_bound,
    largest_range,
    signed,
)
from comity_common.ids import InstitutionId
from comity_common.secagg.masking import (
    WINDOW_LANES,
    vector_bytes,
)
from comity_common.secagg.packing import lane_bytes, pack, unpack

SEEDS = {
    "me": InstitutionId("b"),
    "self_seed": bytes(32),
    "pair_seeds": [(InstitutionId("a"), b"1" * 32), (InstitutionId("c"), b"2" * 32)],
}


@pytest.mark.parametrize("width", [24, 32])
@given(st.lists(st.integers(0, 2**32 - 1)))
def test_the_low_bits_of_every_lane_come_back(width, values):
    raw = bytearray(len(values) * width // 8)
    pack(np.array(values, np.uint32), width, memoryview(raw))
    assert raw == b"".join((v % 2**width).to_bytes(width // 8, "little") for v in values)
    assert unpack(raw, width).tolist() == [v % 2**width for v in values]


@pytest.mark.parametrize("width", [0, 8, 16, 25, 64])
def test_no_other_width_can_be_packed(width):
    with pytest.raises(LocalError):
        lane_bytes(width)


@pytest.mark.parametrize("size", [0, 1, WINDOW_LANES - 4, WINDOW_LANES + 1, 2 * WINDOW_LANES + 9])
def test_windows_of_any_size_are_masked_as_the_whole(size):
    clear = np.random.default_rng(size).integers(0, 2**32, size, dtype=np.uint32)
    whole = with_canaries(clear)
    mask(whole, size, **SEEDS)
    cuts = sorted({0, min(1, size), size // 3, size})
    windows = [clear[a:b] for a, b in pairwise(cuts)]
    assert masked_vector(windows, size, 32, **SEEDS) == whole
    narrow = masked_vector(windows, size, 24, **SEEDS)
    assert len(narrow) == vector_bytes(size, 24) == 3 * (size + 4) + 8
    cut = np.frombuffer(whole, np.uint32, count=size + 4) & 0xFFFFFF
    assert np.array_equal(unpack(narrow[:-8], 24), cut)
    assert narrow[-8:] == whole[-8:]


@pytest.mark.parametrize("given", [[3], [5], [2, 3], []])
def test_another_number_of_lanes_than_announced_is_refused(given):
    with pytest.raises(LocalError):
        masked_vector([np.zeros(k, np.uint32) for k in given], 4, 24, **SEEDS)


@settings(deadline=None)
@given(st.sampled_from([24, 32]), st.integers(3, 255), st.data())
def test_no_sum_of_extreme_lanes_wraps_whoever_survives(width, participants, data):
    bound = lane_bound(width, participants)
    assert bound >= MIN_LANE_BOUND
    assert participants * bound < 2 ** (width - 1) <= participants * (bound + 1)
    survivors = data.draw(st.integers(1, participants))
    high = data.draw(st.integers(0, survivors))
    total = np.zeros(2, np.uint32)
    for value in [bound] * high + [-bound] * (survivors - high):
        total += np.array([value, -value], np.int64).astype(np.uint32) & np.uint32(2**width - 1)
    expected = bound * (2 * high - survivors)
    assert signed(total, width).tolist() == [expected, -expected]
    mean = decode_sum(total, survivors, Decimal(1), bound, width)
    assert float(mean[0]) == pytest.approx(expected / survivors / (bound - 1), abs=1e-6)


def test_a_range_at_which_a_step_is_less_than_16_lanes_is_too_large():
    most = largest_range(24, 255, Decimal("0.001"))
    assert most == Decimal("0.001") * 32895 / 16
    with pytest.raises(LocalError):
        lane_bound(24, 256)
