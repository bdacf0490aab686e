"""The global model as this vault computed it, and the optimiser's moments, on disk.

A state file is written and synced before the transaction that names its digest; a file whose
digest is not the named one is not used.
"""

from pathlib import Path

from comity_common.errors import LocalError
from comity_common.ids import Digest
from comity_common.modelfile import read_state, write_state
from comity_common.optimizer import ModelState, state_digest
from comity_host.files import write_durably


class ModelFiles:
    """States and moments of all agreements, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, agreement: Digest, state: ModelState) -> Digest:
        """Write a state, durably.

        Returns:
            its digest, under which it is found again.
        """
        digest = state_digest(state)
        write_durably(self._state(agreement, digest), write_state(state))
        return digest

    def load(self, agreement: Digest, digest: Digest) -> ModelState:
        """Read a state back.

        Raises:
            LocalError: it is missing or was changed.
        """
        try:
            state = read_state(self._state(agreement, digest).read_bytes())
        except OSError:
            raise LocalError("expected the model state that the store names") from None
        if state_digest(state) != digest:
            raise LocalError("expected the model state with the digest that the store names")
        return state

    def forget(self, agreement: Digest, digest: Digest) -> None:
        """Remove a state that was overtaken."""
        self._state(agreement, digest).unlink(missing_ok=True)

    def save_moments(self, agreement: Digest, raw: bytes) -> None:
        """Keep the optimiser's moments for the next round."""
        write_durably(self._moments(agreement), raw)

    def load_moments(self, agreement: Digest) -> bytes | None:
        """Read the moments, None before the first round."""
        path = self._moments(agreement)
        return path.read_bytes() if path.exists() else None

    def _state(self, agreement: Digest, digest: Digest) -> Path:
        return self._directory / f"{agreement[:16]}-{digest[:16]}.state"

    def _moments(self, agreement: Digest) -> Path:
        return self._directory / f"{agreement[:16]}.moments"
