"""`comity client`: what an institution runs beside its data."""

import json
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from comity_common.cli import TRY_LATER, fail, succeed
from comity_common.errors import ComityError

if find_spec("grpc") is None:  # the root command then leaves this part out
    raise ModuleNotFoundError("expected comity[client] to be installed")

app = typer.Typer(help="Run an institution's vault beside its data.", no_args_is_help=True)

HomeOption = Annotated[Path, typer.Option("--home", help="The institution's directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON envelope.")]


@app.command()
def run(home: HomeOption) -> None:
    """Run the vault until it is told to stop."""
    from comity_client.daemon import serve
    from comity_host import log

    log.set_up()
    try:
        serve(home)
    except ComityError as error:
        fail("COM-CLIENT-001", f"the vault cannot start: {error}", as_json=False)


@app.command()
def status(home: HomeOption, json_: JsonOption = False) -> None:
    """Show what a running vault does."""
    from comity_client.home import Home

    try:
        state = ask(Home(home).settings().control)
    except (ComityError, OSError, ValueError) as error:
        fail(
            "COM-CLIENT-002",
            f"no answer from the vault: {error}. Fix: comity client run",
            as_json=json_,
            exit_code=TRY_LATER,
        )
    succeed(state, as_json=json_, text=f"{state['id']}: {state['doing']}")


def ask(control: Path) -> dict[str, object]:
    """Ask a vault for its status.

    Raises:
        OSError: nobody answers.
        ValueError: what came is no status.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(str(control))
        connection.sendall(b"{}\n")
        with connection.makefile("rb") as lines:
            answer = json.loads(lines.readline(65536))
    if not isinstance(answer, dict):
        raise ValueError("expected a status")
    return answer
