"""Two pictures of a self-test in plain text: the noise, and how often canaries were drawn.

A bar is what was seen, `|` stands where it should end.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import special

from comity_client.selftest.ghosts import Seen

WIDTH = 40  # of the longest bar, in characters
EDGES = np.array([-np.inf, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, np.inf])
BINS = 9  # of counts


def noise(seen: Seen) -> str:
    """Draw the noise, in standard deviations, beside the Gaussian."""
    z = seen.without_signal
    shares = np.histogram(z, EDGES)[0] / z.size
    wanted = np.diff(special.ndtr(EDGES))
    names = [f"below {EDGES[1]:g}", *(f"{a:g} to {b:g}" for a, b in _pairs(EDGES[1:-1].tolist()))]
    return _bars([*names, f"above {EDGES[-2]:g}"], shares.tolist(), wanted.tolist())


def inclusions(seen: Seen) -> str:
    """Draw in how many of the steps each canary was, beside the binomial law."""
    counts, steps, q = seen.included.sum(axis=0), len(seen.included), float(seen.probability)
    middle, deviation = steps * q, np.sqrt(steps * q * (1 - q))
    inner = np.unique(
        np.rint(np.linspace(middle - 2.5 * deviation, middle + 2.5 * deviation, BINS))
    )
    edges = inner.clip(0, steps).tolist()
    laws = [0.0, *(float(special.bdtr(edge, steps, q)) for edge in edges), 1.0]
    below = [0, *(int((counts <= edge).sum()) for edge in edges), len(counts)]
    names = [f"up to {edges[0]:.0f}", *(f"{a + 1:.0f} to {b:.0f}" for a, b in _pairs(edges))]
    shares = (np.diff(below) / len(counts)).tolist()
    return _bars([*names, f"over {edges[-1]:.0f}"], shares, np.diff(laws).tolist())


def _bars(names: Sequence[str], shares: Sequence[float], wanted: Sequence[float]) -> str:
    longest = max(*shares, *wanted)
    lines = []
    for name, share, law in zip(names, shares, wanted, strict=True):
        bar = list("█" * round(WIDTH * share / longest) + " " * (WIDTH + 1))[: WIDTH + 1]
        bar[round(WIDTH * law / longest)] = "|"
        lines.append(f"  {name:>12} {''.join(bar).rstrip()}")
    return "\n".join(lines)


def _pairs(edges: Sequence[float]) -> list[tuple[float, float]]:
    return list(pairwise(edges))
