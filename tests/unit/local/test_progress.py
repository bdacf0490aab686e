"""Progress on a terminal and in a log."""

import io
from dataclasses import replace

from rich.console import Console

from comity_local.progress import InstitutionView, Progress, Snapshot, progress_console

VIEWS = (
    InstitutionView(id="spree-bank", jurisdiction="DE", phase="training", fraction=0.4),
    InstitutionView(id="ziwa-sacco", jurisdiction="KE", phase="training", fraction=None),
)
FIRST = Snapshot(
    round=1, of_rounds=10, phase="uploads", institutions=VIEWS, elapsed_s=12.0, estimate_s=100.0,
    log=("spree-bank joined",), last_accuracy=None,
)  # fmt: skip


def shown(*snapshots: Snapshot, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal)
    with Progress(console) as progress:
        for snapshot in snapshots:
            progress.show(snapshot)
    return out.getvalue()


def test_a_log_has_one_line_for_each_change_and_none_for_time_alone() -> None:
    trained = replace(VIEWS[0], phase="masking")
    lines = shown(
        FIRST,
        replace(FIRST, elapsed_s=13.0, estimate_s=99.0),
        replace(FIRST, institutions=(replace(VIEWS[0], fraction=0.6), VIEWS[1])),
        replace(FIRST, institutions=(trained, VIEWS[1])),
        replace(FIRST, institutions=(trained, VIEWS[1]), last_accuracy=0.5),
    ).splitlines()
    assert lines == [
        "spree-bank joined",
        "round 1 of 10 · uploads · 12 s so far · about 1 min 40 s to go · 2 training",
        "round 1 of 10 · uploads · 12 s so far · about 1 min 40 s to go · 1 masking, 1 training",
        "round 1 of 10 · uploads · accuracy 0.500 · 12 s so far · about 1 min 40 s to go · "
        "1 masking, 1 training",
    ]


def test_a_terminal_shows_every_institution_and_says_stay() -> None:
    out = io.StringIO()
    with Progress(Console(file=out, width=100, force_terminal=True)) as progress:
        progress.show(FIRST)
        progress.say("certificate of round 1")
    text = out.getvalue()
    for part in ("spree-bank", "ziwa-sacco", "training", "certificate of round 1"):
        assert part in text


def test_a_hostile_log_line_moves_no_cursor() -> None:
    assert "\x1b" not in shown(replace(FIRST, log=("\x1b[2J[bold]x[/bold]",)))


def test_with_json_progress_leaves_stdout_alone() -> None:
    assert progress_console(as_json=True).stderr
    assert not progress_console(as_json=False).stderr
