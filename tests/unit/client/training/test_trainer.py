"""Rounds as the vault trains them.

After one step Adam's first moment is a tenth of the noised mean gradient, so a test reads off what
exactly was released.
"""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

import comity_client
from comity_client.model.evaluate import score_rows
from comity_client.rows import Rows, WordRows
from comity_client.training.baseline import TrainerWithoutPrivacy
from comity_client.training.step import clipping
from comity_client.training.trainer import Trainer
from comity_common.agreement import TaskKind, Training
from comity_common.tuning import Tune

TEXTS = ("my card was lost", "please help", "the loan", "money was stolen") * 5
TERMS = Training(
    learning_rate=Decimal("0.05"),
    local_steps=1,
    sampling_probability=Decimal(1),
    clip_norm=Decimal("0.5"),
    noise_multiplier=Decimal("1.5"),
    divisor=Decimal(8),
)
STD = 0.75


def no_matter(done: int, of: int) -> None: ...


def released(trainer: Trainer, start: np.ndarray) -> np.ndarray:
    """The noised sum of the only step."""
    _, moments = trainer.train(start, None, no_matter)
    return moments.first.astype(np.float64) / 0.1 * float(TERMS.divisor)


@pytest.fixture(params=list(Tune))
def classifier(request, build_tiny):  # type: ignore[no-untyped-def]
    return build_tiny(request.param)


def test_a_step_releases_the_clipped_sum_and_the_full_noise(build_tiny) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(Tune.FULL)
    rows = Rows(texts=TEXTS, labels=np.zeros(len(TEXTS), dtype=np.int64))
    start = classifier.initial_vector()
    trainer = Trainer(classifier, rows, TERMS, threads=1)
    classifier.load(start)
    with clipping(classifier, 0.5) as clipped_sum:
        exact = clipped_sum(
            classifier.prepare(TEXTS), torch.tensor(rows.labels), np.arange(len(TEXTS))
        )
    assert np.linalg.norm(exact) > 5 * STD
    noise = released(trainer, start) - exact
    assert abs(noise.std() / STD - 1) < 6 / np.sqrt(2 * noise.size)
    assert abs(noise.mean()) < 6 * STD / np.sqrt(noise.size)


def test_a_step_with_an_empty_batch_releases_the_full_noise(classifier, rows_of) -> None:  # type: ignore[no-untyped-def]
    terms = replace(TERMS, sampling_probability=Decimal("1e-15"))
    trainer = Trainer(classifier, rows_of(TEXTS), terms, threads=1)
    noise = released(trainer, classifier.initial_vector())
    assert abs(noise.std() / STD - 1) < 6 / np.sqrt(2 * noise.size)
    assert np.count_nonzero(noise) > 0.99 * noise.size
    assert trainer.noise_vectors_drawn == 1


def test_as_many_noise_vectors_are_drawn_as_steps_are_taken(classifier, rows_of) -> None:  # type: ignore[no-untyped-def]
    terms = replace(TERMS, local_steps=3, sampling_probability=Decimal("0.3"))
    trainer = Trainer(classifier, rows_of(TEXTS), terms, threads=1)
    heard: list[tuple[int, int]] = []
    start, moments = classifier.initial_vector(), None
    for _ in range(2):
        _, moments = trainer.train(start, moments, lambda done, of: heard.append((done, of)))
    assert trainer.noise_vectors_drawn == moments.steps == 6
    assert heard == [(1, 3), (2, 3), (3, 3)] * 2


def test_a_retried_round_and_a_restarted_trainer_draw_fresh_noise(classifier, rows_of) -> None:  # type: ignore[no-untyped-def]
    start, rows = classifier.initial_vector(), rows_of(TEXTS)
    trainer = Trainer(classifier, rows, TERMS, threads=1)
    again = Trainer(classifier, rows, TERMS, threads=1)
    torch.manual_seed(1)
    one = released(trainer, start)
    torch.manual_seed(1)
    two, three = released(trainer, start), released(again, start)
    for this, that in ((one, two), (one, three), (two, three)):
        assert abs(np.corrcoef(this, that)[0, 1]) < 0.9
        assert (this == that).mean() < 0.01


def test_noise_and_scale_do_not_depend_on_the_number_of_rows(build_tiny, rows_of) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(Tune.FULL)
    terms = replace(TERMS, sampling_probability=Decimal("1e-15"))
    start = classifier.initial_vector()
    for texts in (TEXTS[:1], TEXTS):
        noise = released(Trainer(classifier, rows_of(texts), terms, threads=1), start)
        assert abs(noise.std() / STD - 1) < 6 / np.sqrt(2 * noise.size)


def test_trainers_that_share_a_classifier_do_not_disturb_each_other(build_tiny, rows_of) -> None:  # type: ignore[no-untyped-def]
    classifier = build_tiny(Tune.LORA)
    terms = replace(TERMS, noise_multiplier=Decimal("1e-9"), local_steps=2)
    here, there = (Trainer(classifier, rows_of(t), terms, threads=1) for t in (TEXTS, TEXTS[:3]))
    start = classifier.initial_vector()
    first, _ = here.train(start, None, no_matter)
    there.train(start + 1, None, no_matter)
    again, _ = here.train(start, None, no_matter)
    # Noise alone moves B's coordinates whose gradient is zero; the classifier's are not.
    sizes = [int(np.prod(shape)) for _, shape in classifier.layout.shapes]
    assert classifier.layout.shapes[-1][0] == "classifier.weight"
    head = slice(len(first) - sizes[-1], None)
    assert np.allclose(first[head], again[head], atol=1e-3)


def test_with_little_noise_a_delta_fits_the_rows(classifier, rows_of) -> None:  # type: ignore[no-untyped-def]
    terms = replace(TERMS, noise_multiplier=Decimal("0.01"), local_steps=40)
    rows = rows_of(TEXTS[:3])
    delta, _ = Trainer(classifier, rows, terms, threads=1).train(
        classifier.initial_vector(), None, no_matter
    )
    assert delta.dtype == np.float32
    classifier.load(classifier.initial_vector() + delta)
    guessed = classifier.probabilities(classifier.prepare(rows.texts)).argmax(axis=1)
    assert guessed.tolist() == rows.labels.tolist()


@pytest.mark.parametrize("tune", list(Tune))
def test_with_little_noise_a_delta_fits_the_words(tune: Tune, build_family) -> None:  # type: ignore[no-untyped-def]
    classifier = build_family("distilbert", TaskKind.TOKEN_CLASSIFICATION, tune)
    texts = (("my", "card", "was", "lost"), ("please",), ("the", "loan", "was", "lost", "please"))
    places = {"card": 1, "loan": 1, "lost": 2}
    labels = tuple(np.array([places.get(word, 0) for word in words]) for words in texts)
    rows = WordRows(texts=texts, labels=labels)
    rate = Decimal("0.01") if tune in (Tune.FULL, Tune.LORA_PLAIN) else TERMS.learning_rate
    terms = replace(TERMS, noise_multiplier=Decimal("0.01"), local_steps=30, learning_rate=rate)
    delta, _ = Trainer(classifier, rows, terms, threads=1).train(
        classifier.initial_vector(), None, no_matter
    )
    classifier.load(classifier.initial_vector() + delta)
    guessed = classifier.guess(classifier.prepare(rows.texts))
    scores = score_rows(rows, guessed, classifier.task.labels)
    assert scores.accuracy >= 0.9
    plain = TrainerWithoutPrivacy(classifier, rows, terms, threads=1)
    delta, _ = plain.train(classifier.initial_vector(), None, no_matter)
    classifier.load(classifier.initial_vector() + delta)
    guessed = classifier.guess(classifier.prepare(rows.texts))
    assert score_rows(rows, guessed, classifier.task.labels).accuracy >= 0.9


def test_the_baseline_takes_the_mean_gradient_without_clipping_or_noise(  # type: ignore[no-untyped-def]
    classifier, rows_of
) -> None:
    rows = rows_of(TEXTS)
    start = classifier.initial_vector()
    results = [
        TrainerWithoutPrivacy(classifier, rows, TERMS, threads=1).train(start, None, no_matter)
        for _ in range(2)
    ]
    classifier.load(start)
    with clipping(classifier, 1e9) as unclipped_sum:
        total = unclipped_sum(
            classifier.prepare(TEXTS), torch.tensor(rows.labels), np.arange(len(TEXTS))
        )
    mean = results[0][1].first / np.float32(0.1)
    assert np.allclose(mean, total / len(TEXTS), atol=1e-6)
    assert np.array_equal(results[0][0], results[1][0])


def test_only_the_workbench_knows_training_without_privacy() -> None:
    """It takes it for agreements that promise nothing, see `test_workbench`."""
    package = Path(comity_client.__file__).parent
    importing = [
        path.relative_to(package)
        for path in package.rglob("*.py")
        if "training.baseline" in path.read_text(encoding="utf-8")
    ]
    assert importing == [Path("workbench.py")]
