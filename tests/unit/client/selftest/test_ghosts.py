"""What the canaries' run shows, and why the ghost block changes nothing for rows."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
import torch

from comity_client.selftest import ghosts
from comity_client.selftest.ghosts import CANARIES, FEATURES, ROWS, Watched, ghost_head, vectors_of
from comity_client.training.adam import AdamMoments
from comity_client.training.noise import GaussianNoise
from comity_client.training.step import CLIP_MARGIN, clipping
from comity_common.agreement import Training

TERMS = Training(
    learning_rate=Decimal("0.01"),
    local_steps=7,
    sampling_probability=Decimal("0.05"),
    clip_norm=Decimal("0.7"),
    noise_multiplier=Decimal("1e-6"),
    divisor=Decimal(40),
)
EVERYONE = np.arange(CANARIES)
VECTORS = vectors_of(EVERYONE, 0.7)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(ghosts, "STEPS", 20)
    return 20


def block_sums(records: np.ndarray) -> np.ndarray:
    """The clipped sum of some of the examples, as (2, columns)."""
    examples = Watched(VECTORS)
    targets = torch.zeros(len(examples), dtype=torch.int64)
    with clipping(ghost_head(), 0.7) as clipped_sum:
        return clipped_sum(examples, targets, records).reshape(2, -1)


def test_with_hardly_any_noise_the_signal_is_the_inclusions(few_steps: int) -> None:
    seen = ghosts.run(TERMS)
    members = seen.signal[:, seen.is_in]
    assert np.abs(members / seen.norm - seen.included).max() < 1e-4
    assert np.abs(seen.signal[:, ~seen.is_in]).max() < 10
    assert np.abs(seen.hollow).max() < 10
    assert 0 < seen.included.mean() < 0.2
    assert 400 < seen.is_in.sum() < 600
    assert (seen.noise_vectors, seen.taken, len(set(seen.keystreams))) == (20, 20, 40)


def test_coordinates_without_signal_are_all_but_the_inclusions(few_steps: int) -> None:
    seen = ghosts.run(TERMS)
    size = few_steps * (FEATURES + 2 * CANARIES) - int(seen.included.sum())
    assert seen.without_signal.size == size
    assert np.abs(seen.without_signal).max() < 10


def test_a_small_sampling_probability_is_raised_and_a_larger_one_kept() -> None:
    small = replace(TERMS, sampling_probability=Decimal("0.0001"))
    assert ghosts.one_step(small).sampling_probability == Decimal("0.02")
    assert ghosts.one_step(TERMS).sampling_probability == TERMS.sampling_probability


def test_a_round_is_counted_as_long_as_it_is() -> None:
    assert ghosts.counted_round(TERMS) == (7, 7, 7)


# The three reasons


def test_rows_have_no_gradient_in_the_ghost_block_nor_canaries_elsewhere() -> None:
    rows, canaries = block_sums(np.arange(ROWS)), block_sums(ROWS + EVERYONE)
    assert not rows[:, FEATURES:].any()
    assert rows[:, :FEATURES].all()
    assert not canaries[:, :FEATURES].any()
    assert np.allclose(canaries[1, FEATURES:], 0.7 / np.sqrt(2) / (1 + CLIP_MARGIN), rtol=1e-6)


def test_canaries_change_neither_divisor_nor_the_sum_of_the_rows() -> None:
    both = block_sums(np.concatenate([np.arange(ROWS), ROWS + EVERYONE]))
    rows = block_sums(np.arange(ROWS))
    assert np.abs(both[:, :FEATURES] - rows[:, :FEATURES]).max() < 1e-13
    assert ghosts.weight_of_canaries(TERMS) < 1e-6


def test_nothing_after_the_noise_couples_the_blocks() -> None:
    """Adam on both blocks is Adam on each, to the bit, whatever the other holds."""
    rng = np.random.default_rng()
    rows, loud, quiet = (rng.standard_normal(30) * scale for scale in (1, 1e6, 0))
    start, moments = np.zeros(30, np.float32), AdamMoments.zero(30)
    alone, after = moments.step(start, rows, 0.1)
    for ghost in (loud, quiet):
        twice = np.zeros(60, np.float32)
        both, and_after = AdamMoments.zero(60).step(twice, np.concatenate([rows, ghost]), 0.1)
        assert np.array_equal(both[:30], alone)
        assert np.array_equal(and_after.second[:30], after.second)


def test_the_noise_of_a_coordinate_does_not_ask_what_the_others_hold() -> None:
    """Under one key the rows' block gets the same noise beside any ghost block."""

    class Seeded:
        @staticmethod
        def fresh() -> object:
            from comity_common.crypto.stream import Keystream

            return Keystream(bytes(32))

    results = []
    for ghost in (0.0, 1e9):
        total = np.concatenate([np.ones(30), np.full(30, ghost)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("comity_client.training.noise.Keystream", Seeded)
            GaussianNoise(1.0).add(total)
        results.append(total[:30])
    assert np.array_equal(*results)


def test_a_delta_that_couples_coordinates_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ghosts, "STEPS", 2)
    advance = AdamMoments.advance

    def coupled(self: AdamMoments, parameters, gradient, rate):  # type: ignore[no-untyped-def]
        moments = advance(self, parameters, gradient, rate)
        parameters /= 1 + np.linalg.norm(gradient)
        return moments

    assert ghosts.run(replace(TERMS, noise_multiplier=Decimal(1))).stray < 1e-5
    monkeypatch.setattr(AdamMoments, "advance", coupled)
    assert ghosts.run(replace(TERMS, noise_multiplier=Decimal(1))).stray > 1e-2
