"""Where a demo keeps what it makes: one directory, with a directory of its own for every party."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from comity_common.errors import LocalError

MARKER = "comity-demo"


@dataclass(frozen=True, slots=True)
class Workdir:
    """The paths of one demo.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def marker(self) -> Path:
        """Says that this directory may be removed by `--clean`."""
        return self.path / MARKER

    @property
    def operator(self) -> Path:
        """The operator's home."""
        return self.path / "operator"

    @property
    def institutions(self) -> Path:
        """The institutions' homes, by id."""
        return self.path / "institutions"

    @property
    def evaluation(self) -> Path:
        """The public evaluation set."""
        return self.path / "public" / "evaluation.jsonl"

    @property
    def logs(self) -> Path:
        """What every process wrote."""
        return self.path / "logs"

    @property
    def faults(self) -> Path:
        """Markers of the faults that have happened."""
        return self.path / "faults"

    @property
    def model(self) -> Path:
        """The model, in Hugging Face's format."""
        return self.path / "model"

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.path / "report.html"

    def home(self, institution: str) -> Path:
        """Return an institution's home."""
        return self.institutions / institution

    def rows(self, institution: str) -> Path:
        """Return an institution's data file, inside its home."""
        return self.home(institution) / "data" / "rows.jsonl"

    def create(self) -> None:
        """Make the directories; forget faults, page and model of an earlier run."""
        for directory in (self.institutions, self.evaluation.parent, self.logs, self.faults):
            directory.mkdir(parents=True, exist_ok=True)
        for marker in self.faults.iterdir():
            marker.unlink()
        self.report.unlink(missing_ok=True)
        shutil.rmtree(self.model, ignore_errors=True)
        self.marker.touch()

    def remove(self) -> bool:
        """Remove what a demo made, and nothing else.

        Returns:
            whether there was anything.

        Raises:
            LocalError: the directory was not made by a demo.
        """
        if not self.path.exists():
            return False
        if not self.marker.exists():
            raise LocalError(f"expected a directory that a demo made, {self.path} is not")
        shutil.rmtree(self.path)
        return True
