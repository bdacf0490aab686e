"""A real step against a loop: made-up texts through the agreement's own model.

The trainer sums the clipped gradients of a few units, all drawn (q = 1), under so little noise that
seven digits of the sum can be read off; a loop takes their texts one by one with nothing but
autograd. The clipping norm is the middle one of theirs, so that it holds some and lets others pass.
"""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import torch

from comity_client.model.classifier import Classifier, logits
from comity_client.model.examples import Examples
from comity_client.model.losses import IGNORED
from comity_client.rows import Rows, WordRows
from comity_client.selftest.ghosts import LITTLE, released
from comity_client.training.step import CLIP_MARGIN
from comity_client.training.trainer import Trainer
from comity_client.training.units import Units
from comity_common.agreement import TaskKind, Training

LENGTHS = (2, 4, 7, 11, 19, 40)  # tokens, so that several buckets are in play; cut by max_tokens
RECORDS = ((0,), (1,), (2,), (3,), (4,), (5,))
PERSONS = ((0, 3, 5), (1,), (2, 4))  # of lengths that lie in different batches
TOLERANCE = 1e-5  # of the sum's norm, for float32
MOVED = 0.02  # how far from the first state, in which most gradients are zero

Floats = npt.NDArray[np.float64]


def difference(
    classifier: Classifier, training: Training, threads: int, rows_each: int = 1
) -> float:
    """Compare the trainer's sum with the loop's.

    Args:
        classifier: is as before afterwards.
        rows_each: how many texts a unit may have.

    Returns:
        the largest difference of a coordinate, in norms of the loop's sum.
    """
    before = classifier.vector()
    draws = np.random.default_rng()
    start = (before + MOVED * draws.standard_normal(before.size)).astype(np.float32)
    texts = tuple(_text(classifier, draws, length) for length in LENGTHS)
    rows = _labelled(classifier, draws, texts)
    examples = classifier.prepare(rows.texts)
    targets = examples.targets(rows.labels)
    classifier.load(start)
    owned = [list(rows_of[:rows_each]) for rows_of in (PERSONS if rows_each > 1 else RECORDS)]

    def whole(unit: list[int]) -> Floats:
        total = np.zeros(start.size)
        for row in unit:
            total += _gradient(classifier, examples, targets, row)
        return total

    norms = [float(np.linalg.norm(whole(unit))) for unit in owned]
    clip_norm = Decimal(repr(float(np.median(norms))))
    wanted = np.zeros(start.size)
    for unit, norm in zip(owned, norms, strict=True):
        wanted += min(1.0, float(clip_norm) / (norm * (1 + CLIP_MARGIN))) * whole(unit)
    terms = replace(
        training,
        local_steps=1,
        sampling_probability=Decimal(1),
        clip_norm=clip_norm,
        noise_multiplier=LITTLE,
    )
    units = Units([np.array(unit) for unit in owned])
    trainer = Trainer(classifier, rows, terms, threads=threads, examples=examples, units=units)
    _, moments = trainer.train(start, None, lambda done, of: None)
    classifier.load(before)
    return float(np.abs(released(moments, terms) - wanted).max() / np.linalg.norm(wanted))


def _text(classifier: Classifier, draws: np.random.Generator, length: int) -> str:
    tokenizer = classifier.tokenizer
    words = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
    text: str = tokenizer.decode(draws.choice(words, length).tolist())
    return text if text.strip() else "nothing"


def _labelled(
    classifier: Classifier, draws: np.random.Generator, texts: tuple[str, ...]
) -> Rows | WordRows:
    """Give each text, or each of its words where the task is about words, a class by chance."""
    classes = len(classifier.task.labels)
    if classifier.task.kind is TaskKind.SEQUENCE_CLASSIFICATION:
        return Rows(texts=texts, labels=draws.integers(classes, size=len(texts)))
    words = tuple(tuple(text.split()) for text in texts)
    labels = tuple(draws.integers(classes, size=len(row)) for row in words)
    return WordRows(texts=words, labels=labels)


def _gradient(
    classifier: Classifier, examples: Examples, targets: torch.Tensor, record: int
) -> Floats:
    """Take one row's gradient by plain autograd: no hooks, no company, no clipping."""
    batch = next(examples.batches(np.array([record])))
    output = logits(classifier.trained_module, batch.inputs)[0]
    target = targets[record]
    if output.dim() == 1:
        loss = torch.nn.functional.cross_entropy(output, target)
    else:  # the mean over the words that have a label
        target = target[: len(output)]
        loss = torch.nn.functional.cross_entropy(output, target, ignore_index=IGNORED)
    gradients = torch.autograd.grad(loss, list(classifier.trained.values()))
    return torch.cat([gradient.reshape(-1) for gradient in gradients]).double().numpy()
