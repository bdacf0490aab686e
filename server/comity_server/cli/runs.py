"""`comity server run …`: the rounds of an agreement that all have signed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comity_common.errors import LocalError, PeerError, Problem
from comity_host.cli import succeed
from comity_host.options import JsonOption
from comity_server.cli.options import DEFAULT_HOME, HomeOption

if TYPE_CHECKING:
    from comity_server.agreements import AgreementRecord
    from comity_server.operator import Operator

app = typer.Typer(help="Run the rounds of a signed agreement.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Federation, or the beginning of the digest.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Stay and show the rounds.")]

LOOK_EVERY_S = 1.0
DAY_S = 86_400


@app.command()
def start(
    name: Name,
    watch: WatchOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Let an agreement run, or go on where it stopped."""
    from comity_server.operator import opened

    with opened(home) as operator:
        agreement = operator.agreements.find(name).agreement
        try:
            operator.agreements.start(agreement.digest)
        except Problem:
            raise
        except (PeerError, LocalError) as error:
            raise Problem("COM-RUN-002", agreement=agreement.federation, why=error) from None
        if watch:
            _watch(operator, agreement.digest)
        data = _summary(operator, operator.agreements.find(agreement.digest))
    text = f"{data['federation']} runs; comity server run show {data['federation']} tells how it is"
    if watch:
        text = _in_words(data)
        if data["state"] != "finished":
            raise Problem("COM-RUN-001", agreement=data["federation"], why=data["reason"])
    succeed(data, as_json=json_, text=text)


@app.command("list")
def list_(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """List the runs."""
    from comity_server.operator import opened

    with opened(home) as operator:
        rows = [
            _summary(operator, record)
            for record in operator.agreements.records()
            if record.state.value not in ("proposed", "withdrawn")
        ]
    lines = [
        f"{row['state']:<9} {row['federation']:<24} {row['certified']} of {row['of_rounds']} rounds"
        for row in rows
    ]
    succeed(rows, as_json=json_, text="\n".join(lines) or "Nothing has run yet.")


@app.command()
def show(
    name: Name,
    watch: WatchOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show every round of a run."""
    from comity_server.operator import opened

    with opened(home) as operator:
        record = operator.agreements.find(name)
        if watch:
            _watch(operator, record.agreement.digest)
        data = _summary(operator, operator.agreements.find(record.agreement.digest))
        data["now"] = _now(operator, data)
    succeed(data, as_json=json_, text=_in_words(data))


@app.command()
def extend(
    name: Name,
    seconds: Annotated[
        int, typer.Option(min=1, max=30 * DAY_S, help="For how long from now, at least.")
    ],
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Wait longer for the uploads of the round that is going on."""
    from datetime import UTC, datetime

    from comity_server.coordination import ask_extension
    from comity_server.operator import opened

    with opened(home) as operator:
        agreement = operator.agreements.find(name).agreement
        try:
            done = ask_extension(operator.home.socket, agreement.digest, seconds)
        except PeerError as error:
            raise Problem("COM-RUN-006", agreement=agreement.federation, why=error) from None
        except LocalError as error:
            raise Problem("COM-SERVER-001", why=error) from None
    until = datetime.fromtimestamp(done.until, UTC).isoformat()
    succeed(
        {"round": done.round, "until": until, "told": list(done.told)},
        as_json=json_,
        text=f"round {done.round} waits for uploads until {until} at least; "
        f"told: {', '.join(done.told) or 'nobody'}",
    )


@app.command()
def stop(name: Name, home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Stop a run; what was certified stays, and start goes on from there."""
    from comity_server.agreements import AgreementState
    from comity_server.operator import opened

    with opened(home) as operator:
        record = operator.agreements.find(name)
        if record.state is not AgreementState.RUNNING:
            why = f"it is {record.state.value}"
            raise Problem("COM-RUN-003", agreement=record.agreement.federation, why=why)
        operator.agreements.end(
            record.agreement.digest, AgreementState.STOPPED, "the operator stopped it"
        )
        data = _summary(operator, operator.agreements.find(record.agreement.digest))
    succeed(data, as_json=json_, text=f"{data['federation']} is stopped.")


@app.command("export-round")
def export_round(
    name: Name,
    number: Annotated[int, typer.Argument(metavar="N", min=1, help="Which round.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Is made.")],
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Write a round that has ended, for an auditor to compute again."""
    from comity_host.servicetexts import waiting
    from comity_server.exporting import export_round as export
    from comity_server.operator import opened

    with opened(home) as operator:
        agreement = operator.agreements.find(name).agreement
        with waiting("writing the round"):
            exported = export(operator, agreement, number, directory)
    succeed(
        {
            "directory": str(directory),
            "agreement": agreement.digest,
            "federation": agreement.federation,
            "round": number,
            "files": exported.files,
            "bytes": exported.bytes,
        },
        as_json=json_,
        text=f"{directory} holds round {number} of {agreement.federation}: {exported.files} files, "
        f"{exported.bytes:,} bytes.\n"
        f"Whoever holds it can open the sum, as you can: hand it to auditors alone.\n"
        f"Next, there: comity audit recompute-round {directory.name} --agreement WORDS",
    )


def _watch(operator: "Operator", digest: Any) -> None:
    """Show each round as it ends, on stderr, until the run is over."""
    import time

    from comity_server import progress

    shown, before = 0, ""
    while True:
        record = operator.agreements.find(digest)
        rounds = _rounds(operator, record)
        for one in rounds[shown:]:
            typer.echo(progress.round_in_words(one), err=True)
        shown = len(rounds)
        if record.state.value != "running":
            return
        if (doing := _doing(operator)) != before:
            typer.echo(doing, err=True)
            before = doing
        time.sleep(LOOK_EVERY_S)


def _doing(operator: "Operator") -> str:
    from comity_server import progress
    from comity_server.coordination import ask_status

    try:
        status = ask_status(operator.home.socket)
    except LocalError:
        return "the server does not answer; comity server start"
    phases = [
        f"{one['id']} {progress.in_words(one)}" for one in status["institutions"] if one["phase"]
    ]
    return f"{status['stage']}: {', '.join(phases)}" if phases else str(status["stage"])


def _now(operator: "Operator", data: dict[str, Any]) -> dict[str, Any] | None:
    """Return stage and institutions of a run that is going on; None if none or nobody answers."""
    from comity_server.coordination import ask_status

    if data["state"] != "running":
        return None
    try:
        status = ask_status(operator.home.socket)
    except LocalError:
        return None
    if status["agreement"] != data["agreement"]:
        return None
    return {"stage": status["stage"], "institutions": status["institutions"]}


def _summary(operator: "Operator", record: "AgreementRecord") -> dict[str, Any]:
    from comity_server.status import tally

    rounds = _rounds(operator, record)
    return {
        "federation": record.agreement.federation,
        "agreement": record.agreement.digest,
        "state": record.state.value,
        "reason": record.reason or None,
        **tally(record.agreement, operator.history.rounds(record.agreement.digest)),
        "rounds": rounds,
        "model": str(operator.home.models / record.agreement.digest[:16]),
    }


def _rounds(operator: "Operator", record: "AgreementRecord") -> list[dict[str, Any]]:
    from comity_server.aggregator import total_path
    from comity_server.status import round_summary

    agreement, totals = record.agreement, operator.home.totals
    return [
        round_summary(agreement, one, total_path(totals, agreement.digest, one.number))
        for one in operator.history.rounds(agreement.digest)
        if one.certificate is not None
    ]


def _in_words(data: dict[str, Any]) -> str:
    from comity_server import progress

    scores = f", {data['scored']} of {data['of_scores']} scores" if data["of_scores"] else ""
    head = (
        f"{data['federation']}: {data['state']}, {data['certified']} of {data['of_rounds']} rounds "
        f"certified{scores}{': ' + data['reason'] if data['reason'] else ''}"
    )
    rounds = map(progress.round_in_words, data["rounds"])
    return "\n".join([head, *rounds, *_now_in_words(data.get("now")), f"models: {data['model']}"])


def _now_in_words(now: dict[str, Any] | None) -> list[str]:
    from comity_server import progress

    if now is None:
        return []
    lines = [
        f"  {one['id']:<24} {progress.in_words(one)}" for one in now["institutions"] if one["phase"]
    ]
    return [f"now: {now['stage']}", *lines]
