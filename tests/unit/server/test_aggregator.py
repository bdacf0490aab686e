"""The streamed sum against the plain one, what it refuses, and how little memory it takes."""

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tests.simulation.federation import World
from tests.simulation.wholevector import with_canaries

from comity_common import chunks
from comity_common.crypto.stream import Keystream
from comity_common.errors import PeerError
from comity_common.fixedpoint import signed
from comity_common.secagg.collector import Collector
from comity_common.secagg.masking import (
    CANARIES,
    WINDOW_LANES,
    Masks,
    sections,
    vector_bytes,
)
from comity_common.secagg.unmasking import Residue
from comity_server.aggregator import write_total

NO_RESIDUE = Residue(self_seeds=(), added_pairs=(), subtracted_pairs=())


def masked_files(directory: Path, vectors: list[np.ndarray]) -> tuple[list[Path], Residue]:
    """Write vectors under one self mask each; return the files and what takes the masks off."""
    paths, seeds = [], []
    for number, vector in enumerate(vectors):
        raw = with_canaries(vector)
        seed = bytes([number + 1]) * 32
        lanes = np.frombuffer(raw, "<u4", count=len(vector) + CANARIES)
        Masks("q", added=[seed], subtracted=[]).apply(lanes)
        Masks("z", added=[seed], subtracted=[]).apply(
            np.frombuffer(raw, "<u8", offset=lanes.nbytes)
        )
        path = directory / f"{number}.masked"
        path.write_bytes(raw)
        paths.append(path)
        seeds.append(seed)
    return paths, Residue(self_seeds=tuple(seeds), added_pairs=(), subtracted_pairs=())


def plan_for(lanes: int, n: int = 3):
    return World.of(n, lanes=lanes).plan()


# The last two make the 8 bytes of z lie across, and right behind, a border between two chunks.
@pytest.mark.parametrize("lanes", [1, 50, 262_144, 262_139, 262_140, 600_001])
def test_the_file_holds_the_plain_integer_sum_and_its_canaries(tmp_path: Path, lanes: int) -> None:
    plan = plan_for(lanes)
    chance = np.random.default_rng(lanes)
    bound = plan.lane_bound
    clear = [chance.integers(-bound, bound, lanes, endpoint=True) for _ in range(3)]
    paths, residue = masked_files(tmp_path, [v.astype(np.uint32) for v in clear])
    total = tmp_path / "total"

    root = write_total(plan, paths, residue, total)

    raw = total.read_bytes()
    assert len(raw) == vector_bytes(lanes, 32)
    assert np.array_equal(np.frombuffer(raw, "<i4", count=lanes), sum(clear))
    assert np.all(np.frombuffer(raw, "<u4", count=CANARIES, offset=4 * lanes) == 3)
    assert int.from_bytes(raw[-8:], "little") == 3
    leaves = [
        chunks.leaf(raw[start : start + chunks.CHUNK_BYTES])
        for start in range(0, len(raw), chunks.CHUNK_BYTES)
    ]
    assert root == chunks.root(len(raw), leaves)


@pytest.mark.parametrize("width", [24, 32])
@pytest.mark.parametrize("lanes", [300, WINDOW_LANES - 2, WINDOW_LANES + 1])
def test_a_whole_round_with_a_dropout_gives_the_sum_of_its_survivors(
    tmp_path: Path, lanes: int, width: int
) -> None:
    world = World.of(5, lanes=lanes, ring_width=width)
    plan = world.plan()
    collector = Collector(world.agreement, plan)
    chance = random.Random(1)
    for who in plan.participants:
        world.deal(plan, who, chance)
    for who in plan.participants[1:]:
        collector.upload(*world.signed[who], world.dealt[who].boxes)
    collector.expire()
    for who in collector.survivors.survivors:
        collector.reveal(world.reveal(plan, who, collector.survivors))
    paths = []
    for who in collector.survivors.survivors:
        paths.append(tmp_path / who)
        paths[-1].write_bytes(world.dealt[who].vector)

    write_total(plan, paths, collector.residue, tmp_path / "total")

    expected = sum(world.clear[who] for who in plan.participants[1:])
    raw = (tmp_path / "total").read_bytes()
    assert len(raw) == vector_bytes(lanes, width)
    q, z = sections(raw, lanes, width)
    assert np.array_equal(signed(q, width)[:lanes], expected)
    assert [*q[lanes:], *z] == [4] * 5


def test_a_mask_that_is_still_on_is_noticed_and_leaves_no_sum(tmp_path: Path) -> None:
    plan = plan_for(1000)
    paths, residue = masked_files(tmp_path, [np.zeros(1000, np.uint32)] * 3)
    short = Residue(self_seeds=residue.self_seeds[:-1], added_pairs=(), subtracted_pairs=())
    with pytest.raises(PeerError, match="canary"):
        write_total(plan, paths, short, tmp_path / "total")
    assert not (tmp_path / "total").exists()


def test_a_lane_that_no_honest_vectors_sum_to_is_noticed(tmp_path: Path) -> None:
    plan = plan_for(1000)
    vectors = [np.zeros(1000, np.uint32) for _ in range(3)]
    vectors[1][999] = 2**31 - 1
    paths, residue = masked_files(tmp_path, vectors)
    with pytest.raises(PeerError, match="at most"):
        write_total(plan, paths, residue, tmp_path / "total")


def peak_of_sum(directory: Path, n: int, lanes: int) -> int:
    directory.mkdir()
    plan = plan_for(lanes, n)
    stream = Keystream(bytes(32))
    paths = []
    for number in range(n):
        paths.append(directory / f"{number}.masked")
        vector = np.empty(vector_bytes(lanes, 32), np.uint8)
        stream.fill(vector)
        paths[-1].write_bytes(vector.tobytes())
    del vector
    tracemalloc.start()
    with pytest.raises(PeerError, match="canary"):  # it is noise; only the work counts here
        write_total(plan, paths, NO_RESIDUE, directory / "total")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_grows_neither_with_institutions_nor_with_parameters(tmp_path: Path) -> None:
    small = peak_of_sum(tmp_path / "small", 3, 1 << 18)
    large = peak_of_sum(tmp_path / "large", 12, 1 << 21)
    assert small < 8 << 20
    assert large < small + (1 << 20)
