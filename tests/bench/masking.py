"""Masking against its floor, quantising, and the memory of making an upload.

Ten institutions: nine pair masks and the self mask on every lane. What is masked comes in windows,
as in a vault, and leaves packed.
"""

import os
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from comity_common.crypto.stream import Keystream
from comity_common.fixedpoint import WINDOW_VALUES, lane_bound, quantised
from comity_common.ids import InstitutionId
from comity_common.secagg.masking import WINDOW_LANES, Masks, masked_windows
from comity_common.secagg.packing import lane_bytes, pack
from tests.bench import client, floor
from tests.bench.figures import Figure, Say
from tests.bench.measuring import cpu_s, in_a_process_of_its_own, in_turns

NAME = "masking"
N = 10
WIDEST = 32
LORA, MINILM, BERT = 300_000, 22_700_000, 110_000_000  # lanes
MOST_S = {LORA: 0.005, MINILM: 0.3, BERT: 1.2}
TIMES = {LORA: 31, MINILM: 7, BERT: 3}


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row."""
    figures = []
    for width in (WIDEST, 24):
        for lanes in (LORA, MINILM, BERT) if full else (LORA,):
            say(f"{lanes:,} lanes of {width} bits")
            figures += _masking(lanes, width)
    lanes = MINILM if full else LORA
    for width in (32, 24):
        figures.append(_quantising(lanes, width, full))
        say(f"memory of an upload of {lanes:,} lanes of {width} bits")
        figures.append(_memory(lanes, width, full))
    return figures


def _masking(lanes: int, width: int) -> list[Figure]:
    me, *peers = (InstitutionId(f"inst-{k:02d}") for k in range(N))
    seeds = [(peer, os.urandom(32)) for peer in peers]
    window = np.random.default_rng().integers(0, 1 << 32, WINDOW_VALUES, dtype=np.uint32)

    def mask() -> None:
        for _ in masked_windows(
            (window[: lanes - start] for start in range(0, lanes, WINDOW_VALUES)),
            lanes,
            width,
            me=me,
            self_seed=bytes(32),
            pair_seeds=seeds,
        ):
            pass

    both = in_turns(mask, lambda: floor.masks(lanes, N), TIMES[lanes])
    what = f"{lanes / 1e6:g} M lanes, w={width}, {N} masks"
    return [
        *(_masks_alone(lanes, seeds) if width == WIDEST else ()),
        Figure(row=NAME, measured=f"{what}: CPU", value=both.a, unit="s", at_most=MOST_S[lanes]),
        Figure(
            row=NAME, measured=f"{what}: floor / masking", value=both.ratio, unit="×", at_least=0.85
        ),
    ]


def _masks_alone(lanes: int, seeds: Sequence[tuple[InstitutionId, bytes]]) -> list[Figure]:
    """Measure the masks on lanes that are in the cache: nothing is laid out, packed or kept."""
    words = np.zeros(WINDOW_LANES, np.uint32)

    def mask() -> None:
        masks = Masks("q", added=[bytes(32)], subtracted=[seed for _, seed in seeds])
        for start in range(0, lanes, WINDOW_LANES):
            masks.apply(words[: min(WINDOW_LANES, lanes - start)])

    both = in_turns(mask, lambda: floor.masks(lanes, N), TIMES[lanes])
    what = f"{lanes / 1e6:g} M lanes, {N} masks alone"
    return [
        Figure(
            row=NAME, measured=f"{what}: floor / masking", value=both.ratio, unit="×", at_least=0.85
        )
    ]


def _quantising(lanes: int, width: int, full: bool) -> Figure:
    delta, bound = client.random_delta(lanes), lane_bound(width, N)
    packed = memoryview(bytearray(lanes * lane_bytes(width)))

    def pack_all() -> None:
        filled = 0
        for part in quantised(delta, Decimal(1), bound, Keystream.fresh()):
            end = filled + part.size * lane_bytes(width)
            pack(part, width, packed[filled:end])
            filled = end

    pack_all()
    took = sorted(cpu_s(pack_all) for _ in range(7))
    return Figure(
        row=NAME,
        measured=f"{lanes / 1e6:g} M lanes, w={width}: quantise, dither, pack, CPU",
        value=took[3],
        unit="s",
        at_most=0.12 if full else None,
    )


def _memory(lanes: int, width: int, full: bool) -> Figure:
    cost = in_a_process_of_its_own(client.cost_of_an_upload, N, lanes, width)
    return Figure(
        row=NAME,
        measured=f"{lanes / 1e6:g} M lanes, w={width}: memory / upload, from delta to disk",
        value=cost["peak"] / cost["size"],
        unit="×",
        at_most=1.3 if full else None,
    )
