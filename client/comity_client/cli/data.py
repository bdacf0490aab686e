"""`comity client data`: which files this institution may train on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from comity_client.cli.numbers import finite, in_words, positive
from comity_client.cli.options import DEFAULT_HOME, HomeOption
from comity_host.cli import succeed
from comity_host.options import JsonOption

if TYPE_CHECKING:
    from comity_client.datareport import Report
    from comity_client.institution import Institution
    from comity_client.registrations import Dataset
    from comity_client.rowfiles import OnPart
    from comity_common.agreement import TaskKind
    from comity_common.dp.budget import Budget
    from comity_common.dp.terms import Guarantee

app = typer.Typer(help="Which files may be trained on; nothing is sent.", no_args_is_help=True)

TASKS = ("sequence-classification", "token-classification")

Name = Annotated[str, typer.Argument(metavar="NAME", help="How you call the data set.")]


@app.command()
def add(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON Lines or CSV with text and label; for token-classification JSON Lines with "
            "tokens and labels.",
        ),
    ],
    task: Annotated[
        str, typer.Option(click_type=click.Choice(TASKS), help="What is to be learnt.")
    ] = TASKS[0],
    ceiling_epsilon: Annotated[
        str,
        typer.Option(
            metavar="NUMBER",
            help="The most ε that all agreements together may ever spend on this budget, for "
            "life. Default: what the budget has already, or the policy's ε.",
        ),
    ] = "",
    ceiling_delta: Annotated[
        str, typer.Option(metavar="NUMBER", help="The δ of that. Default: likewise.")
    ] = "",
    unit_key: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="The column that names the person of each row, so that persons can be "
            "protected and not rows alone.",
        ),
    ] = "",
    separate: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Count apart from all other rows, in the budget of this name. Only for rows and "
            "persons of which none is registered elsewhere.",
        ),
    ] = "",
    model: Annotated[
        str,
        typer.Option(
            help="Count the tokens of this BERT: minilm, a directory, or a name on the hub that "
            "was fetched before. Default: minilm, where it is installed."
        ),
    ] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Look at a file and register it, with the most privacy that it may ever spend."""
    from dataclasses import asdict

    from comity_client.institution import Institution
    from comity_common.agreement import TaskKind
    from comity_common.dp.terms import Guarantee

    institution, kind = Institution(home), TaskKind(task)
    policy = institution.policy
    usual = Guarantee(epsilon=policy.epsilon, delta=policy.delta)
    ceiling = _ceiling(institution, ceiling_epsilon, ceiling_delta, separate, usual)
    institution.data.check_may_be(file, name=name, ceiling=ceiling)
    report = _look(file, kind, model)
    dataset = institution.data.register(
        file,
        name=name,
        task=kind,
        ceiling=ceiling,
        usual=usual,
        unit_key=unit_key,
        separate=separate,
    )
    (known,) = (one for one in institution.data.all() if one.id == dataset)
    row = _row(institution, institution.ledger.budget(), known)
    data = row | {"report": asdict(report) | {"warnings": report.warnings()}}
    succeed(data, as_json=json_, text="\n".join(_added(row, report)))


@app.command("list")
def list_(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """List the data sets with what each has spent."""
    from comity_client.institution import Institution

    institution = Institution(home)
    budget = institution.ledger.budget()
    rows = [_row(institution, budget, one) for one in institution.data.all() if not one.removed]
    succeed(rows, as_json=json_, text="\n".join(_table(rows)) or "No data set is registered.")


@app.command()
def remove(name: Name, home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Train on a file no more; the file stays, and so does what it has spent."""
    from comity_client.institution import Institution

    Institution(home).data.remove(name)
    text = f"{name} is trained on no more. Its file is untouched, and what it spent is kept."
    succeed({"name": name}, as_json=json_, text=text)


def _ceiling(
    institution: "Institution", epsilon: str, delta: str, separate: str, usual: "Guarantee"
) -> "Guarantee | None":
    """Return the ceiling that is asked for; None where nothing is."""
    from comity_client.registrations import DEFAULT
    from comity_common.dp.terms import Guarantee

    if not (epsilon or delta):
        return None
    wanted = separate or DEFAULT
    known = [one.ceiling for one in institution.data.namespaces() if one.name == wanted]
    rest = known[0] if known else usual
    return Guarantee(
        epsilon=positive("--ceiling-epsilon", epsilon) if epsilon else rest.epsilon,
        delta=positive("--ceiling-delta", delta, below=1) if delta else rest.delta,
    )


def _look(file: Path, task: "TaskKind", model: str) -> "Report":
    """Read the rows and count what is in them, before anything is registered."""
    from comity_client.datareport import Report, count_tokens, default_model
    from comity_client.datasets import read_labelled_for

    model = model or default_model()
    with _progress() as begin:
        rows = read_labelled_for(file, task, begin("reading the rows"))
        tokens = count_tokens(rows.texts, model, begin("counting tokens")) if model else None
    return Report.of(rows, tokens)


@contextmanager
def _progress() -> "Iterator[Callable[[str], OnPart]]":
    """Show a bar with an estimate for what is begun; a plain line where there is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:

        def say(doing: str) -> "OnPart":
            console.print(doing, highlight=False)
            return lambda part: None

        yield say
        return
    with Progress(console=console, transient=True) as progress:

        def begin(doing: str) -> "OnPart":
            bar = progress.add_task(doing, total=1.0)
            return lambda part: progress.update(bar, completed=part)

        yield begin


def _row(institution: "Institution", budget: "Budget", one: "Dataset") -> dict[str, Any]:
    """Collect what there is to say about a data set; no ε before it is granted."""
    from comity_client.registrations import FileState
    from comity_common.errors import LocalError

    charged: float | None = None
    reserved: float | None = None
    with suppress(LocalError):
        charged, reserved = budget.epsilon_charged(one.id), budget.epsilon_reserved(one.id)
    state = institution.data.file_state(one.id)
    return {
        "name": one.name,
        "id": one.id,
        "task": one.task.value,
        "file": str(one.path),
        "file_state": state.value,
        "as_registered": state is FileState.AS_REGISTERED,
        "budget": one.budget,
        "unit": "person" if one.unit_key else "record",
        "unit_key": one.unit_key or None,
        "budget_unit": budget.statement(one.namespace).unit.value,
        "shares_with": [
            other.name
            for other in institution.data.all()
            if other.namespace == one.namespace and other.id != one.id and not other.removed
        ],
        "epsilon_ceiling": f"{one.ceiling.epsilon:f}",
        "delta": f"{one.ceiling.delta:f}",
        "epsilon_charged": finite(charged),
        "epsilon_reserved": finite(reserved),
        "agreements": [
            {
                "federation": known.agreement.federation,
                "digest": known.agreement.digest,
                "state": known.state.value,
            }
            for known in institution.agreements.known()
            if known.dataset == one.id
        ],
    }


def _added(row: dict[str, Any], report: "Report") -> list[str]:
    lines = [
        f"{row['name']} is registered for {row['task']}: {row['file']}",
        f"  ceiling     {_ceiling_of(row)} for any {row['budget_unit']}, for life",
        f"  budget      {_shared(row)}",
    ]
    if row["epsilon_charged"]:
        lines.append(f"  spent       {in_words(row['epsilon_charged'])} before")
    lines += ["For your own eyes, neither sent nor logged nor kept:", *report.in_words()]
    lines += [f"  note: {warning}" for warning in report.warnings()]
    return [*lines, "Next: comity client start; it hears of agreements, and status tells of them"]


def _shared(row: dict[str, Any]) -> str:
    """Say whose budget it is."""
    others = ", ".join(row["shares_with"])
    return f"{row['budget']}, which it shares with {others}" if others else row["budget"]


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Align the data sets in columns, under a heading; nothing for none."""
    heading = ("name", "task", "ceiling", "spent", "with reserved", "agreements", "file")
    table = [heading, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in table
    ]
    return lines if rows else []


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    used = [f"{one['federation']} ({one['state']})" for one in row["agreements"]]
    return (
        row["name"],
        row["task"],
        _ceiling_of(row),
        *(_epsilon(row[name]) for name in ("epsilon_charged", "epsilon_reserved")),
        ", ".join(used) or "none",
        f"{row['file']} ({row['file_state']})",
    )


def _ceiling_of(row: dict[str, Any]) -> str:
    return f"ε = {row['epsilon_ceiling']} at δ = {row['delta']}"


def _epsilon(value: float | str | None) -> str:
    return "not granted yet" if value is None else in_words(value)
