"""`comity client budget`: what may still be spent, what was spent, and how far it goes."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from comity_client.cli.numbers import finite, in_words, positive
from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption, YesOption

if TYPE_CHECKING:
    from decimal import Decimal

    from comity_client.institution import Institution
    from comity_common.dp.budget import Budget, GrantStatement, Statement
    from comity_common.dp.spending import Spending
    from comity_common.dp.terms import Guarantee
    from comity_common.ledger.bodies import BudgetGrant, DatasetId

app = typer.Typer(
    help="What may still be spent on the rows; nothing is sent.", no_args_is_help=True
)

BAR = 40  # signs
GATES = ("renyi", "fixed-schedule")
GRANT_DIGITS = 8  # of 32

DataOption = Annotated[
    str,
    typer.Option(
        "--data", metavar="NAME", help="The data set whose budget is meant. Default: the only one."
    ),
]
GateOption = Annotated[
    str,
    typer.Option(
        click_type=click.Choice(GATES),
        help="How it is counted: by a Rényi filter at one order, or by what each agreement "
        "claims for a schedule that was fixed before.",
    ),
]


@app.command()
def show(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show every budget: charged, reserved, and what is left."""
    from comity_client.institution import Institution

    institution = Institution(home)
    budget = institution.ledger.budget()
    ahead = budget.with_commitments(_running(institution))
    rows = [
        _shown(institution, budget.statement(space), ahead.statement(space))
        for space in budget.namespaces()
    ]
    text = "\n\n".join(_picture(row) for row in rows)
    succeed(rows, as_json=json_, text=text or "No data set is registered, so there is no budget.")


@app.command()
def grant(
    data: DataOption = "",
    epsilon: Annotated[
        str, typer.Option(metavar="NUMBER", help="ε. Default: what is left of the ceiling.")
    ] = "",
    delta: Annotated[
        str, typer.Option(metavar="NUMBER", help="δ. Default: what is left of the ceiling.")
    ] = "",
    gate: GateOption = GATES[0],
    order: Annotated[
        int, typer.Option(metavar="N", help="α of the Rényi filter, 2 to 256; never changes.")
    ] = 0,
    top_up: Annotated[
        str,
        typer.Option(
            metavar="GRANT", help="Raise this grant to --epsilon in all; show names them."
        ),
    ] = "",
    without_privacy: Annotated[
        bool,
        typer.Option(
            "--without-privacy",
            help="Allow agreements that promise nothing: ε is infinite for good from the first.",
        ),
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Grant a part of a ceiling, or raise a grant. Signing an agreement grants all that is left."""
    from comity_client import grants
    from comity_client.institution import Institution
    from comity_common.dp.terms import Gate
    from comity_common.errors import Problem

    institution = Institution(home)
    dataset = _dataset(institution, data)
    other_terms = delta or order or gate != GATES[0]
    if without_privacy:
        if epsilon or top_up or other_terms:
            expected = "--without-privacy alone, as it grants no amount"
            raise Problem("COM-BUDGET-009", expected=expected, command="grant")
        _confirm("ε is infinite for good from the first such agreement. Grant it?", yes or json_)
        made = grants.grant_without_privacy(institution, dataset)
    elif top_up:
        if not epsilon or other_terms:
            expected = "--epsilon with --top-up, and none of --delta, --order and --gate"
            raise Problem("COM-BUDGET-009", expected=expected, command="grant")
        raised = positive("--epsilon", epsilon)
        _confirm(f"Raise {top_up} to ε = {raised:f}?", yes or json_)
        made = grants.top_up(institution, dataset, top_up, raised)
    else:
        part = _part(institution, dataset, epsilon, delta)
        _check_order(gate, order)
        _confirm(
            f"Grant ε = {part.epsilon:f} at δ = {part.delta:f}, counted by {gate}, for life?",
            yes or json_,
        )
        made = grants.grant_part(institution, dataset, part, Gate(gate), order)
    succeed(_terms(made), as_json=json_, text=f"Granted: {_in_words(made)}.")


@app.command()
def history(
    data: DataOption = "", home: HomeOption = DEFAULT_HOME, json_: JsonOption = False
) -> None:
    """List every registration, grant, reserve, charge and refund, with ε after it."""
    from dataclasses import asdict

    from comity_client.budgethistory import events
    from comity_client.institution import Institution

    institution = Institution(home)
    only = institution.ledger.budget().namespace(institution.data.find(data)) if data else ""
    names = {space.id: space.name for space in institution.data.namespaces()}
    runs = {
        one.agreement.digest: one.agreement.federation for one in institution.agreements.known()
    }
    found = [one for one in events(institution.ledger.entries()) if only in ("", one.namespace)]
    rows = [
        asdict(one)
        | {
            "epsilon": finite(one.epsilon),
            "budget": names.get(one.namespace, one.namespace),
            "run": None if one.agreement is None else runs.get(one.agreement),
        }
        for one in found
    ]
    text = "\n".join(_lines(rows)) or "Nothing has happened to any budget yet."
    succeed(rows, as_json=json_, text=text)


@app.command()
def forecast(
    agreement: Annotated[
        str,
        typer.Argument(
            metavar="[AGREEMENT]", help="Runs like this one: federation or digest's beginning."
        ),
    ] = "",
    data: DataOption = "",
    sampling_probability: Annotated[
        str, typer.Option(metavar="NUMBER", help="q of such a run instead of an agreement's.")
    ] = "",
    noise_multiplier: Annotated[str, typer.Option(metavar="NUMBER", help="σ / C of it.")] = "",
    steps: Annotated[
        int, typer.Option(min=0, metavar="N", help="Its steps in all rounds and spare rounds.")
    ] = 0,
    delta: Annotated[
        str, typer.Option(metavar="NUMBER", help="δ of it. Default: the policy's δ.")
    ] = "",
    gate: GateOption = GATES[0],
    order: Annotated[
        int,
        typer.Option(metavar="N", help="Its α. Default: the one at which the rows are counted."),
    ] = 0,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Count how many more runs like an agreement, or like these numbers, would fit."""
    from comity_client.institution import Institution
    from comity_common.errors import Problem
    from comity_common.mechanisms import spending_of

    institution = Institution(home)
    numbers = (sampling_probability, noise_multiplier, steps)
    too_many = any(numbers) or delta or order or gate != GATES[0]
    if too_many if agreement else not all(numbers):
        expected = "an agreement, or --sampling-probability, --noise-multiplier and --steps"
        raise Problem("COM-BUDGET-009", expected=expected, command="forecast")
    budget = institution.ledger.budget().with_commitments(_running(institution))
    if agreement:
        known = institution.agreements.find(agreement)
        signed_for = None if data else known.dataset
        dataset = signed_for or _dataset(institution, data)
        spending, like = spending_of(known.agreement), known.agreement.federation
        if spending.guarantee is None:
            expected = f"an agreement that promises something; {like} costs ε = ∞"
            raise Problem("COM-BUDGET-009", expected=expected, command="forecast")
    else:
        dataset = _dataset(institution, data)
        q = positive("--sampling-probability", sampling_probability)
        sigma = positive("--noise-multiplier", noise_multiplier)
        at = positive("--delta", delta, below=1) if delta else institution.policy.delta
        spending = _spending(budget, dataset, q, sigma, steps, at, gate, order)
        like = "this"
    runs = budget.forecast(dataset, spending)
    claim = spending.guarantee
    data_ = {
        "runs": runs,
        "epsilon_each": f"{claim.epsilon:f}" if claim else None,
        "delta_each": f"{claim.delta:f}" if claim else None,
        "gate": spending.gate.value,
        "order": spending.order,
    }
    succeed(data_, as_json=json_, text=_forecast_in_words(runs, like, claim))


def _running(institution: "Institution") -> "list[tuple[DatasetId, Spending]]":
    """List what is signed and may still spend; after its last day an agreement reserves nothing."""
    from comity_client.registrations import IN_USE
    from comity_common.mechanisms import spending_of

    return [
        (known.dataset, spending_of(known.agreement))
        for known in institution.agreements.known()
        if known.state in IN_USE and known.dataset is not None
        if not institution.progress.is_over(known.agreement)
        if known.agreement.schedule.last_day >= institution.ledger.day()
    ]


def _shown(
    institution: "Institution", statement: "Statement", ahead: "Statement"
) -> dict[str, Any]:
    names = {space.id: space.name for space in institution.data.namespaces()}
    rest = statement.rest
    return {
        "budget": names.get(statement.namespace, statement.namespace),
        "namespace": statement.namespace,
        "unit": statement.unit.value,
        "data": [
            one.name
            for one in institution.data.all()
            if one.namespace == statement.namespace and not one.removed
        ],
        "epsilon_ceiling": f"{statement.ceiling.epsilon:f}",
        "delta": f"{statement.ceiling.delta:f}",
        "epsilon_charged": finite(statement.epsilon_charged),
        "epsilon_reserved": finite(statement.epsilon_reserved),
        "epsilon_committed": finite(ahead.epsilon_reserved),
        "not_granted": None
        if rest is None
        else {"epsilon": f"{rest.epsilon:f}", "delta": f"{rest.delta:f}"},
        "grants": [_grant_row(one) for one in statement.grants],
    }


def _grant_row(one: "GrantStatement") -> dict[str, Any]:
    return _terms(one.grant) | {
        "epsilon_charged": finite(one.epsilon_charged),
        "epsilon_reserved": finite(one.epsilon_reserved),
        "share": finite(one.share),
    }


def _terms(grant: "BudgetGrant") -> dict[str, Any]:
    claim = grant.guarantee
    return {
        "grant": grant.grant.hex(),
        "gate": grant.gate.value,
        "order": grant.order or None,
        "epsilon": f"{claim.epsilon:f}" if claim else None,
        "delta": f"{claim.delta:f}" if claim else None,
    }


def _in_words(grant: "BudgetGrant") -> str:
    return _grant_line(_terms(grant))


def _grant_line(row: dict[str, Any]) -> str:
    name = row["grant"][:GRANT_DIGITS]
    if row["epsilon"] is None:
        return f"{name}  without privacy"
    order = f" at order {row['order']}" if row["order"] else ""
    return f"{name}  ε = {row['epsilon']} at δ = {row['delta']}, by {row['gate']}{order}"


def _picture(row: dict[str, Any]) -> str:
    ceiling = float(row["epsilon_ceiling"])
    lines = [
        f"{row['budget']}: ε = {row['epsilon_ceiling']} at δ = {row['delta']} "
        f"for any {row['unit']}, for life",
        f"  {_bar(row, ceiling)}",
        f"  charged     {in_words(row['epsilon_charged'])}",
        f"  reserved    {in_words(row['epsilon_reserved'])} with what is at work",
        f"  agreed on   {in_words(row['epsilon_committed'])} when all that is signed has run",
        f"  data        {', '.join(row['data']) or 'none any more'}",
    ]
    for one in row["grants"]:
        share = one["share"]
        gone = "used" if isinstance(share, str) else f"{share:.1%} gone"
        lines.append(f"  grant       {_grant_line(one)}: {gone}")
    if (rest := row["not_granted"]) is not None:
        lines.append(f"  not granted ε = {rest['epsilon']} at δ = {rest['delta']}")
    return "\n".join(lines)


def _bar(row: dict[str, Any], ceiling: float) -> str:
    """Draw charged, reserved and free parts of a ceiling."""
    charged, reserved = row["epsilon_charged"], row["epsilon_reserved"]
    if isinstance(reserved, str):
        return f"[{'!' * BAR}]  nothing is promised any more"
    first = min(BAR, math.ceil(BAR * charged / ceiling)) if not isinstance(charged, str) else BAR
    both = max(first, min(BAR, math.ceil(BAR * reserved / ceiling)))
    return f"[{'#' * first}{'=' * (both - first)}{'.' * (BAR - both)}]"


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    columns = "{:>6}  {:<20}  {:<16}  {:<12}  {:<16}  {:>5}  {:>7}  {:<8}  {}".format
    lines = [
        columns(
            *(one["sequence"], one["time"], one["kind"], one["budget"]),
            one["run"] or (one["agreement"] or "")[:16],
            "" if one["round"] is None else one["round"],
            "" if one["steps"] is None else one["steps"],
            in_words(one["epsilon"]),
            one["detail"],
        ).rstrip()
        for one in rows
    ]
    heading = columns(
        *("entry", "time (UTC)", "kind", "budget", "run", "round", "steps", "after", "")
    )
    return [heading.rstrip(), *lines] if lines else []


def _dataset(institution: "Institution", name: str) -> "DatasetId":
    from comity_common.errors import Problem

    if name:
        return institution.data.find(name)
    here = [one for one in institution.data.all() if not one.removed]
    if len({one.namespace for one in here}) != 1:  # those of one namespace have one budget
        raise Problem("COM-BUDGET-008", count=len(here) or "none")
    return here[0].id


def _part(
    institution: "Institution", dataset: "DatasetId", epsilon: str, delta: str
) -> "Guarantee":
    from comity_common.dp.terms import Guarantee
    from comity_common.errors import Refusal, RefusalCode

    rest = institution.ledger.budget().rest(dataset)
    if rest is None and not (epsilon and delta):
        raise Refusal(RefusalCode.BUDGET, "expected a part of the ceiling that is not granted yet")
    return Guarantee(
        epsilon=positive("--epsilon", epsilon) if epsilon or rest is None else rest.epsilon,
        delta=positive("--delta", delta, below=1) if delta or rest is None else rest.delta,
    )


def _check_order(gate: str, order: int) -> None:
    from comity_common.dp.terms import MAX_ORDER, MIN_ORDER
    from comity_common.errors import Problem

    if gate == GATES[0] and not MIN_ORDER <= order <= MAX_ORDER:
        expected = f"--order from {MIN_ORDER} to {MAX_ORDER}, as agreements name it"
        raise Problem("COM-BUDGET-009", expected=expected, command="grant")
    if gate != GATES[0] and order:
        raise Problem("COM-BUDGET-009", expected="no --order without renyi", command="grant")


def _spending(
    budget: "Budget",
    dataset: "DatasetId",
    q: "Decimal",
    sigma: "Decimal",
    steps: int,
    delta: "Decimal",
    gate: str,
    order: int,
) -> "Spending":
    """Return the terms of a run by its numbers, claiming just what its schedule keeps."""
    from comity_common.dp.accountant import epsilon_of
    from comity_common.dp.spending import Spending
    from comity_common.dp.tally import schedule_epsilon
    from comity_common.dp.terms import (
        MAX_ORDER,
        MIN_ORDER,
        Gate,
        Guarantee,
        SampledGaussian,
        Unit,
    )
    from comity_common.ids import Digest

    event = SampledGaussian(sampling_probability=q, noise_multiplier=sigma, steps=steps)
    unit = budget.statement(budget.namespace(dataset)).unit
    if gate == GATES[0]:
        granted = budget.grants(dataset, Gate.RENYI)
        orders = range(MIN_ORDER, MAX_ORDER + 1)
        best = min(orders, key=lambda one: epsilon_of([event], one, delta))
        order = order or (granted[0].order if granted else best)
        epsilon = epsilon_of([event], order, delta)
    else:
        order, epsilon = 0, schedule_epsilon((event,), delta)
    return Spending(
        agreement=Digest("0" * 64),
        unit=unit if unit is Unit.PERSON else Unit.RECORD,
        gate=Gate(gate),
        order=order,
        guarantee=Guarantee.covering(epsilon, delta),
        schedule=(event,),
    )


def _forecast_in_words(runs: int, like: str, claim: "Guarantee | None") -> str:
    price = f" (ε = {claim.epsilon:f} at δ = {claim.delta:f} each)" if claim else ""
    number = {0: "No more runs", 1: "One more run"}.get(runs, f"{runs:,} more runs")
    verb = "fits" if runs == 1 else "fit"
    return f"{number} like {like} {verb}{price}, after all that is signed has run to its end."


def _confirm(question: str, is_sure: bool) -> None:
    from comity_common.errors import Problem

    if not is_sure and not typer.confirm(question):
        raise Problem("COM-ANY-005")
