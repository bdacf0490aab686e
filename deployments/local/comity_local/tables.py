"""The end of a demo in the terminal: what was learnt, spent and sent, and where things lie.

Every table fits 80 columns with the demo's own names, so that it also reads well in a log.
"""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from comity_host.markup import printable
from comity_local.results import DemoResult, InstitutionResult, RoundResult, Score
from comity_local.wording import (
    change,
    delta,
    epsilon,
    fraction,
    in_bytes,
    in_time,
    score,
)


def show(result: DemoResult, console: Console) -> None:
    """Print all tables and the closing lines."""
    for table in (rounds(result), institutions(result), comparison(result)):
        console.print(table)
        console.print()
    for line in closing_lines(result):
        console.print(line, soft_wrap=True)


def rounds(result: DemoResult) -> Table:
    """Make the table of rounds; a void one says why."""
    table = _table("Rounds", "round", "survivors", "time", "accuracy", "macro F1", "note")
    for one in result.rounds:
        table.add_row(
            str(one.n),
            f"{len(one.survivors)} of {len(result.institutions)}",
            in_time(one.seconds),
            score(one.accuracy),
            score(one.macro_f1),
            _text(_note(one), "yellow"),
        )
    return table


def _note(one: RoundResult) -> str:
    void = [f"void: {one.reason or 'no reason given'}"] if one.void else []
    scored = [f"score on private rows: {one.score['words']}"] if one.score else []
    return "; ".join([*void, *scored, *(f"fault {name}" for name in one.faults)])


def institutions(result: DemoResult) -> Table:
    """Make the table of institutions: privacy spent, and bytes against the full model."""
    heads = ("rows", "rounds", "ε", "reserved", "sent", "received", "of full")
    table = _table("Institutions", "institution", *heads)
    for one in result.institutions:
        table.add_row(
            _text(f"{one.jurisdiction} {one.id}"),
            f"{one.rows:,}",
            str(one.rounds),
            epsilon(one.epsilon),
            epsilon(one.epsilon_reserved),
            in_bytes(one.bytes_sent),
            in_bytes(one.bytes_received),
            fraction(one.bytes_sent, _plain_bytes(result, one)),
        )
    deltas = {delta(one.delta) for one in result.institutions}
    caps = {f"{one.epsilon_cap:g}" for one in result.institutions if one.epsilon_cap is not None}
    allowed = f", of {' or '.join(sorted(caps))} allowed" if caps else ""
    table.caption = (
        f"ε at δ = {', '.join(sorted(deltas))} per record{allowed}\n"
        f"of full: bytes sent, against the whole model in float32 for each round taken part in, "
        f"{in_bytes(result.full_model_bytes)}"
    )
    return table


def comparison(result: DemoResult) -> Table:
    """Make the table of models: start, each alone, the federation, and what privacy cost."""
    table = _table(
        "On the public evaluation set", "model", "accuracy", "macro F1", "federation's lead"
    )

    def row(name: str, one: Score, style: str = "") -> None:
        gap = result.federated.accuracy - one.accuracy
        difference = "" if one is result.federated else change(gap)
        table.add_row(
            _text(name, style), score(one.accuracy), score(one.macro_f1), difference, style=style
        )

    row("before the first round", result.baseline)
    for id, one in result.alone.items():
        row(f"{id} alone", one)
    row("federation", result.federated, "bold green")
    if result.without_dp is not None:
        row("federation without privacy", result.without_dp)
        table.caption = "what privacy cost: " + change(
            result.federated.accuracy - result.without_dp.accuracy
        )
    return table


def closing_lines(result: DemoResult) -> tuple[Text, ...]:
    """Say where model, ledger, logs and page lie, and how an auditor would begin."""
    places = (
        ("model", result.model_dir),
        ("ledger", result.ledger),
        ("logs", result.logs),
        ("page", result.report),
    )
    lines = [Text(f"done in {in_time(result.seconds)}; everything is in {result.workdir}")]
    lines += [Text(f"  {name:<7}{printable(str(path))}") for name, path in places]
    home = printable(str(result.ledger / result.institutions[0].id))
    lines.append(Text("an auditor begins with docs/audit.md and the ledger of one of them:"))
    lines.append(Text(f"  comity audit export audit.zip --home {home}"))
    return tuple(lines)


def _plain_bytes(result: DemoResult, one: InstitutionResult) -> int:
    return result.full_model_bytes * one.rounds


def _text(value: str, style: str = "") -> Text:
    return Text(printable(value), style=style)


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="left" if name == "note" else "right")
    return table
