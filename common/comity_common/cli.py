"""The one command, `comity`: its parts come from whatever is installed.

Conventions of every subcommand: `--json` prints one envelope `{"ok", "data", "error"}` as the last
line of stdout; exit codes 0 done, 1 failed, 2 usage, 3 findings, 4 unreadable, 75 try later.
"""

import json
import sys
from importlib.metadata import entry_points
from typing import NoReturn

import typer

GROUP = "comity.commands"

FAILED, USAGE, FINDINGS, UNREADABLE, TRY_LATER = 1, 2, 3, 4, 75


def main() -> None:
    """Run the command line."""
    root = typer.Typer(
        name="comity",
        help="Federated, privacy-preserving, cross-border fine-tuning of BERT.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
    )
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            app = point.load()
        except ModuleNotFoundError:  # a part whose extra is not installed
            continue
        root.add_typer(app, name=point.name)
    root()


def succeed(data: object, *, as_json: bool, text: str) -> None:
    """Print a result for people, or its envelope for scripts."""
    typer.echo(json.dumps({"ok": True, "data": data}) if as_json else text)


def fail(code: str, message: str, *, as_json: bool, exit_code: int = FAILED) -> NoReturn:
    """Print an error for people on stderr, or its envelope for scripts, and end."""
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": {"code": code, "message": message}}))
    else:
        typer.echo(f"{code} {message}", err=True)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
