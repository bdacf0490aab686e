"""`comity client policy`: what this institution permits, whatever an operator proposes."""

from typing import TYPE_CHECKING, Annotated

import typer

from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_client.policy import Policy

app = typer.Typer(help="What this institution permits.", no_args_is_help=True)

ALL = ("any", "never")  # instead of a value: the rule bars nothing
OPEN = (
    "purposes",
    "models",
    "operators",
    "institutions",
)  # where an empty list bars nothing


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
    without_privacy: Annotated[
        str | None,
        typer.Option(
            metavar="yes|no", help="Whether an agreement may promise no privacy at all, ε = ∞."
        ),
    ] = None,
    private_evaluation: Annotated[
        str | None,
        typer.Option(
            metavar="yes|no",
            help="Whether models may be scored, with noise, on rows that are held out.",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(metavar="UNIT", help="The least that is protected: record or person."),
    ] = None,
    min_participants: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="The fewest institutions in a round, at least 3."),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK",
            help="What a model may learn: sequence-classification or token-classification; any "
            "for both. Can be given again.",
        ),
    ] = None,
    purposes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LINE",
            help="The very line that an agreement may have as its purpose; any for all. "
            "Can be given again.",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A base model by name or by its digest, which is stricter; any for all. "
            "Can be given again.",
        ),
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="A part of the model that may be trained: head, lora, lora-plain, bitfit or full; "
            "any for all. Can be given again.",
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
    institutions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COUNTRY",
            help="A country in which the other institutions may sit; any for all. "
            "Can be given again.",
        ),
    ] = None,
    rounds: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="The most rounds, spare ones in; any for no bound."),
    ] = None,
    days: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="The most days that an agreement may still run; any for no bound.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="DAY", help="The latest last day of an agreement, as 2027-12-31; any for all."
        ),
    ] = None,
    upload_bytes: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="The most bytes that leave in a round; any for all."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="DAY",
            help="The last day of these rules, after which nothing is permitted; never for none.",
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

    numbers = {
        "epsilon": epsilon,
        "delta": delta,
        "without_privacy": _yes_or_no(without_privacy),
        "private_evaluation": _yes_or_no(private_evaluation),
        "unit": unit,
        "min_participants": min_participants,
    }
    bounds = {
        "rounds": rounds,
        "days": days,
        "until": until,
        "upload_bytes": upload_bytes,
        "expires": expires,
    }
    lists = {
        "tasks": tasks,
        "purposes": purposes,
        "models": models,
        "tune": tune,
        "operators": _capitals(operators),
        "institutions": _capitals(institutions),
    }
    rules: dict[str, object] = {name: value for name, value in numbers.items() if value is not None}
    rules |= {name: _bound(value) for name, value in bounds.items() if value is not None}
    rules |= {name: _list(name, value) for name, value in lists.items() if value}
    if not rules:
        raise Problem("COM-POLICY-001")
    institution = Institution(home)
    policy = load(institution.home.policy).changed(rules)
    with institution.store.transaction() as tx:
        named = policy.commitment(institution.keys.policy_salt)
        institution.ledger.append(tx, PolicySet(policy=named))
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


def _capitals(countries: list[str] | None) -> list[str] | None:
    return countries and sorted({name if name in ALL else name.upper() for name in countries})


def _yes_or_no(value: str | None) -> bool | str | None:
    return {"yes": True, "no": False}.get(value or "", value)


def _bound(value: str) -> str | None:
    return None if value in ALL else value


def _list(name: str, values: list[str]) -> object:
    """Read a list; `any` alone stands for all there are."""
    if len(values) == 1 and values[0] in ALL:
        from comity_client.policy import Policy

        return () if name in OPEN else Policy.model_fields[name].default
    return tuple(dict.fromkeys(values))


def _show(policy: "Policy", heading: str, json_: bool) -> None:
    from comity_client.policywords import in_words

    words = in_words(policy)
    data = policy.model_dump(mode="json") | {"words": words}
    succeed(data, as_json=json_, text="\n".join([heading, *(f"  {line}" for line in words)]))
