"""An institution's part of a round up to the upload: quantise, mask, pack, share the seeds, write.

The same calls in the same order as the vault's. The pair keys come from a key epoch in memory.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from comity_common.crypto.stream import Keystream
from comity_common.fixedpoint import Lanes, quantised
from comity_common.ids import InstitutionId
from comity_common.secagg.masking import SEED_BYTES, masked_windows
from comity_common.secagg.messages import Plan
from comity_common.secagg.participant import Dealt, deal
from comity_common.secagg.plan import plan_digest
from comity_common.vectors import Vector
from comity_host.files import written_durably
from tests.bench.measuring import Growth
from tests.simulation.federation import World

FEW = 1000  # lanes, for a first call that loads what is loaded once


def random_delta(lanes: int) -> Vector:
    """Draw a delta of about the agreement's range, ±1: shape (lanes,), float32."""
    return np.random.default_rng().uniform(-1, 1, lanes).astype(np.float32)


def lanes_of(plan: Plan, delta: Vector) -> Iterator[Lanes]:
    """Round a delta into the ring, a window at a time."""
    return quantised(delta, plan.range, plan.lane_bound, Keystream.fresh())


def upload(
    plan: Plan, me: InstitutionId, keys: dict[InstitutionId, bytes], delta: Vector, file: Path
) -> Dealt:
    """Make an upload and write its vector."""
    with written_durably(file) as out:
        return deal(plan, me, keys, lanes_of(plan, delta), out.write)


def round_keys(world: World, plan: Plan, who: InstitutionId) -> dict[InstitutionId, bytes]:
    """Take a round's keys off an institution's chains."""
    named = bytes.fromhex(plan_digest(plan))
    return {
        peer: chain.turn_to(plan.round).round_key(named)
        for peer, chain in world.chains[who].items()
    }


def cost_of_an_upload(n: int, lanes: int, width: int) -> dict[str, Any]:
    """Make one upload in this process.

    Returns:
        CPU seconds of it all, and of rounding, masking and packing alone; the growth of memory
        beside the delta, and the vector's size, in bytes.
    """
    _prepared(n, FEW, width)()
    make = _prepared(n, lanes, width)
    growth = Growth()
    spent, size = _timed(make)
    peak = growth.peak()
    mask = _masking(n, lanes, width)
    masked_s, _ = _timed(mask)
    return {"cpu_s": spent, "masked_s": masked_s, "peak": peak, "size": size}


def _timed(act: Callable[[], int]) -> tuple[float, int]:
    began = time.process_time()
    size = act()
    return time.process_time() - began, size


def _masking(n: int, lanes: int, width: int) -> Callable[[], int]:
    plan = World.of(n, lanes=lanes, ring_width=width).plan()
    me, delta = plan.participants[n // 2], random_delta(lanes)
    seeds = [(peer, os.urandom(SEED_BYTES)) for peer in plan.participants if peer != me]

    def mask() -> int:
        rounded = lanes_of(plan, delta)
        own = os.urandom(SEED_BYTES)
        pieces = masked_windows(rounded, lanes, width, me=me, self_seed=own, pair_seeds=seeds)
        return sum(map(len, pieces))

    return mask


def _prepared(n: int, lanes: int, width: int) -> Callable[[], int]:
    world = World.of(n, lanes=lanes, ring_width=width)
    plan = world.plan()
    me = plan.participants[n // 2]
    keys, delta = round_keys(world, plan, me), random_delta(lanes)

    def make() -> int:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "masked"
            upload(plan, me, keys, delta, file)
            return file.stat().st_size

    return make
