"""Ghost canaries: made-up rows whose gradients are known, trained on by the very trainer.

A head of weights W, shape (2, h + m), starts at zero. An ordinary row has features in the first h
columns alone, canary i in column h + i alone. A gradient is an outer product with the features, so
rows leave the last m columns exactly alone, the *ghost block*, and a canary everything but its own
column. The loss at zero weights pulls both classes apart alike: a canary moves the difference of
its two weights, by the clipping norm, and the sum of the two holds nothing but noise.

The trainer takes 300 rounds of one step from zero; what it released stands in Adam's first moment.
Which canaries were in which batch is seen by the examples that the trainer asks for. Nothing in the
trainer knows that it is watched, and nothing of it is written here again.

Where persons are protected a canary is a person with several rows, each as loud: still it may move
its coordinate by no more than the clipping norm, and is drawn whole or not at all.

The ordinary rows are made up too. For them the ghost block changes nothing: `blocks` looks at the
three reasons.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import torch

from comity_client.model.classifier import Classifier
from comity_client.model.examples import Batch, Indices
from comity_client.model.families import FAMILIES
from comity_client.rows import Rows
from comity_client.training.adam import BETA_1, AdamMoments
from comity_client.training.step import CLIP_MARGIN, clipping
from comity_client.training.trainer import Trainer
from comity_client.training.units import Units
from comity_common.agreement import Task, TaskKind, Training
from comity_common.crypto.stream import Keystream, opened_keystreams
from comity_common.tuning import Tune
from comity_common.vectors import Vector

CANARIES = 1000  # m; each takes part by a fair coin
STEPS = 300  # with 500 canaries far more than the 15,000 values that tell 2 % of noise
LEAST_PROBABILITY = Decimal("0.02")  # below, 300 steps would see too few inclusions
ROWS, FEATURES = 64, 16
BATCH_ROWS = 128  # the time of a batch this small is that of its calls
LOUDNESS = 10.0  # a canary's norm before clipping, in clipping norms
LITTLE = Decimal("1e-9")  # so little noise that a sum can be read off

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a run showed.

    Attributes:
        probability: q of the run.
        is_in: which canaries took part, shape (m,).
        included: how often each that took part was in each step, shape (steps, n).
        torn: how often one was there with a part of its rows.
        signal: the canaries' coordinates over σC, shape (steps, m).
        hollow: coordinates that hold noise alone, over σC, shape (steps, h + m).
        norm: what an inclusion should add to `signal`.
        noise_vectors: how many the trainer says it drew.
        taken: how many steps Adam counted.
        keystreams: the ids of all streams that were opened.
        stray: how far a step's delta was from what follows of its own noised coordinates alone.
    """

    probability: Decimal
    is_in: npt.NDArray[np.bool_]
    included: Counts
    torn: int
    signal: Floats
    hollow: Floats
    norm: float
    noise_vectors: int
    taken: int
    keystreams: list[bytes]
    stray: float

    @property
    def without_signal(self) -> Floats:
        """Every coordinate that no canary was in: noise alone, whatever clipping did."""
        quiet = np.ones(self.signal.shape, dtype=np.bool_)
        quiet[:, self.is_in] = self.included == 0
        return np.concatenate([self.hollow.reshape(-1), self.signal[quiet]])


class Watched:
    """Vectors as examples that remember which were asked for.

    Args:
        vectors: shape (n, h + m), float32.
    """

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = torch.from_numpy(vectors)
        self._asked: list[Indices] = []

    def __len__(self) -> int:
        return len(self._vectors)

    def batches(self, records: Indices) -> Iterator[Batch]:
        """Cut in the given order, as `Features` does."""
        self._asked.append(records)
        for start in range(0, len(records), BATCH_ROWS):
            chosen = records[start : start + BATCH_ROWS]
            rows = self._vectors.new_zeros(BATCH_ROWS, self._vectors.shape[1])
            rows[: len(chosen)] = self._vectors[torch.from_numpy(chosen)]
            yield Batch(inputs=(rows,), records=chosen)

    def targets(self, labels: npt.NDArray[np.int64]) -> torch.Tensor:
        """Copy the class of each row: shape (n,), int64."""
        return torch.tensor(labels)

    def take(self) -> Counts:
        """Tell how often each was asked for since the last time: shape (n,)."""
        asked = np.concatenate([np.empty(0, np.int64), *self._asked])
        self._asked.clear()
        return np.bincount(asked, minlength=len(self))


class _Head(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(FEATURES + CANARIES, 2, bias=False)
        torch.nn.init.zeros_(self.classifier.weight)


def ghost_head() -> Classifier:
    """Build the head with the ghost block, at zero."""
    kind = TaskKind.SEQUENCE_CLASSIFICATION
    task = Task(kind=kind, labels=("one", "other"), max_tokens=8)
    return Classifier(_Head(), None, task, Tune.HEAD, FAMILIES["bert"], 0)


def vectors_of(members: Indices, clip_norm: float, rows_each: int = 1) -> Vectors:
    """Make ordinary rows, then these canaries with so many rows each: their features, float32."""
    members = np.repeat(members, rows_each)
    norm = np.sqrt(2) * clip_norm  # of features whose gradient has the clipping norm
    vectors = np.zeros((ROWS + len(members), FEATURES + CANARIES), dtype=np.float32)
    ordinary = np.random.default_rng().standard_normal((ROWS, FEATURES))
    vectors[:ROWS, :FEATURES] = norm * ordinary / np.sqrt(FEATURES)
    vectors[ROWS + np.arange(len(members)), FEATURES + members] = LOUDNESS * norm
    return vectors


def one_step(training: Training) -> Training:
    """Return the terms of a round in the canaries' run."""
    probability = max(training.sampling_probability, LEAST_PROBABILITY)
    return replace(training, local_steps=1, sampling_probability=probability)


def run(training: Training, threads: int = 1, rows_each: int = 1) -> Seen:
    """Train 300 rounds of one step on ordinary rows and canaries, and write down what came out.

    Args:
        training: the agreement's; its sampling probability is raised to 0.02.
        rows_each: how many rows a canary has.
    """
    terms = one_step(training)
    clip_norm, std = float(terms.clip_norm), float(terms.clip_norm * terms.noise_multiplier)
    is_in = (Keystream.fresh().uint64(CANARIES) & np.uint64(1)).astype(np.bool_)
    vectors = vectors_of(np.flatnonzero(is_in), clip_norm, rows_each)
    classifier, trainer, watched = _trainer(terms, vectors, threads, rows_each)
    start = classifier.initial_vector()
    included = np.zeros((STEPS, int(is_in.sum())), dtype=np.int64)
    sums = np.empty((STEPS, 2, FEATURES + CANARIES))
    taken, torn, stray = 0, 0, 0.0
    with opened_keystreams() as keystreams:
        for step in range(STEPS):
            delta, moments = trainer.train(start, None, lambda done, of: None)
            counts = watched.take()[ROWS:].reshape(-1, rows_each)
            included[step] = counts.max(axis=1)
            torn += int((counts.min(axis=1) < counts.max(axis=1)).sum())
            sums[step] = released(moments, terms).reshape(2, -1)
            taken += moments.steps
            stray = max(stray, _stray(delta, moments, terms))
    difference, both = sums[:, 1] - sums[:, 0], sums[:, 1] + sums[:, 0]
    return Seen(
        probability=terms.sampling_probability,
        is_in=is_in,
        included=included,
        torn=torn,
        signal=difference[:, FEATURES:] / np.sqrt(2) / std,
        hollow=both / np.sqrt(2) / std,
        norm=clip_norm / (1 + CLIP_MARGIN) / std,
        noise_vectors=trainer.noise_vectors_drawn,
        taken=taken,
        keystreams=keystreams,
        stray=stray,
    )


def counted_round(training: Training, threads: int = 1) -> tuple[int, int, int]:
    """Train one round of so many steps, and count.

    Returns:
        vectors of noise, Adam's steps, and how often the trainer said that a step was done.
    """
    vectors = vectors_of(np.arange(CANARIES), float(training.clip_norm))
    classifier, trainer, _ = _trainer(training, vectors, threads)
    told: list[int] = []
    start = classifier.initial_vector()
    _, moments = trainer.train(start, None, lambda done, of: told.append(done))
    return trainer.noise_vectors_drawn, moments.steps, len(told)


def leaks_between_blocks(training: Training) -> float:
    """Sum rows alone and canaries alone: what either leaves in the other's block, at most."""
    classifier, everyone = ghost_head(), np.arange(CANARIES)
    examples = Watched(vectors_of(everyone, float(training.clip_norm)))
    targets = torch.zeros(len(examples), dtype=torch.int64)
    with clipping(classifier, float(training.clip_norm)) as clipped_sum:
        rows = clipped_sum(examples, targets, np.arange(ROWS)).reshape(2, -1)
        canaries = clipped_sum(examples, targets, ROWS + everyone).reshape(2, -1)
    leaked = np.abs(rows[:, FEATURES:]).max(), np.abs(canaries[:, :FEATURES]).max()
    return float(max(leaked))


def weight_of_canaries(training: Training, threads: int = 1) -> float:
    """Train one step without and one with canaries: how far that moves the rows' block.

    Returns:
        relative to the block; a divisor or a statistic that counted canaries would move it.
    """
    terms = replace(
        training, local_steps=1, sampling_probability=Decimal(1), noise_multiplier=LITTLE
    )
    vectors = vectors_of(np.arange(CANARIES), float(terms.clip_norm))
    blocks = []
    for count in (ROWS, ROWS + CANARIES):
        classifier, trainer, _ = _trainer(terms, vectors[:count], threads)
        _, moments = trainer.train(classifier.initial_vector(), None, lambda done, of: None)
        blocks.append(released(moments, terms).reshape(2, -1)[:, :FEATURES])
    return float(np.abs(blocks[1] - blocks[0]).max() / np.abs(blocks[0]).max())


def released(moments: AdamMoments, training: Training) -> Floats:
    """Read the noised sum of a first step off Adam's moments: shape (d,), to 7 digits."""
    divisor: Floats = moments.first.astype(np.float64) / float(np.float32(1 - BETA_1))
    return divisor * float(training.divisor)


def _trainer(
    terms: Training, vectors: Vectors, threads: int, rows_each: int = 1
) -> tuple[Classifier, Trainer, Watched]:
    classifier, watched = ghost_head(), Watched(vectors)
    count = len(watched)
    rows = Rows(texts=("made up",) * count, labels=np.zeros(count, dtype=np.int64))
    places = np.arange(count)
    canaries = places[ROWS:].reshape(-1, rows_each)
    units = Units([*places[:ROWS].reshape(-1, 1), *canaries])
    trainer = Trainer(classifier, rows, terms, threads=threads, examples=watched, units=units)
    return classifier, trainer, watched


def _stray(delta: Vector, moments: AdamMoments, training: Training) -> float:
    """Compare a first step's delta with Adam's rule for each coordinate by itself.

    Returns:
        the largest difference, in learning rates.
    """
    gradient = released(moments, training) / float(training.divisor)
    rate = float(training.learning_rate)
    alone = -rate * gradient / (np.abs(gradient) + 1e-8)
    return float(np.abs(delta - alone).max()) / rate
