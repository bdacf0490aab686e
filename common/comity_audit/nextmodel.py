"""The model after a round, computed again from the one before and the total, some lanes at a time.

Nothing but `optimizer.next_state` touches a coordinate, so the bits are those of every vault, and
memory does not grow with the model.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from comity_audit.directory import StoredRound
from comity_audit.steps import about
from comity_common.agreement import Agreement, ModelOptimizer
from comity_common.errors import PeerError
from comity_common.ids import Digest
from comity_common.modelfile import HEAD_BYTES, StateHead, read_head
from comity_common.optimizer import ModelState, RunningStateDigest, next_state
from comity_common.secagg.messages import Plan
from comity_common.secagg.packing import lane_bytes, unpack
from comity_common.storedround import BEFORE_FILE, TOTAL_FILE

LANES_AT_ONCE = 256 << 10  # 1 MiB of each vector


def stored_digest(stored: StoredRound, name: str, agreement: Agreement) -> Digest:
    """Take the digest of a stored model state.

    Raises:
        PeerError: it is no state of this agreement.
    """
    with about(name):
        running = _running(agreement)
        for part in _parts(stored, name, agreement):
            running.update(part)
        return running.finish()


def next_digest(stored: StoredRound, plan: Plan, survivors: int, agreement: Agreement) -> Digest:
    """Compute the state after the round and take its digest.

    Args:
        plan: of a round of training.
        survivors: |S|, how many vectors the total sums.

    Raises:
        PeerError: state or total do not fit.
    """
    running = _running(agreement)
    with ExitStack() as stack:
        stack.enter_context(about(BEFORE_FILE))
        total = stack.enter_context(stored.opened(TOTAL_FILE))
        for part in _parts(stored, BEFORE_FILE, agreement):
            raw = total.read(part.parameters.size * lane_bytes(plan.ring_width))
            lanes = unpack(raw, plan.ring_width)
            count = len(plan.participants)
            moved = next_state(part, lanes, survivors, count, agreement.aggregation)
            running.update(moved)
        return running.finish()


def _running(agreement: Agreement) -> RunningStateDigest:
    with_momentum = agreement.aggregation.optimizer is ModelOptimizer.FEDAVGM
    return RunningStateDigest(agreement.model.parameters, with_momentum=with_momentum)


def _parts(stored: StoredRound, name: str, agreement: Agreement) -> Iterator[ModelState]:
    """Read a state in pieces, each a state of its own."""
    size = stored.size(name)
    with stored.opened(name) as file:
        head = read_head(file.read(HEAD_BYTES))
        _check_head(head, size, agreement)
        for start in range(0, head.size, LANES_AT_ONCE):
            count = min(LANES_AT_ONCE, head.size - start)
            vectors = []
            for vector in range(head.vectors):
                file.seek(HEAD_BYTES + 4 * (vector * head.size + start))
                raw = file.read(4 * count)
                vectors.append(np.frombuffer(raw, "<f4").astype(np.float32, copy=False))
            momentum = vectors[1] if head.vectors == 2 else None
            yield ModelState(parameters=vectors[0], momentum=momentum, round=head.round)


def _check_head(head: StateHead, size: int, agreement: Agreement) -> None:
    coordinates = agreement.model.parameters
    vectors = 2 if agreement.aggregation.optimizer is ModelOptimizer.FEDAVGM else 1
    if (head.size, head.vectors) != (coordinates, vectors):
        raise PeerError(f"expected a state of {vectors} vectors of {coordinates} coordinates")
    if size != head.file_bytes:
        raise PeerError(f"expected {head.file_bytes} bytes, got {size}")
