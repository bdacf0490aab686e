"""`comity audit`: says whether what others stored is true; one module for each thing to look at."""

import typer

from comity_audit.cli import ledgers, reports, rounds

app = typer.Typer(
    help="Say whether what others stored is true, from signatures alone.", no_args_is_help=True
)
app.command()(ledgers.export)
app.command()(ledgers.verify)
app.command()(ledgers.epsilon)
app.command()(ledgers.show)
app.command()(ledgers.prove)
app.command()(reports.report)
app.command()(reports.page)
app.command("recompute-round")(rounds.recompute_round)
