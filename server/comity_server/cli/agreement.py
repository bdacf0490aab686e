"""`comity server agreement`: propose what all are to sign, and see who has."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comity_host.cli import succeed
from comity_host.options import JsonOption
from comity_server.cli.options import DEFAULT_HOME, HomeOption

if TYPE_CHECKING:
    from comity_common.agreement import Agreement
    from comity_server.agreements import AgreementRecord

app = typer.Typer(help="Propose agreements, and see who has signed.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Federation, or the beginning of the digest.")]


@app.command()
def propose(
    terms: Annotated[
        Path, typer.Argument(metavar="TERMS.toml", exists=True, dir_okay=False, help="The terms.")
    ],
    start: Annotated[
        Path | None,
        typer.Option(help="What `comity model start` wrote, if it ran on another machine."),
    ] = None,
    continue_: Annotated[
        str,
        typer.Option(
            "--continue",
            metavar="NAME",
            help="Go on with the model of this earlier agreement, under another roster or terms.",
        ),
    ] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Write an agreement from terms: keys, fingerprints, model and seed are filled in."""
    from comity_server.operator import opened
    from comity_server.proposing import prepare, prepare_continuation

    if start is not None and continue_:
        raise typer.BadParameter("expected --start or --continue, not both")
    with opened(home) as operator:
        if continue_:
            agreement, state = prepare_continuation(terms, operator, continue_)
            operator.agreements.propose_continuation(agreement, operator.keys, state)
        else:
            prepared = prepare(terms, operator.home.party(), operator.registry.parties(), start)
            agreement = prepared.agreement
            operator.agreements.propose(agreement, operator.keys, prepared.parameters)
        record = operator.agreements.find(agreement.digest)
    data = _summary(record)
    succeed(
        data,
        as_json=json_,
        text=f"{data['federation']} is proposed to {len(data['institutions'])} institutions.\n"
        + (f"{_scores_in_words(data['scores'])}\n" if data["scores"] else "")
        + f"Its words, which all must see:\n\n    {data['words']}\n\n"
        f"Next: comity server run start {data['federation']} --watch, once all have signed",
    )


@app.command("list")
def list_(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """List the agreements."""
    from comity_server.operator import opened

    with opened(home) as operator:
        rows = [_summary(record) for record in operator.agreements.records()]
    lines = [
        f"{row['state']:<9} {row['federation']:<24} {row['digest'][:16]}  "
        f"{len(row['signed'])} of {len(row['institutions'])} signed"
        + (f", {len(row['left'])} left" if row["left"] else "")
        for row in rows
    ]
    succeed(rows, as_json=json_, text="\n".join(lines) or "Nothing was proposed yet.")


@app.command()
def show(name: Name, home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show an agreement: who has signed, who has left, its words."""
    import json

    from comity_common.canonical import encode
    from comity_common.words import party_words
    from comity_server.operator import opened

    with opened(home) as operator:
        record = operator.agreements.find(name)
    data = _summary(record)
    lines = [
        f"{data['federation']}: {record.agreement.purpose}",
        f"  state   {data['state']}{': ' + record.reason if record.reason else ''}",
        f"  digest  {data['digest']}",
        f"  words   {data['words']}",
    ]
    if data["scores"]:
        lines.append(f"  scores  {_scores_in_words(data['scores'])}")
    for party in record.agreement.institutions:
        sign = "left" if party.id in data["left"] else "waits"
        sign = "signed" if sign == "waits" and party.id in data["signed"] else sign
        lines.append(f"  {sign:<7} {party.jurisdiction}  {party.id:<24} {party_words(party)}")
    data["agreement"] = json.loads(encode(record.agreement))
    succeed(data, as_json=json_, text="\n".join(lines))


@app.command()
def withdraw(name: Name, home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Take a proposal back, for good."""
    from comity_server.operator import opened

    with opened(home) as operator:
        record = operator.agreements.find(name)
        operator.agreements.withdraw(record.agreement.digest)
        record = operator.agreements.find(record.agreement.digest)
    succeed(_summary(record), as_json=json_, text=f"{record.agreement.federation} is withdrawn.")


@app.command()
def schema(json_: JsonOption = False) -> None:
    """Print the JSON schema of the terms file."""
    import json

    from comity_server.terms import terms_schema

    found = terms_schema()
    succeed(found, as_json=json_, text=json.dumps(found, indent=2, ensure_ascii=False))


@app.command()
def sample(json_: JsonOption = False) -> None:
    """Print a commented terms file to start from."""
    from comity_server.terms import SAMPLE

    text = SAMPLE.read_text("utf-8")
    succeed({"terms": text}, as_json=json_, text=text.rstrip("\n"))


def _summary(record: "AgreementRecord") -> dict[str, Any]:
    from comity_common.words import agreement_words
    from comity_server.operator import left_by

    agreement = record.agreement
    return {
        "federation": agreement.federation,
        "digest": agreement.digest,
        "words": agreement_words(agreement.digest),
        "state": record.state.value,
        "reason": record.reason or None,
        "institutions": list(agreement.roster),
        "signed": [id for id in agreement.roster if id in record.signatures],
        "left": sorted(left_by(record)),
        "scores": _scores(agreement),
    }


def _scores(agreement: "Agreement") -> dict[str, Any] | None:
    """Foretell how certain a score on private rows will be; None where there are none."""
    scores = agreement.private_evaluation
    if scores is None:
        return None
    expected = (scores.units, len(agreement.institutions))
    return {
        "after": list(scores.after),
        "expected_deviation": scores.score.expected_deviation(*expected),
        "readable": scores.score.is_readable(*expected),
    }


def _scores_in_words(scores: dict[str, Any]) -> str:
    after = ", ".join(map(str, scores["after"]))
    points = 100 * scores["expected_deviation"]
    told = f"Scored on private rows after round {after}, each time to about ± {points:.1f} points."
    if scores["readable"]:
        return told
    return (
        f"{told} That is too much noise to read anything from: expect no result, unless more is "
        "held out (units) or scores get more ε."
    )
