"""The simulated federation is shared with `tests/simulation`, however pytest was started."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[4]))

from tests.simulation.federation import World


@pytest.fixture(scope="module")
def world():
    """Five institutions, one of whom may collude: t = m = 4."""
    return World.of(5)
