"""Where an institution's things lie: one directory, readable by its own user alone."""

from dataclasses import dataclass
from pathlib import Path

from comity_client.config import VaultConfig
from comity_common.errors import Problem
from comity_host import settings
from comity_host.files import make_private


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
    def card(self) -> Path:
        """Who the operator is, as it said when this institution joined."""
        return self.path / "operator.card"

    @property
    def database(self) -> Path:
        """Ledger, budget and round state, in one SQLite file."""
        return self.path / "vault.db"

    @property
    def lock(self) -> Path:
        """Held by the one vault that runs here."""
        return self.path / "vault.lock"

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

    @property
    def run(self) -> Path:
        """Sockets, and what says that the service runs."""
        return self.path / "run"

    def create(self) -> None:
        """Make the directories, for the owner alone."""
        make_private(self.path, self.keys, self.outbox, self.models, self.flower, self.logs)

    def settings(self) -> VaultConfig:
        """Read the institution's settings.

        Raises:
            Problem: they are missing, no TOML, or have a wrong or unknown key.
        """
        if not self.config.exists():
            raise Problem("COM-CLIENT-002", home=self.path)
        found = settings.load(self.config, VaultConfig)
        return found.model_copy(update={"sockets": found.sockets or self.run.absolute()})
