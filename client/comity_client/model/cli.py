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
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

if find_spec("torch") is None:  # the root command then leaves this part out
    raise ModuleNotFoundError("expected comity[client] to be installed")

app = typer.Typer(
    help="Build the model that training starts from, or try an exported one.", no_args_is_help=True
)

TEXTS_AT_ONCE = 32

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
    """Classify one text."""
    labels, probabilities = _classify(directory, [text])
    best = int(probabilities[0].argmax())
    label, probability = labels[best], float(probabilities[0, best])
    succeed(
        {"label": label, "probability": probability},
        as_json=as_json,
        text=f"{label} ({probability:.0%})",
    )


@app.command()
def evaluate(
    directory: Directory,
    data: Annotated[Path, typer.Option(help="JSON Lines with text and label.", dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled texts."""
    from comity_client.datasets import read_rows
    from comity_client.model.evaluate import score

    rows = read_rows(data, _labels(directory))
    _, probabilities = _classify(directory, rows.texts)
    scores = score(rows.labels, probabilities.argmax(axis=1))
    succeed(
        {"rows": len(rows), "accuracy": scores.accuracy, "macro_f1": scores.macro_f1},
        as_json=as_json,
        text=f"{len(rows)} texts: accuracy {scores.accuracy:.3f}, macro F1 {scores.macro_f1:.3f}",
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


def _labels(directory: Path) -> list[str]:
    """Read the labels in the order of the classes."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError):
        raise LocalError(f"expected an exported model in {directory}") from None
    return [config.id2label[index] for index in range(config.num_labels)]


def _classify(
    directory: Path, texts: "Sequence[str]"
) -> "tuple[list[str], npt.NDArray[np.float32]]":
    """Return the labels, and the probability of each for each text."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    labels = _labels(directory)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            directory, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError):
        raise LocalError(f"expected an exported model in {directory}") from None
    longest = model.config.max_position_embeddings
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    probabilities = np.empty((len(texts), len(labels)), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            chosen = by_length[start : start + TEXTS_AT_ONCE]
            inputs = tokenizer(
                [texts[index] for index in chosen],
                padding=True,
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            )
            probabilities[chosen] = torch.softmax(model(**inputs).logits, dim=1).numpy()
    return labels, probabilities
