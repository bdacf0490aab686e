"""What an institution adds to a sum: a trained delta, or a noisy score of its held-out rows.

Both are mechanisms whose noise is drawn here, in full, after the reserve was witnessed. What comes
out is as public as if it left unmasked; the masks are a second wall.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from comity_client.institution import Institution
from comity_common.agreement import Agreement
from comity_common.crypto.stream import Keystream
from comity_common.errors import LocalError
from comity_common.fixedpoint import Lanes, quantised
from comity_common.privatescore import Counts
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import Plan
from comity_common.vectors import Vector

OnStep = Callable[[int, int], None]


class Trains(Protocol):
    """What the walk needs of a workbench."""

    def train(self, start: Vector, moments: bytes | None, on_step: OnStep) -> tuple[Vector, bytes]:
        """Train one round; see `Workbench.train`."""

    def score(self, parameters: Vector) -> Iterable[Counts]:
        """Score a model on held-out rows, without noise; see `Workbench.score`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Contribution:
    """What is masked next.

    Attributes:
        lanes: in order, window by window; uint32, two's complement.
        moments: the optimiser's, to keep once the lanes are masked; None where none changed.
    """

    lanes: Iterator[Lanes]
    moments: bytes | None


def contribution(
    institution: Institution, agreement: Agreement, bench: Trains, plan: Plan, on_step: OnStep
) -> Contribution:
    """Run the mechanism of a plan on the model that it names.

    Raises:
        LocalError: the model is not here, or the mechanism did not run as reserved.
    """
    model = institution.models.load(agreement.digest, plan.model)
    if plan.kind is RoundKind.EVALUATE:
        return _score(agreement, bench, plan, model.parameters)
    delta, after = bench.train(model.parameters, _moments(institution, agreement), on_step)
    lanes = quantised(delta, plan.range, plan.lane_bound, Keystream.fresh())
    return Contribution(lanes=lanes, moments=after)


def _score(agreement: Agreement, bench: Trains, plan: Plan, parameters: Vector) -> Contribution:
    terms = agreement.private_evaluation
    if terms is None:
        raise LocalError("expected an agreement with scores on private rows")
    noisy = terms.score.release(bench.score(parameters))
    most = plan.lane_bound - 1  # beyond it a sum could wrap; cutting what is noisy reveals nothing
    lanes = np.array([min(max(count, -most), most) for count in noisy], dtype=np.int32)
    return Contribution(lanes=iter([lanes.view(np.uint32)]), moments=None)


def _moments(institution: Institution, agreement: Agreement) -> bytes | None:
    """Load the optimiser's moments, of the agreement before where this one goes on from it."""
    found = institution.models.load_moments(agreement.digest)
    if found is None and agreement.continues is not None:
        return institution.models.load_moments(agreement.continues.agreement)
    return found
