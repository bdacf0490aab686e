"""`comity server`: what the operator runs. One module for each group of commands."""

from importlib.util import find_spec

import typer

if find_spec("grpc") is None:  # the root command then leaves this part out
    raise ModuleNotFoundError("expected comity[server] to be installed")

from comity_server.cli import agreement, doctor, members, runs, service

app = typer.Typer(help="The operator: rounds, sums, models.", no_args_is_help=True)
for command in (
    *(members.init, service.start, service.stop, service.status, service.unit),
    *(members.invite, members.institutions, members.approve, members.revoke),
):
    app.command()(command)
app.add_typer(agreement.app, name="agreement")
app.add_typer(runs.app, name="run")
app.command("daemon")(service.run)
app.command()(doctor.doctor)
