"""Runs the `comity` command in this process, as a terminal or a script would."""

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from comity_host.cli import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did."""

    exit_code: int
    output: str
    error: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The last line of stdout as JSON."""
        found: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return found

    @property
    def data(self) -> Any:
        """What a successful command told a script."""
        assert self.exit_code == 0, self.output + self.error
        assert self.envelope["ok"] is True
        return self.envelope["data"]


def comity(*words: object) -> Outcome:
    """Run `comity` with these words."""
    output, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        code = run([str(word) for word in words])
    return Outcome(exit_code=code, output=output.getvalue(), error=error.getvalue())
