"""Where an institution's things lie: one directory, readable by its own user alone."""

from dataclasses import dataclass
from pathlib import Path

from comity_common.errors import LocalError

MAX_SOCKET_PATH = 100  # the kernel allows 108 bytes


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one institution.

    Attributes:
        path: the directory, mode 0700.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The vault's settings."""
        return self.path / "vault.toml"

    @property
    def policy(self) -> Path:
        """The institution's own rules, never sent."""
        return self.path / "policy.toml"

    @property
    def database(self) -> Path:
        """Ledger, budget and round state, in one SQLite file."""
        return self.path / "vault.db"

    @property
    def keys(self) -> Path:
        """Private keys and certificates."""
        return self.path / "keys"

    @property
    def outbox(self) -> Path:
        """Masked files that wait for their upload."""
        return self.path / "outbox"

    @property
    def models(self) -> Path:
        """Global model states, and the optimiser's moments."""
        return self.path / "models"

    @property
    def flower(self) -> Path:
        """The SuperNode's own directory, without anything of the institution in it."""
        return self.path / "flower"

    @property
    def logs(self) -> Path:
        """What the daemons wrote."""
        return self.path / "logs"

    def create(self) -> None:
        """Make the directories, for the owner alone."""
        for directory in (self.path, self.keys, self.outbox, self.models, self.flower, self.logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)


def check_socket_path(path: Path) -> Path:
    """Check that a unix socket can have this path.

    Raises:
        LocalError: it is too long for the kernel.
    """
    if len(str(path).encode()) > MAX_SOCKET_PATH:
        raise LocalError(f"expected a socket path of at most {MAX_SOCKET_PATH} bytes")
    return path
