"""Ten mistakes in the machinery of training, put into the product's own classes for a while.

    with injected("noise-0.95"):
        examine(...)

None is a switch of the product: each replaces a method by one that is wrong, as a careless change
would. The self-test's tests and its benchmark share them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from comity_client.training import step, trainer
from comity_client.training.noise import GaussianNoise
from comity_client.training.sampler import PoissonSampler
from comity_client.training.trainer import Trainer
from comity_common.crypto.stream import Keystream


def _quieter(share: float) -> Any:
    """Make the noise smaller and leave everything else, also the count of vectors."""
    add = GaussianNoise.add

    def wrong(self: GaussianNoise, total: np.ndarray) -> None:
        noised = total.copy()
        add(self, noised)
        total += share * (noised - total)

    return patch.object(GaussianNoise, "add", wrong)


def _looser(times: float) -> Any:
    """Clip at a multiple of the norm."""
    factors = step.clip_factors

    def wrong(norms: torch.Tensor, clip_norm: float) -> torch.Tensor:
        return factors(norms, times * clip_norm)

    return patch.object(step, "clip_factors", wrong)


class Shuffled:
    """Batches of one size from a shuffled order, as a data loader makes them."""

    def __init__(self, records: int, probability: Any) -> None:
        self._records, self._size = records, max(1, round(records * float(probability)))
        self._left: list[int] = []

    def draw(self) -> np.ndarray:
        """Take the next of the order; a new one begins when it is used up."""
        while len(self._left) < self._size:
            self._left += np.random.default_rng().permutation(self._records).tolist()
        chosen, self._left = self._left[: self._size], self._left[self._size :]
        return np.unique(chosen)


def _reseeded() -> Any:
    """Open the noise's stream under one key, whatever the step."""
    key = bytes(range(32))

    class Seeded:
        fresh = staticmethod(lambda: Keystream(key))

    return patch("comity_client.training.noise.Keystream", Seeded)


def _one_step_more() -> Any:
    """Train one step that nobody has reserved."""
    from dataclasses import replace

    init = Trainer.__init__

    def wrong(self: Trainer, classifier: Any, rows: Any, training: Any, **others: Any) -> None:
        more = replace(training, local_steps=training.local_steps + 1)
        init(self, classifier, rows, more, **others)

    return patch.object(Trainer, "__init__", wrong)


def _twice() -> Any:
    """Put everything that was drawn into the batch two times."""
    draw = PoissonSampler.draw
    return patch.object(PoissonSampler, "draw", lambda self: np.repeat(draw(self), 2))


MISTAKES: dict[str, Callable[[], Any]] = {
    "noise × 0.95": lambda: _quieter(0.95),
    "noise × 0.8": lambda: _quieter(0.8),
    "noise × 0.5": lambda: _quieter(0.5),
    "noise × 0": lambda: _quieter(0.0),
    "clip × 2": lambda: _looser(2.0),
    "clip × 5": lambda: _looser(5.0),
    "shuffled batches": lambda: patch.object(trainer, "PoissonSampler", Shuffled),
    "noise reseeded": _reseeded,
    "a step not accounted": _one_step_more,
    "canaries counted twice": _twice,
}


@contextmanager
def injected(name: str) -> Iterator[None]:
    """Make one mistake for as long as the context lasts."""
    with MISTAKES[name]():
        yield
