import os
import random

import numpy as np
import pytest
from scipy import stats

from comity_client.training import noise
from comity_client.training.noise import GaussianNoise
from comity_common.errors import LocalError

STD = 1.54
MANY = 4 * noise.CHUNK + 3  # more than two chunks, and odd


def draw(std: float = STD, size: int = MANY) -> np.ndarray:
    total = np.zeros(size)
    GaussianNoise(std).add(total)
    return total


def test_noise_has_the_mean_the_deviation_and_the_shape_of_a_gaussian() -> None:
    values = draw() / STD
    error = 1 / np.sqrt(MANY)
    assert abs(values.mean()) < 6 * error
    assert abs(values.std() - 1) < 6 * error / np.sqrt(2)
    assert stats.kstest(values, "norm").pvalue > 1e-8
    assert np.abs(values).max() < 8.6


def test_coordinates_are_independent_within_and_between_pairs() -> None:
    values = draw() / STD
    for lag in (1, noise.CHUNK):  # chunk: the two normals of one pair of uniforms
        assert abs(np.mean(values[lag:] * values[:-lag])) < 6 / np.sqrt(MANY - lag)
        assert abs(np.mean((values[lag:] ** 2 - 1) * (values[:-lag] ** 2 - 1))) < 12 / np.sqrt(MANY)


def test_the_noise_is_added_to_what_was_there() -> None:
    there = np.linspace(-50, 50, MANY)
    total = there.copy()
    GaussianNoise(STD).add(total)
    assert abs((total - there).std() / STD - 1) < 6 / np.sqrt(2 * MANY)


@pytest.mark.parametrize("std", [1e-3, 1.0, STD, 700.0])
def test_results_lie_on_a_grid_that_depends_on_the_deviation_alone(std: float) -> None:
    source = GaussianNoise(std)
    total = np.random.default_rng().standard_normal(1001) * 100
    source.add(total)
    assert np.array_equal(np.rint(total / source.grid) * source.grid, total)
    assert std * 2**-21 < source.grid <= std * 2**-20
    assert np.log2(source.grid) % 1 == 0


def test_no_vector_comes_twice_from_one_source_two_sources_or_a_seed() -> None:
    source = GaussianNoise(STD)
    seen = []
    for _ in range(3):
        np.random.seed(7)
        random.seed(7)
        total, other = np.zeros(64), np.zeros(64)
        source.add(total)
        GaussianNoise(STD).add(other)
        seen += [total.tobytes(), other.tobytes()]
    assert len(set(seen)) == len(seen)


def test_a_forked_process_does_not_repeat_the_noise_of_its_parent() -> None:
    source = GaussianNoise(STD)
    source.add(np.zeros(8))
    reader, writer = os.pipe()
    child = os.fork()
    total = np.zeros(8)
    source.add(total)
    if child == 0:
        os.write(writer, total.tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 64) != total.tobytes()


def test_every_vector_is_counted() -> None:
    source = GaussianNoise(STD)
    for _ in range(3):
        source.add(np.zeros(4))
    assert source.vectors_drawn == 3


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_a_deviation_that_gives_no_noise_is_refused(std: float) -> None:
    with pytest.raises(LocalError, match="standard deviation"):
        GaussianNoise(std)
