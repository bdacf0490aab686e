"""`comity server`: run the operator's daemon, ask it how it is."""

from pathlib import Path
from typing import Annotated, Any

import typer

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
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


@app.command()
def status(
    home: HomeOption,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show where the run is."""
    import json

    from comity_common.errors import LocalError
    from comity_server.coordination import ask_status
    from comity_server.home import Home

    try:
        state = ask_status(Home(home).socket)
    except LocalError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(75) from None
    typer.echo(json.dumps(state) if as_json else _in_words(state))


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
