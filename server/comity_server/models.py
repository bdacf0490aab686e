"""The global model states on disk: the first, and one more for each certified training round.

The operator computes each state from the public sum with the same arithmetic as every vault. A
state is named by how many certified sums went into it, so computing it again after a crash writes
the same file. A state that stands in the store is a *model release*.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comity_common.agreement import Agreement
from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.modelfile import read_state, write_state
from comity_common.optimizer import ModelState, first_state, next_state, state_digest
from comity_common.secagg.messages import Plan
from comity_common.secagg.packing import lane_bytes, unpack
from comity_common.vectors import Vector
from comity_host.files import write_durably


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A model that came out of a certified round.

    Attributes:
        round: number of that round.
        model: digest of the state.
        path: of the state, in the form of `comity_common.modelfile`.
    """

    round: int
    model: Digest
    path: Path


class Models:
    """The states of all agreements, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, agreement: Agreement, parameters: Vector) -> None:
        """Store the model from which training starts.

        Args:
            parameters: shape (d,), float32.

        Raises:
            LocalError: it is not the one that the agreement names.
        """
        state = first_state(parameters, agreement.aggregation)
        if state.parameters.size != agreement.model.parameters:
            raise LocalError(
                f"expected {agreement.model.parameters} parameters, got {state.parameters.size}"
            )
        if state_digest(state) != agreement.model.initial_state:
            raise LocalError("expected the first model state that the agreement names")
        self._save(agreement.digest, state)

    def carry(self, agreement: Agreement, state: ModelState) -> None:
        """Store the state of an earlier agreement from which this one goes on.

        Raises:
            LocalError: it is not the one that the agreement names.
        """
        if state_digest(state) != agreement.model.initial_state:
            raise LocalError("expected the model state that the agreement names")
        self._save(agreement.digest, state)

    def advance(self, agreement: Agreement, plan: Plan, survivors: int, total: Path) -> Digest:
        """Compute the state after a round and store it.

        Args:
            plan: of a round of training.
            survivors: how many vectors were summed.
            total: the sum's file, q first.

        Returns:
            the new state's digest.

        Raises:
            PeerError: the sum cannot be one of that many vectors.
            LocalError: the state that the plan starts from is missing or was changed.
        """
        state = self.named(agreement.digest, plan.model)
        size = plan.lanes * lane_bytes(plan.ring_width)
        lanes = unpack(np.fromfile(total, np.uint8, count=size).data, plan.ring_width)
        moved = next_state(state, lanes, survivors, len(plan.participants), agreement.aggregation)
        self._save(agreement.digest, moved)
        return state_digest(moved)

    def path(self, agreement: Digest, certified: int) -> Path:
        """Return where the state after so many certified rounds lies."""
        return self._directory / agreement[:16] / f"{certified:05d}.state"

    def _save(self, agreement: Digest, state: ModelState) -> None:
        path = self.path(agreement, state.round)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_durably(path, write_state(state))

    def named(self, agreement: Digest, model: Digest) -> ModelState:
        """Find a state by its digest, newest first.

        Raises:
            LocalError: it is missing or was changed.
        """
        for path in sorted((self._directory / agreement[:16]).glob("*.state"), reverse=True):
            state = read_state(path.read_bytes())
            if state_digest(state) == model:
                return state
        raise LocalError("expected the model state of this digest")
