"""`comity model`: build the model that training starts from, and try one that was exported.

torch and transformers take seconds to import, so only the commands themselves import them.
"""

from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comity_common.errors import LocalError
from comity_host.cli import succeed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comity_client.model.exported import Exported

if find_spec("torch") is None:  # the root command then leaves this part out
    raise ModuleNotFoundError("expected comity[client] to be installed")

app = typer.Typer(
    help="Build the model that training starts from, or try an exported one.", no_args_is_help=True
)

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="Exported model.", exists=True, file_okay=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON envelope.")]


@app.command()
def start(
    terms: Annotated[Path, typer.Argument(metavar="TERMS.toml", help="Terms of an agreement.")],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where start.state and start.json go.", file_okay=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Build the model that training starts from, for whoever proposes the agreement."""
    with _shown("building the first model"):
        from comity_client.model.start import build_start, write_start

        record, state = build_start(terms)
        write_start(out, record, state)
    succeed(
        record.model_dump(mode="json"),
        as_json=as_json,
        text="\n".join(
            [
                f"{record.model}, {record.tune}: {record.parameters:,} trained parameters",
                f"base model   {record.base}",
                f"first state  {record.initial_state}",
                f"both files are in {out}; the operator names it with --start",
            ]
        ),
    )


@app.command()
def predict(
    directory: Directory,
    text: Annotated[str, typer.Argument(help="Text to classify.")],
    as_json: AsJson = False,
) -> None:
    """Classify one text, or each of its words."""
    from comity_client.model.exported import Exported

    model = Exported(directory)
    if model.words:
        _show_words(model, text, as_json)
        return
    (probabilities,) = model.probabilities([text])
    best = int(probabilities.argmax())
    label, probability = model.labels[best], float(probabilities[best])
    succeed(
        {"label": label, "probability": probability},
        as_json=as_json,
        text=f"{label} ({probability:.0%})",
    )


def _show_words(model: "Exported", text: str, as_json: bool) -> None:
    words = tuple(text.split())
    if not words:
        raise LocalError("expected at least one word")
    (guessed,) = model.guess([words])
    labels = [model.labels[best] if best >= 0 else None for best in guessed.tolist()]
    width = max(map(len, words))
    succeed(
        {"words": words, "labels": labels},
        as_json=as_json,
        text="\n".join(
            f"{word:<{width}}  {label or 'not read'}"
            for word, label in zip(words, labels, strict=True)
        ),
    )


@app.command()
def evaluate(
    directory: Directory,
    data: Annotated[
        Path,
        typer.Option(help="JSON Lines with text and label, or tokens and labels.", dir_okay=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled texts."""
    from comity_client.datasets import read_rows, read_word_rows
    from comity_client.model.evaluate import score_rows
    from comity_client.model.exported import Exported

    model = Exported(directory)
    rows = (read_word_rows if model.words else read_rows)(data, model.labels)
    scores = score_rows(rows, model.guess(rows.texts), model.labels)
    spans = "" if scores.span_f1 is None else f", F1 of spans {scores.span_f1:.3f}"
    succeed(
        {
            "rows": len(rows),
            "accuracy": scores.accuracy,
            "macro_f1": scores.macro_f1,
            "span_f1": scores.span_f1,
        },
        as_json=as_json,
        text=f"{len(rows)} texts: accuracy {scores.accuracy:.3f}, "
        f"macro F1 {scores.macro_f1:.3f}{spans}",
    )


@contextmanager
def _shown(doing: str) -> "Iterator[None]":
    """Show on stderr that something goes on: a spinner on a terminal, elsewhere a plain line."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(doing)
        yield
        return
    with console.status(doing):
        yield
