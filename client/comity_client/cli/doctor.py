"""`comity client doctor`: whether this machine has what a vault needs, and how good the way is."""

import os

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption


def doctor(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Look at this machine, the data and the way; each finding ends with its fix."""
    from comity_client.doctor import NAME_WIDTH, examine_client
    from comity_common.catalogue import FINDINGS
    from comity_host.checks import Level

    findings = []
    for finding in examine_client(home, os.environ):
        findings.append(finding)
        if not json_:
            typer.echo(finding.line(width=NAME_WIDTH))
    if json_:
        succeed([finding.data() for finding in findings], as_json=True, text="")
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(FINDINGS)
