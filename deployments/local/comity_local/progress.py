"""What a person sees while the demo runs.

On a terminal one picture that renews itself; elsewhere plain lines, one for each change, so that a
log stays readable. It shows snapshots that it is given and knows no clock and no daemon.
"""

from collections import Counter
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from comity_host.markup import printable
from comity_local.wording import in_time, score

_LOG_LINES = 6  # under the picture
_BAR_WIDTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class InstitutionView:
    """One institution now.

    Attributes:
        phase: in words, as its vault calls it.
        fraction: how much of the phase is done, 0 to 1; None when nobody can know.
    """

    id: str
    jurisdiction: str
    phase: str
    fraction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The federation now.

    Attributes:
        round: from 1; 0 before the first.
        of_rounds: how many are planned.
        estimate_s: seconds still to go; None when not known yet.
        log: the latest lines, oldest first.
        last_accuracy: of the latest model on the public evaluation set.
    """

    round: int
    of_rounds: int
    phase: str
    institutions: tuple[InstitutionView, ...]
    elapsed_s: float
    estimate_s: float | None
    log: tuple[str, ...]
    last_accuracy: float | None


class Progress:
    """Show snapshots and say sentences, between `with` and its end.

    Args:
        console: where to; with `--json` one that writes to stderr (`progress_console`).
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._shown: Snapshot | None = None

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Print a sentence that stays."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Show the federation as it is now."""
        if self._live is not None:
            self._live.update(picture(snapshot))
        else:
            for line in changes(self._shown, snapshot):
                self.say(line)
        self._shown = snapshot


def progress_console(*, as_json: bool) -> Console:
    """Return the console for progress: stdout, or stderr when stdout carries the envelope."""
    return Console(stderr=as_json)


def picture(snapshot: Snapshot) -> RenderableType:
    """Draw a snapshot for a terminal."""
    rows = Table.grid(padding=(0, 2))
    for _ in range(2):
        rows.add_column(no_wrap=True)
    rows.add_column(width=_BAR_WIDTH)
    rows.add_column(no_wrap=True)
    for one in snapshot.institutions:
        waiting = one.fraction is None
        bar = ProgressBar(total=1, completed=one.fraction or 0, width=_BAR_WIDTH, pulse=waiting)
        rows.add_row(
            Text(printable(one.id), style="bold"),
            Text(printable(one.jurisdiction), style="dim"),
            bar,
            Text(printable(one.phase)),
        )
    log = [Text(printable(line), style="dim") for line in snapshot.log[-_LOG_LINES:]]
    done = max(snapshot.round - 1, 0) / max(snapshot.of_rounds, 1)
    whole = Table.grid()
    whole.add_row(ProgressBar(total=1, completed=done, width=_BAR_WIDTH * 2))
    return Group(Text(_headline(snapshot), style="bold cyan"), whole, rows, *log)


def changes(before: Snapshot | None, now: Snapshot) -> tuple[str, ...]:
    """Return the lines that a reader of a log has not seen yet; none when only time has passed."""
    lines = [line for line in now.log if before is None or line not in before.log]
    if before is None or _state(before) != _state(now):
        phases = Counter(one.phase for one in now.institutions)
        doing = ", ".join(f"{n} {phase}" for phase, n in phases.items())
        lines.append(f"{_headline(now)} · {doing}" if doing else _headline(now))
    return tuple(lines)


def _state(snapshot: Snapshot) -> tuple[object, ...]:
    phases = tuple((one.id, one.phase) for one in snapshot.institutions)
    return snapshot.round, snapshot.phase, snapshot.last_accuracy, phases


def _headline(snapshot: Snapshot) -> str:
    parts = [printable(snapshot.phase)]
    if snapshot.round:
        parts.insert(0, f"round {snapshot.round} of {snapshot.of_rounds}")
    if snapshot.last_accuracy is not None:
        parts.append(f"accuracy {score(snapshot.last_accuracy)}")
    parts.append(f"{in_time(snapshot.elapsed_s)} so far")
    if snapshot.estimate_s is not None:
        parts.append(f"about {in_time(snapshot.estimate_s)} to go")
    return " · ".join(parts)
