"""`comity server`: run the operator's daemon, ask it how it is."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from comity_common.cli import TRY_LATER, fail, succeed

if find_spec("grpc") is None:  # the root command then leaves this part out
    raise ModuleNotFoundError("expected comity[server] to be installed")

app = typer.Typer(help="The operator: rounds, sums, models.", no_args_is_help=True)

HomeOption = Annotated[Path, typer.Option("--home", help="The operator's directory.")]


@app.command()
def run(home: HomeOption) -> None:
    """Run the operator's daemon until it is told to end."""
    from comity_common.errors import LocalError
    from comity_server.daemon import serve

    try:
        serve(home)
    except LocalError as error:
        fail("COM-SERVER-001", f"the server cannot start: {error}", as_json=False)


@app.command()
def status(
    home: HomeOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON envelope.")] = False,
) -> None:
    """Show where the run is."""
    from comity_common.errors import LocalError
    from comity_server.coordination import ask_status
    from comity_server.home import Home

    try:
        state = ask_status(Home(home).socket)
    except LocalError as error:
        fail(
            "COM-SERVER-002",
            f"no answer from the server: {error}. Fix: comity server run",
            as_json=as_json,
            exit_code=TRY_LATER,
        )
    succeed(state, as_json=as_json, text=_in_words(state))


def _in_words(state: dict[str, Any]) -> str:
    lines = [
        f"{state['stage']} · round {state['round']} of at most {state['attempts']}"
        f" · {state['certified']} of {state['of_rounds']} certified"
    ]
    if state["failure"]:
        lines.append(f"stopped: {state['failure']}")
    for one in state["institutions"]:
        here = "connected" if one["connected"] else "away"
        lines.append(f"  {one['id']:<24} {here:<10} {one['phase']}")
    for one in state["rounds"]:
        end = f"void: {one['reason']}" if one["void"] else ", ".join(one["survivors"])
        lines.append(f"  {one['n']:>4}  {one['seconds']:>8.1f} s  {end}")
    return "\n".join(lines)
