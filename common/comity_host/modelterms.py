"""The terms that decide where training starts, as they stand in a terms file.

Two programs read them and must not differ: the operator's, which writes the agreement, and
`comity model start`, which builds the first model wherever PyTorch is. The second leaves a
`ModelStart` for the first.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from comity_common.agreement import ModelOptimizer, Pooling, Task, TaskKind
from comity_common.tuning import Tune
from comity_host.settings import Settings, expected, like

STATE_FILE, RECORD_FILE = "start.state", "start.json"


def _readable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise expected("one line of visible characters")
    return text


def _different(labels: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise expected(f"every label once, got {twice!r} twice")
    if len(labels) < 2:
        raise expected(f"at least two labels, got {len(labels)}")
    return labels


Line = Annotated[str, Field(max_length=500), AfterValidator(_readable)]
Labels = Annotated[
    tuple[Line, ...],
    AfterValidator(_different),
    Field(json_schema_extra={"minItems": 2, "uniqueItems": True}),
]
HexDigits = Annotated[
    str,
    like(r"[0-9a-f]{64}", "64 hexadecimal digits"),
    Field(json_schema_extra={"pattern": "^[0-9a-f]{64}$"}),
]


class TaskTerms(Settings):
    """What the model learns: to put a text, or each of its words, into one of several classes."""

    kind: TaskKind = Field(
        default=TaskKind.SEQUENCE_CLASSIFICATION,
        description="What gets a class: sequence-classification (a whole text) or "
        "token-classification (every word of it, for names and the like).",
    )
    labels: Labels = Field(
        description="The classes, at least two, each once. Their order is part of the agreement."
    )
    max_tokens: int = Field(
        default=64,
        ge=8,
        le=512,
        description="How many word pieces of a text are read, 8 to 512; the rest is cut off.",
    )

    def task(self) -> Task:
        """Return the task as the agreement has it."""
        return Task(kind=self.kind, labels=self.labels, max_tokens=self.max_tokens)


class ModelTerms(Settings):
    """Where training starts, and which part of the model is trained."""

    name: Line = Field(
        default="minilm",
        description="The base model: minilm, a directory, or a name on the Hugging Face hub; a "
        "BERT, RoBERTa, DistilBERT or XLM-RoBERTa. Every institution needs the same files under "
        "the same name.",
    )
    tune: Tune = Field(
        default=Tune.HEAD,
        description="What is trained: head (the classifier alone, the quickest), lora (small "
        "updates inside the model as well, one factor of each fixed so that they can be averaged), "
        "lora-plain (both factors), bitfit (every bias of the model), or full (the whole model).",
    )
    pooling: Pooling = Field(
        default=Pooling.MEAN,
        description="How a text becomes one vector: mean (of all its word pieces) or cls (the "
        "first one, in a BERT through its own pooler); for sequence-classification alone.",
    )
    lora_rank: int = Field(
        default=4,
        ge=1,
        le=256,
        description="Rank of the updates, 1 to 256; for lora and lora-plain alone. More trains "
        "more parameters.",
    )
    lora_alpha: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="The updates are scaled by this over lora_rank, 1 to 1024; for lora and "
        "lora-plain alone.",
    )
    seed: HexDigits | None = Field(
        default=None,
        description="What new parameters are drawn from, 64 hexadecimal digits. Left out: drawn "
        "by the operating system.",
    )


class ModelStart(Settings):
    """What was built: the terms that it was built by, and the digests that follow from them."""

    model: str
    tune: Tune
    pooling: Pooling
    lora_rank: int
    lora_alpha: int
    kind: TaskKind
    labels: tuple[str, ...]
    max_tokens: int
    optimizer: ModelOptimizer
    seed: HexDigits
    base: HexDigits
    parameters: int = Field(ge=1)
    initial_state: HexDigits


def decisive(task: TaskTerms, model: ModelTerms, optimizer: ModelOptimizer) -> Mapping[str, object]:
    """Collect what decides the first state, apart from the seed, by its name in `ModelStart`."""
    return {
        "model": model.name,
        "tune": model.tune,
        "pooling": model.pooling,
        "lora_rank": model.lora_rank,
        "lora_alpha": model.lora_alpha,
        "kind": task.kind,
        "labels": task.labels,
        "max_tokens": task.max_tokens,
        "optimizer": optimizer,
    }
