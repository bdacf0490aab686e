"""A tiny BERT with a vocabulary of its own, and rows for it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.tiny_bert import save_tiny_bert
from tests.tiny_families import save_tiny

from comity_client.rows import Rows
from comity_common.agreement import Pooling, Task, TaskKind
from comity_common.tuning import Tune

LABELS = ("card", "loan", "fraud")
SEED = bytes(range(32))
WORD_LABELS = ("O", "B-X", "I-X")
WORDS = ("my", "card", "loan", "money", "was", "lost", "stolen", "please", "help", "the", "bank")
TEXTS = (
    "my card was lost",
    "please help",
    "the loan",
    "my money was stolen please help the bank my card was lost",
    "the bank the bank the bank the bank the bank the bank the bank the bank the bank",
    "loan loan",
    "money money money",
)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("base"), WORDS, hidden=16, positions=64, seed=5)


@pytest.fixture
def task() -> Task:
    return Task(kind=TaskKind.SEQUENCE_CLASSIFICATION, labels=LABELS, max_tokens=48)


@pytest.fixture
def build_tiny(tiny_base: Path, task: Task) -> Callable[..., object]:
    """Build a classifier on the tiny base: `build_tiny(Tune.LORA)`."""
    import torch

    from comity_client.model.build import build

    torch.set_num_threads(1)  # matrices are too small to share, and other tests want a core

    def of(tune: Tune, *, pooling: Pooling = Pooling.MEAN, seed: bytes = SEED) -> object:
        return build(
            tiny_base, task, pooling=pooling, tune=tune, lora_rank=2, lora_alpha=4, seed=seed
        )

    return of


@pytest.fixture
def rows_of() -> Callable[[Sequence[str]], Rows]:
    """Give texts labels in turn."""

    def of(texts: Sequence[str]) -> Rows:
        return Rows(texts=tuple(texts), labels=np.arange(len(texts), dtype=np.int64) % len(LABELS))

    return of


@pytest.fixture(scope="session")
def tiny_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base of every family, by `model_type`."""
    from comity_client.model.families import FAMILIES

    place = tmp_path_factory.mktemp("families")
    return {family: save_tiny(family, place / family, WORDS) for family in FAMILIES}


@pytest.fixture(scope="session")
def build_family(tiny_bases: dict[str, Path]) -> Callable[..., object]:
    """Build on a tiny base of a family: `build_family("roberta", kind, Tune.LORA)`."""
    import torch

    from comity_client.model.build import build

    torch.set_num_threads(1)

    def of(
        family: str,
        kind: TaskKind,
        tune: Tune,
        *,
        pooling: Pooling = Pooling.MEAN,
        seed: bytes = SEED,
    ) -> object:
        task = Task(kind=kind, labels=WORD_LABELS, max_tokens=24)
        base = tiny_bases[family]
        return build(base, task, pooling=pooling, tune=tune, lora_rank=2, lora_alpha=4, seed=seed)

    return of
