"""The one command, `comity`: its parts come from whatever is installed.

Conventions of every subcommand, kept here for all of them:

* `--json` prints one envelope `{"ok", "data", "error"}` as the last line of stdout;
* exit codes: 0 done, 1 failed, 2 usage, 3 findings, 4 unreadable, 75 try later, 130 stopped;
* a command raises, and what went wrong is told once, here: code, cause and fix in one line.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.metadata import version as installed_version
from typing import Annotated

import click
import typer

from comity_common.catalogue import FAILED
from comity_common.errors import LocalError, PeerError, Problem, Refusal, RefusalCode
from comity_host.files import is_disk_full
from comity_host.onceonly import refuse_repeats
from comity_host.telling import tell

GROUP = "comity.commands"
DEBUG_VARIABLE = "COMITY_DEBUG"

typer.core.HAS_RICH = False  # help in plain text: Rich alone takes 0.2 s of the 0.3 it may take

ADVICE = {
    RefusalCode.UNKNOWN_AGREEMENT: "comity client agreement list",
    RefusalCode.AGREEMENT_EXPIRED: "ask the operator to propose a new agreement",
    RefusalCode.POLICY: "comity client policy show; comity client policy set changes it",
    RefusalCode.BUDGET: "comity client budget show; a ceiling is for life",
    RefusalCode.SELFTEST: "comity client selftest shows what failed",
    RefusalCode.RESTORED: "put the newest disk back; if it is lost, comity client keys backup of "
    "this home and keys restore into an empty one, which counts as spent what may have been",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    try:
        sys.stdout.flush()
    except OSError:  # what is left in the buffer goes nowhere, or Python would fail on it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or FAILED
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    as_json = "--json" in arguments
    try:
        command = typer.main.get_command(_root())
        refuse_repeats(command)
        outcome = command.main(arguments, prog_name="comity", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except click.exceptions.Exit as end:
        interrupted = end.exit_code == 128 + signal.SIGINT  # Typer's word for Ctrl-C
        return tell(Problem("COM-ANY-005"), as_json=as_json) if interrupted else end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        called = context.command_path if context else "comity"
        said = error.format_message().rstrip(".")
        return tell(Problem("COM-ANY-004", message=said, command=called), as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        return tell(Problem("COM-ANY-005"), as_json=as_json)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return tell(_problem(error), as_json=as_json)


def succeed(data: object, *, as_json: bool, text: str) -> None:
    """Print a result for people, or its envelope for scripts.

    Raises:
        Problem: stdout does not take it.
    """
    try:
        typer.echo(json.dumps({"ok": True, "data": data}) if as_json else text)
    except BrokenPipeError:
        raise  # whoever read has seen enough
    except OSError as error:
        raise Problem("COM-ANY-006", why=error.strerror) from None


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"comity {installed_version('comity')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the options that stand before any command."""


def _root() -> typer.Typer:
    root = typer.Typer(
        callback=_options,
        name="comity",
        help="Federated, privacy-preserving, cross-border fine-tuning of BERT.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        suggest_commands=False,  # Click does
    )
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            app = point.load()
        except ModuleNotFoundError:  # a part whose extra is not installed
            continue
        root.add_typer(app, name=point.name)
    return root


def _problem(error: Exception) -> Problem:
    """Find the code of whatever a command raised."""
    match error:
        case Problem():
            return error
        case Refusal():
            advice = ADVICE.get(error.code, "nothing is to be done")
            return Problem("COM-RULE-001", reason=error.code.value, message=error, advice=advice)
        case LocalError():
            return Problem("COM-ANY-001", message=error)
        case PeerError():
            return Problem("COM-ANY-002", message=error)
        case _ if is_disk_full(error):
            where = getattr(error, "filename", None)
            return Problem("COM-HOST-001", path=where or "whatever it writes to")
        case OSError() if error.filename is not None:
            return Problem("COM-HOST-002", path=error.filename, why=error.strerror)
        case _:
            return Problem("COM-ANY-003", kind=type(error).__name__)


if __name__ == "__main__":
    main()
