"""`comity client`: what an institution runs beside its data; one module a group."""

from importlib.util import find_spec

import typer

if find_spec("grpc") is None:  # the root command then leaves this part out
    raise ModuleNotFoundError("expected comity[client] to be installed")

from comity_client.cli import (
    agreement,
    budget,
    data,
    doctor,
    export,
    joining,
    keys,
    policy,
    rehearse,
    scores,
    selftest,
    service,
    whatleft,
)

app = typer.Typer(help="Run an institution's vault beside its data.", no_args_is_help=True)
for command in (service.start, service.stop, service.status, service.unit):
    app.command()(command)
app.command("daemon")(service.run)
app.command()(joining.join)
app.add_typer(data.app, name="data")
app.add_typer(budget.app, name="budget")
app.add_typer(agreement.app, name="agreement")
app.add_typer(policy.app, name="policy")
app.command("what-left")(whatleft.what_left)
app.add_typer(keys.app, name="keys")
app.command()(rehearse.rehearse)
app.command()(selftest.selftest)
app.command()(scores.scores)
app.command()(export.export)
app.command()(doctor.doctor)
