"""Beside it: a client of Flower's SecAgg+, up to its upload, with the same number of coordinates.

The installed `secaggplus_mod` does what it does at a client, stage by stage, with the defaults of
its workflow; the peers are there for their keys and shares alone. Both sides start from floats in
memory and end with the bytes of an upload; ours is on disk as well. Each runs in a process of its
own, in turns.
"""

import time
from importlib import import_module
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np

from tests.bench import client
from tests.bench.figures import Figure, Say
from tests.bench.measuring import Growth, in_a_process_of_its_own

NAME = "secaggplus"
MOD = "flwr.client.mod.secure_aggregation.secaggplus_mod"  # its package shows a function there
N = 10
THRESHOLD = 7  # as ours for ten of whom one colludes
WEIGHT = 1000  # the workflow's default for the most
WIDTHS = (32, 24)
LARGEST = 4_000_000  # of a layer's coordinates


def measure(full: bool, say: Say) -> list[Figure]:
    """Measure the row."""
    lanes, times = (22_700_000, 3) if full else (300_000, 1)
    theirs, ours = [], {width: [] for width in WIDTHS}
    for turn in range(1, times + 1):
        say(f"{lanes:,} coordinates, turn {turn} of {times}")
        theirs.append(in_a_process_of_its_own(cost_of_an_upload, lanes))
        for width in WIDTHS:
            mine = in_a_process_of_its_own(client.cost_of_an_upload, N, lanes, width)
            ours[width].append(mine)
    what = f"SecAgg+ of Flower {version('flwr')}, n={N}, {lanes / 1e6:g} M"
    figures = [
        Figure(row=NAME, measured=f"{what}: CPU", value=_median(theirs, "cpu_s"), unit="s"),
        Figure(row=NAME, measured="its memory", value=_median(theirs, "peak") / 1e6, unit="MB"),
        Figure(row=NAME, measured="its upload", value=_median(theirs, "size") / 1e6, unit="MB"),
    ]
    for width in WIDTHS:
        spent = _median(ours[width], "cpu_s")
        figures.append(Figure(row=NAME, measured=f"ours, w={width}: CPU", value=spent, unit="s"))
        for mine, name, words, bar in (
            ("cpu_s", "cpu_s", "CPU", 8.0),
            ("masked_s", "cpu_s", "CPU, ours not hashed nor on disk", 8.0),
            ("peak", "peak", "memory", 6.0),
            ("size", "size", "upload", 2.0),
        ):
            ratios = [b[name] / a[mine] for a, b in zip(ours[width], theirs, strict=True)]
            figures.append(
                Figure(
                    row=NAME,
                    measured=f"{words}, SecAgg+ / ours with w={width}",
                    value=median(ratios),
                    unit="×",
                    at_least=bar if full else None,
                )
            )
    return figures


def _median(costs: list[dict[str, Any]], name: str) -> float:
    return float(median(cost[name] for cost in costs))


def cost_of_an_upload(lanes: int) -> dict[str, Any]:
    """Let Flower's mod make one upload in this process.

    Returns:
        CPU seconds, the growth of memory beside the parameters, and the size, in bytes.
    """
    _collected(client.FEW)
    return _collected(lanes)


def _collected(lanes: int) -> dict[str, Any]:
    from flwr.app import ConfigRecord
    from flwr.common import ndarrays_to_parameters
    from flwr.common.secure_aggregation.secaggplus_constants import Key

    mod = import_module(MOD)
    terms = ConfigRecord(
        {
            Key.SAMPLE_NUMBER: N,
            Key.SHARE_NUMBER: N,
            Key.THRESHOLD: THRESHOLD,
            Key.CLIPPING_RANGE: 8.0,
            Key.TARGET_RANGE: 1 << 22,
            Key.MOD_RANGE: 1 << 32,
            Key.MAX_WEIGHT: float(WEIGHT),
        }
    )
    clients = {}
    for node in range(1, N + 1):
        clients[node] = mod.SecAggPlusState()
        clients[node].nid = node
    parameters = ndarrays_to_parameters(layers(lanes))

    me, *peers = clients.values()
    for peer in peers:
        mod._setup(peer, terms)
    growth, spent = Growth(), time.process_time()
    mod._setup(me, terms)
    spent -= time.process_time()
    keys = ConfigRecord({str(node): [state.pk1, state.pk2] for node, state in clients.items()})
    sent = {peer.nid: mod._share_keys(peer, keys) for peer in peers}
    ciphertexts = [
        sent[peer.nid][Key.CIPHERTEXT_LIST][sent[peer.nid][Key.DESTINATION_LIST].index(me.nid)]
        for peer in peers
    ]
    boxes = ConfigRecord(
        {Key.SOURCE_LIST: [peer.nid for peer in peers], Key.CIPHERTEXT_LIST: ciphertexts}
    )
    spent += time.process_time()
    mod._share_keys(me, keys)
    masked = mod._collect_masked_vectors(me, boxes, WEIGHT, parameters)[Key.MASKED_PARAMETERS]
    spent = time.process_time() - spent
    return {"cpu_s": spent, "peak": growth.peak(), "size": sum(map(len, masked))}


def layers(lanes: int) -> list[np.ndarray]:
    """Draw a model's parameters, cut as a transformer's are: some large, none that is all."""
    return [client.random_delta(min(LARGEST, lanes - start)) for start in range(0, lanes, LARGEST)]
