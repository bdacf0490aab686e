"""The clipped sum over persons against a loop, and what would break its sensitivity."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
import torch
from tests.unit.client.training.test_step import gradient_alone, moved

from comity_client.model.classifier import Classifier
from comity_client.model.examples import Examples, Features
from comity_client.rows import Rows
from comity_client.training import persons
from comity_client.training.persons import sum_over_units
from comity_client.training.step import CLIP_MARGIN, ClippedSum, clipping
from comity_client.training.trainer import Trainer
from comity_client.training.units import Units
from comity_common.agreement import Training
from comity_common.tuning import Tune

TEXTS = (
    "my card was lost",
    "please help",
    "the loan",
    "my money was stolen please help the bank my card was lost",
    "the bank the bank the bank the bank the bank the bank the bank the bank the bank",
    "help " * 60,
    "loan loan",
    "money money money",
)  # fmt: skip
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2, 2, 0])
OWNERS = ((0, 3, 5), (1,), (2, 4), (6,), (7,))  # rows of a person lie in several batches
UNITS = Units([np.array(rows) for rows in OWNERS])
ALL = np.arange(len(OWNERS))
KEY = bytes(32)


@pytest.fixture(params=[Tune.HEAD, Tune.LORA, Tune.LORA_PLAIN, Tune.FULL])
def classifier(request, build_tiny) -> Classifier:  # type: ignore[no-untyped-def]
    return moved(build_tiny(request.param))


def person_sum(
    classifier: Classifier,
    examples: Examples,
    drawn: np.ndarray = ALL,
    clip_norm: float = 1.0,
    units: Units = UNITS,
    targets: torch.Tensor = TARGETS,
) -> np.ndarray:
    with clipping(classifier, clip_norm) as total:
        return sum_over_units(total, examples, targets, units, drawn)


def gradients(classifier: Classifier, examples: Examples) -> list[np.ndarray]:
    """Each person's whole gradient by plain autograd, row by row."""
    found = []
    for rows in OWNERS:
        found.append(sum(_alone(classifier, examples, row) for row in rows))
    return found


def _alone(classifier: Classifier, examples: Examples, row: int) -> np.ndarray:
    from tests.unit.client.training import test_step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_step, "TARGETS", TARGETS)
        return gradient_alone(classifier, examples, row)


def naive(classifier: Classifier, examples: Examples, clip_norm: float) -> np.ndarray:
    total = np.zeros(classifier.layout.size)
    for gradient in gradients(classifier, examples):
        norm = np.linalg.norm(gradient) * (1 + CLIP_MARGIN)
        total += gradient * min(1.0, clip_norm / norm)
    return total


def middle_norm(classifier: Classifier, examples: Examples) -> float:
    return float(np.median([np.linalg.norm(g) for g in gradients(classifier, examples)]))


def test_the_sum_equals_a_loop_over_single_persons(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    for clip_norm in (middle_norm(classifier, examples), 1e3):
        got = person_sum(classifier, examples, clip_norm=clip_norm)
        wanted = naive(classifier, examples, clip_norm)
        assert np.abs(got - wanted).max() <= 1e-5 * np.linalg.norm(wanted)


def test_in_float64_the_sum_equals_the_loop_to_twelve_digits(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    if isinstance(examples, Features):
        examples = Features(examples._vectors.double().numpy())
    classifier.network.double()
    clip_norm = middle_norm(classifier, examples)
    got = person_sum(classifier, examples, clip_norm=clip_norm)
    wanted = naive(classifier, examples, clip_norm)
    assert np.abs(got - wanted).max() <= 1e-12 * np.linalg.norm(wanted)


def test_clipping_rows_in_place_of_persons_would_be_seen(classifier: Classifier) -> None:
    """The mutant: each row held to the norm, then added; and rows drawn in place of persons."""
    examples = classifier.prepare(TEXTS)
    clip_norm = middle_norm(classifier, examples) / 3
    wanted = naive(classifier, examples, clip_norm)
    with clipping(classifier, clip_norm) as total:
        by_rows = total(examples, TARGETS, np.concatenate([np.array(rows) for rows in OWNERS]))
    assert np.abs(by_rows - wanted).max() > 1e-3 * np.linalg.norm(wanted)


def test_one_person_moves_the_sum_by_at_most_the_clipping_norm(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    clip_norm = middle_norm(classifier, examples)  # holds some and lets others pass
    whole = person_sum(classifier, examples, clip_norm=clip_norm)
    for person in ALL:
        rest = person_sum(classifier, examples, np.delete(ALL, person), clip_norm)
        assert np.linalg.norm(whole - rest) <= clip_norm


def test_a_person_with_a_thousand_rows_moves_the_sum_by_at_most_the_clipping_norm(
    build_tiny,  # type: ignore[no-untyped-def]
) -> None:
    classifier = moved(build_tiny(Tune.HEAD))
    examples = classifier.prepare(TEXTS + ("my card was stolen",) * 1000)
    targets = torch.cat([TARGETS, torch.ones(1000, dtype=torch.int64)])
    units = Units([*(np.array(rows) for rows in OWNERS), 8 + np.arange(1000)])
    chosen = {"units": units, "targets": targets, "clip_norm": 0.01}
    whole = person_sum(classifier, examples, np.arange(6), **chosen)
    rest = person_sum(classifier, examples, np.arange(5), **chosen)
    moved_by = np.linalg.norm(whole - rest)
    assert 0.0099 < moved_by <= 0.01


def test_a_person_adds_the_same_bits_in_any_company_and_in_groups_of_any_size(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put together for a person is looked at itself: bit for bit, no tolerance."""
    many = tuple(f"{text} {extra}" for extra in ("help", "loan", "card") for text in TEXTS)
    examples = classifier.prepare(TEXTS + many)
    targets = TARGETS.repeat(4)
    units = Units([*(np.array(rows) for rows in OWNERS), *np.split(8 + np.arange(24), 6)])
    seen: list[list[bytes]] = []
    clipped = ClippedSum.clipped

    def watched(self: ClippedSum, gradients: torch.Tensor) -> np.ndarray:
        seen[-1] += [person.numpy().tobytes() for person in gradients]
        return clipped(self, gradients)

    monkeypatch.setattr(ClippedSum, "clipped", watched)
    monkeypatch.setattr(persons, "GROUP_BYTES", 0)
    for least, drawn in ((1, [0]), (1, [0, 2, 5]), (3, [0, 1, 2, 3, 4]), (50, range(11))):
        monkeypatch.setattr(persons, "LEAST_GROUP", least)
        seen.append([])
        person_sum(classifier, examples, np.array(drawn), units=units, targets=targets)
    assert {company[0] for company in seen} == {seen[0][0]}
    assert [len(company) for company in seen] == [1, 3, 2, 8]


def test_with_records_as_units_nothing_changes(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    records = np.array([0, 2, 3, 7])
    with clipping(classifier, 0.5) as total:
        wanted = total(examples, TARGETS, records)
        for units in (Units.of_records(8), Units([np.array([k]) for k in range(8)])):
            assert np.array_equal(sum_over_units(total, examples, TARGETS, units, records), wanted)


def test_persons_with_one_row_each_are_records(classifier: Classifier) -> None:
    examples = classifier.prepare(TEXTS)
    backwards = Units([np.array([k]) for k in reversed(range(8))])
    with clipping(classifier, 0.5) as total:
        wanted = total(examples, TARGETS, np.array([7, 4]))
        assert np.array_equal(
            sum_over_units(total, examples, TARGETS, backwards, np.array([0, 3])), wanted
        )


def test_nobody_drawn_sums_to_zero(classifier: Classifier) -> None:
    total = person_sum(classifier, classifier.prepare(TEXTS), np.array([], dtype=np.int64))
    assert total.shape == (classifier.layout.size,)
    assert not total.any()


def test_a_person_without_finite_gradient_is_left_out_and_the_rest_lives(
    build_tiny,  # type: ignore[no-untyped-def]
) -> None:
    classifier = moved(build_tiny(Tune.HEAD))
    examples = classifier.prepare(TEXTS)
    assert isinstance(examples, Features)
    examples._vectors[3, 2] = float("nan")  # one of the rows of person 0
    total = person_sum(classifier, examples)
    assert np.isfinite(total).all()
    assert np.allclose(total, person_sum(classifier, examples, ALL[1:]), rtol=0, atol=1e-13)
    assert not person_sum(classifier, examples, ALL[:1]).any()


# The trainer

TERMS = Training(
    learning_rate=Decimal("0.05"),
    local_steps=1,
    sampling_probability=Decimal("0.5"),
    clip_norm=Decimal(1),
    noise_multiplier=Decimal("1e-9"),
    divisor=Decimal(8),
)


class Asking:
    """Examples that write down which rows were asked for."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self._examples)

    def targets(self, labels: np.ndarray) -> torch.Tensor:
        return self._examples.targets(labels)

    def batches(self, records: np.ndarray) -> Iterator:  # type: ignore[type-arg]
        self.asked += records.tolist()
        return self._examples.batches(records)


def test_the_trainer_draws_persons_with_all_their_rows(build_tiny) -> None:  # type: ignore[no-untyped-def]
    """The mutant that draws rows would tear a person of three apart in three of four steps."""
    classifier = build_tiny(Tune.HEAD)
    owners = np.repeat(np.arange(40), 3)
    texts = TEXTS * 15
    rows = Rows(texts=texts, labels=np.arange(120, dtype=np.int64) % 3, units=owners)
    asking = Asking(classifier.prepare(texts))
    units = Units.of_persons(rows, 3, KEY)
    trainer = Trainer(classifier, rows, TERMS, threads=1, examples=asking, units=units)
    drawn = []
    for _ in range(60):
        asking.asked.clear()
        trainer.train(classifier.initial_vector(), None, lambda done, of: None)
        counts = np.bincount(owners[asking.asked], minlength=40)
        assert set(counts.tolist()) <= {0, 3}
        drawn.append((counts == 3).sum())
    assert abs(np.mean(drawn) - 20) < 6 * np.sqrt(10 / 60)


def test_the_trainers_release_is_the_sum_over_persons(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = moved(build_tiny(Tune.LORA))
    start = classifier.vector()
    examples = classifier.prepare(TEXTS)
    rows = Rows(texts=TEXTS, labels=TARGETS.numpy().astype(np.int64))
    clip_norm = middle_norm(classifier, examples)
    wanted = naive(classifier, examples, clip_norm)
    everyone = replace(TERMS, sampling_probability=Decimal(1), clip_norm=Decimal(repr(clip_norm)))
    trainer = Trainer(classifier, rows, everyone, threads=1, units=UNITS)
    _, moments = trainer.train(start, None, lambda done, of: None)
    released = moments.first.astype(np.float64) / 0.1 * 8
    assert np.abs(released - wanted).max() <= 1e-5 * np.linalg.norm(wanted)
