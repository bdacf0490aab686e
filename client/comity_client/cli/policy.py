"""`comity client policy`: what this institution permits, whatever an operator proposes."""

from typing import TYPE_CHECKING, Annotated

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_client.policy import Policy

app = typer.Typer(help="What this institution permits.", no_args_is_help=True)

ANY = "ANY"


@app.command("set")
def set_(
    epsilon: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="The most ε that one agreement may claim."),
    ] = None,
    delta: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="The most δ that one agreement may claim."),
    ] = None,
    min_participants: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="The fewest institutions in a round, at least 3."),
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="A part of the model that may be trained: head, lora, lora-plain, bitfit or full. "
            "Can be given again.",
        ),
    ] = None,
    operators: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COUNTRY",
            help="A country in which the operator may sit, such as DE; any for all. "
            "Can be given again.",
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Change the rules that are named, and no others."""
    from comity_client.institution import Institution
    from comity_client.policy import load, save
    from comity_common.errors import Problem
    from comity_common.ledger.bodies import PolicySet

    named = {
        "epsilon": epsilon,
        "delta": delta,
        "min_participants": min_participants,
        "tune": tuple(dict.fromkeys(tune)) if tune else None,
        "operators": _countries(operators) if operators else None,
    }
    rules = {name: value for name, value in named.items() if value is not None}
    if not rules:
        raise Problem("COM-POLICY-001")
    institution = Institution(home)
    policy = load(institution.home.policy).changed(rules)
    with institution.store.transaction() as tx:
        institution.ledger.append(tx, PolicySet(policy=policy.digest))
        save(institution.home.policy, policy)
    _show(policy, "From now on:", json_)


@app.command()
def show(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Say in words what is permitted."""
    from comity_client.home import Home
    from comity_client.policy import load

    place = Home(home)
    place.settings()
    _show(load(place.policy), "What this institution permits:", json_)


def _countries(names: list[str]) -> tuple[str, ...]:
    """Read countries; none stands for any, as in the file."""
    countries = tuple(sorted({name.upper() for name in names}))
    return () if countries == (ANY,) else countries


def _show(policy: "Policy", heading: str, json_: bool) -> None:
    from comity_client.policy import in_words

    words = in_words(policy)
    data = policy.model_dump(mode="json") | {"words": words}
    succeed(data, as_json=json_, text="\n".join([heading, *(f"  {line}" for line in words)]))
