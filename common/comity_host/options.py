"""Options that the commands of all parts share, so that they are called the same everywhere."""

from pathlib import Path
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON envelope.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
ForegroundOption = Annotated[
    bool, typer.Option("--foreground", help="Stay here until stopped, as systemd wants it.")
]


def home_option(default: Path, variable: str, help: str) -> Any:
    """Describe the option that names a part's directory.

    Args:
        default: shown as it is, with `~`.
        variable: of the environment, that names it too.
    """
    return typer.Option(
        "--home",
        envvar=variable,
        help=help,
        callback=_expanded,
        show_default=str(default),
    )


def _expanded(path: Path) -> Path:
    return path.expanduser().absolute()
