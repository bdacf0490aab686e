"""`comity server doctor`: whether this machine has what an operator's daemon needs."""

import typer

from comity_host.cli import succeed
from comity_host.options import JsonOption
from comity_server.cli.options import DEFAULT_HOME, HomeOption


def doctor(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Look at this machine, the listeners and the keys; each finding ends with its fix."""
    from comity_common.catalogue import FINDINGS
    from comity_host.checks import Level
    from comity_server.doctor import NAME_WIDTH, examine_server

    findings = []
    for finding in examine_server(home):
        findings.append(finding)
        if not json_:
            typer.echo(finding.line(width=NAME_WIDTH))
    if json_:
        succeed([finding.data() for finding in findings], as_json=True, text="")
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(FINDINGS)
