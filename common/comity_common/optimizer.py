"""The next model from the sum of deltas: the same bits in every vault and at the operator.

The operator publishes integers; each vault computes the model from them, so that no model can be
handed to one victim. That only works if all computers agree to the last bit, hence the rules:

* numpy ufuncs + − × ÷ √ in float32, one per step: IEEE 754 fixes their result, while `power`,
  `exp`, `dot`, `norm` and fused multiply-adds differ between processors.
* Constants come from the agreement, as decimals, rounded to float32 once.
* A processor that flushes denormals to zero is noticed at start (`check_denormals`).

FedAvg is McMahan et al. 2017, algorithm 1, with equal weights and a learning rate; FedAvgM is
Hsu et al. 2019 (momentum on the mean delta, no dampening).
"""

from dataclasses import dataclass

import numpy as np

from comity_common.agreement import Aggregation, ModelOptimizer
from comity_common.crypto.derive import Digesting, digest, number
from comity_common.errors import LocalError, PeerError
from comity_common.fixedpoint import Lanes, decode_sum, lane_bound
from comity_common.ids import Digest
from comity_common.vectors import Vector, vector_digest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelState:
    """A global model and what its optimiser remembers.

    Attributes:
        parameters: shape (d,), float32.
        momentum: shape (d,), float32, for `fedavgm`; absent for `fedavg`.
        round: how many certified sums went into it, 0 at the start; void rounds do not count.
    """

    parameters: Vector
    momentum: Vector | None
    round: int

    def __post_init__(self) -> None:
        vectors = [self.parameters] if self.momentum is None else [self.parameters, self.momentum]
        if any(v.shape != (self.parameters.size,) or v.dtype != np.float32 for v in vectors):
            raise LocalError("expected parameters and momentum as float32 vectors of one size")
        if self.round < 0:
            raise LocalError(f"expected a round of at least 0, got {self.round}")


def first_state(parameters: Vector, aggregation: Aggregation) -> ModelState:
    """Begin with the agreement's model and an optimiser that remembers nothing.

    Args:
        parameters: shape (d,), float32.
    """
    with_momentum = aggregation.optimizer is ModelOptimizer.FEDAVGM
    momentum = np.zeros_like(parameters) if with_momentum else None
    return ModelState(parameters=parameters, momentum=momentum, round=0)


def next_state(
    state: ModelState,
    total: Lanes,
    survivors: int,
    participants: int,
    aggregation: Aggregation,
) -> ModelState:
    """Move the model by the mean delta of a certified round.

    Args:
        total: shape (d,), uint32: Σq of the round certificate, in the low w bits.
        survivors: |S| of the certificate.
        participants: |U| of the plan, from which the lane bound follows.

    Raises:
        PeerError: the sum has another size, or is larger than the survivors can make it.
        LocalError: the state does not belong to the agreement's optimiser.
    """
    if total.shape != state.parameters.shape:
        raise PeerError(f"expected a sum of {state.parameters.size} lanes, got {total.size}")
    if not 1 <= survivors <= participants:
        raise LocalError(f"expected 1 to {participants} survivors, got {survivors}")
    if (state.momentum is not None) != (aggregation.optimizer is ModelOptimizer.FEDAVGM):
        raise LocalError(f"expected a state of {aggregation.optimizer}")
    width = aggregation.ring_width
    bound = lane_bound(width, participants)
    mean = decode_sum(total, survivors, aggregation.range, bound, width)
    momentum = _accumulate(state.momentum, mean, np.float32(float(aggregation.momentum)))
    step = mean if momentum is None else momentum
    step = np.multiply(step, np.float32(float(aggregation.learning_rate)))
    parameters = np.add(state.parameters, step)
    return ModelState(parameters=parameters, momentum=momentum, round=state.round + 1)


def state_digest(state: ModelState) -> Digest:
    """Hash everything from which the next state follows: parameters, momentum and round."""
    momentum = b"" if state.momentum is None else vector_digest(state.momentum)
    parts = (number(state.round), vector_digest(state.parameters), momentum)
    return Digest(digest("model-state", *parts).hex())


class RunningStateDigest:
    """The digest of a state whose coordinates pass by in order, some at a time.

    Args:
        size: d of the whole state.
        with_momentum: whether its optimiser remembers anything.
    """

    def __init__(self, size: int, *, with_momentum: bool) -> None:
        self._parameters = _begun_vector(size)
        self._momentum = _begun_vector(size) if with_momentum else None
        self._round = 0

    def update(self, part: ModelState) -> None:
        """Hash the next coordinates."""
        self._parameters.update(part.parameters.astype("<f4", copy=False).tobytes())
        if self._momentum is not None and part.momentum is not None:
            self._momentum.update(part.momentum.astype("<f4", copy=False).tobytes())
        self._round = part.round

    def finish(self) -> Digest:
        """Return what `state_digest` gives for the whole state. Nothing can follow."""
        momentum = b"" if self._momentum is None else self._momentum.finish()
        parts = (number(self._round), self._parameters.finish(), momentum)
        return Digest(digest("model-state", *parts).hex())


def _begun_vector(size: int) -> Digesting:
    vector = Digesting("vector")
    vector.begin(4 * size)
    return vector


def check_denormals() -> None:
    """Make sure that this thread's arithmetic keeps denormal numbers, as IEEE 754 asks.

    Raises:
        LocalError: they are flushed to zero, as some libraries ask the processor to do.
    """
    for kind in (np.float32, np.float64):
        word = np.dtype(f"u{np.dtype(kind).itemsize}")
        least_normal = np.full(64, 1 << np.finfo(kind).nmant, dtype=word).view(kind)
        halved = np.multiply(least_normal, kind(0.5)).view(word)
        restored = np.multiply(halved.view(kind), kind(2)).view(word)
        if not (halved.all() and (restored == least_normal.view(word)).all()):
            raise LocalError(f"expected arithmetic that keeps denormal numbers of {kind.__name__}")


def _accumulate(momentum: Vector | None, mean: Vector, decay: np.float32) -> Vector | None:
    if momentum is None:
        return None
    return np.add(np.multiply(momentum, decay), mean)
