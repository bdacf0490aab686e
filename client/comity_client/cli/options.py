"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_HOME = Path("~/.comity/client")


def _expanded(path: Path) -> Path:
    return path.expanduser().absolute()


HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="COMITY_CLIENT_HOME",
        help="The institution's directory.",
        callback=_expanded,
        show_default=str(DEFAULT_HOME),
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON envelope.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
