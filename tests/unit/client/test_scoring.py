"""What a model is scored on is never trained on, and each unit counts as its own rows say."""

import json
import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.unit.client.conftest import LABELS, TEXTS, WORD_LABELS
from tests.unit.client.test_rehearsal import Place, place  # noqa: F401

from comity_client.compute import Compute
from comity_client.datasets import Source, read_rows
from comity_client.holdout import Holdout
from comity_client.rows import Rows, WordRows
from comity_client.scoring import Scoring
from comity_client.training.units import Units
from comity_client.workbench import Workbench
from comity_common.agreement import Agreement, PrivateEvaluation, TaskKind, Unit
from comity_common.errors import LocalError

KEY = bytes(range(32))
TERMS = PrivateEvaluation(
    share=Decimal("0.5"),
    after=(1,),
    spare=0,
    units=20,
    noise_multiplier=Decimal(10),
    loss_clip=Decimal(4),
    grid=64,
)
MECHANISM = TERMS.score


def scored(agreement: Agreement, unit: Unit = Unit.RECORD) -> Agreement:
    return replace(
        agreement,
        private_evaluation=TERMS,
        privacy=replace(
            agreement.privacy, unit=unit, rows_per_unit=1 if unit is Unit.RECORD else 9
        ),
        training=replace(agreement.training, local_steps=2),
    )


def keyed(path: Path, order: list[int]) -> Path:
    """Write three rows of each of twenty persons, persons in this order."""
    rows = [
        {"text": f"{TEXTS[(who + k) % 7]} {who}", "label": LABELS[k], "patient": f"p{who}"}
        for who in order
        for k in range(3)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_all_rows_of_a_person_stay_on_one_side_in_whatever_file(tmp_path: Path) -> None:
    sides = []
    for name, order in (("a", list(range(20))), ("b", list(range(30, 4, -1)))):
        rows = read_rows(keyed(tmp_path / f"{name}.jsonl", order), LABELS, "patient")
        train, held = Holdout(KEY, Fraction(1, 2)).part(rows)
        assert isinstance(train, Rows)
        assert isinstance(held, Rows)
        assert sorted(train.texts + held.texts) == sorted(rows.texts)
        who = [{text.split()[-1] for text in part.texts} for part in (train, held)]
        assert not who[0] & who[1]
        assert min(map(len, who)) >= 2
        assert len(held) == 3 * len(who[1])
        assert len(Units.of_persons(held, 9, KEY)) == len(who[1])
        sides.append({one: one in who[1] for part in who for one in part})
    common = sides[0].keys() & sides[1].keys()
    assert len(common) == 15
    assert all(sides[0][one] == sides[1][one] for one in common)


def test_a_record_stays_on_its_side_when_its_label_is_corrected() -> None:
    texts = tuple(f"text {k}" for k in range(40))
    split = Holdout(KEY, Fraction(1, 4))
    held = [
        split.part(Rows(texts=texts, labels=np.full(40, label, np.int64)))[1].texts
        for label in (0, 1)
    ]
    assert held[0] == held[1]
    assert 0 < len(held[0]) < 40


def test_each_unit_counts_as_an_independent_computation_says(build_tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from comity_common.tuning import Tune

    rows = read_rows(keyed(tmp_path / "rows.jsonl", list(range(20))), LABELS, "patient")
    for tune in (Tune.HEAD, Tune.LORA):
        classifier = build_tiny(tune)
        vector = np.random.default_rng(4).normal(0, 0.5, classifier.vector().size)
        scoring = Scoring(classifier, rows, Units.of_persons(rows, 9, KEY), MECHANISM)
        counts = list(scoring.counts(vector.astype(np.float32)))
        probabilities = classifier.probabilities(classifier.prepare(rows.texts)).astype(float)
        assert len(counts) == 20
        for who, (right, wrong, loss) in enumerate(counts):
            own = slice(3 * who, 3 * who + 3)
            hits = sum(probabilities[own].argmax(axis=1) == rows.labels[own])
            assert (right, wrong) == (64 * hits // 3, 64 - 64 * hits // 3)
            losses = [
                -math.log(p[k]) for p, k in zip(probabilities[own], rows.labels[own], strict=True)
            ]
            assert abs(loss - 32 * sum(min(each, 4) for each in losses) / 3 / 4) < 1.01


def test_words_that_a_model_does_not_read_are_wrong_and_lose_all(
    tiny_base: Path, task: object
) -> None:
    from comity_client.model.build import build
    from comity_common.agreement import Pooling, Task
    from comity_common.tuning import Tune

    words = Task(kind=TaskKind.TOKEN_CLASSIFICATION, labels=WORD_LABELS, max_tokens=8)
    classifier = build(
        tiny_base, words, pooling=Pooling.MEAN, tune=Tune.HEAD, lora_rank=2, lora_alpha=4, seed=KEY
    )
    texts = (("my", "card"), tuple(["loan"] * 24))  # of the second, six words are read
    labels = tuple(np.zeros(len(text), np.int64) for text in texts)
    rows = WordRows(texts=texts, labels=labels)
    vector = classifier.vector() * 0
    vector[0] = 9  # the bias: whatever is read is guessed to be the first label
    (short, long) = Scoring(classifier, rows, Units.of_records(2), MECHANISM).counts(vector)
    assert short[:2] == (64, 0)
    assert short[2] == 0
    assert long[:2] == (64 * 6 // 24, 64 - 64 * 6 // 24)
    assert long[2] == 32 * 18 // 24


@pytest.mark.parametrize("unit", list(Unit))
def test_a_workbench_trains_on_what_it_does_not_score(
    place: Place,  # noqa: F811
    tmp_path: Path,
    unit: Unit,
) -> None:
    file = keyed(tmp_path / "keyed.jsonl", list(range(20)))
    key = "patient" if unit is Unit.PERSON else ""
    source = Source(path=file, unit_key=key, cap_key=KEY, holdout_key=KEY)
    bench = Workbench(scored(place.write(), unit), source, Compute())
    scored_units = len(list(bench.score(bench.first_state.parameters)))
    trained_units = len(bench._trainer._units)
    assert min(scored_units, trained_units) >= 2
    rows = read_rows(file, LABELS, key)
    assert scored_units + trained_units == (20 if key else len(rows))
    _, held = Holdout(KEY, Fraction(1, 2)).part(rows)
    assert len(bench._trainer._examples) == len(rows) - len(held)
    whole = Workbench(
        replace(scored(place.write(), unit), private_evaluation=None), source, Compute()
    )
    assert len(whole._trainer._examples) == len(rows)
    with pytest.raises(LocalError, match="with scores"):
        whole.score(whole.first_state.parameters)


def test_a_vault_with_no_row_on_one_side_goes_on(place: Place, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "one.jsonl"
    sides = set()
    for k in range(12):
        file.write_text(json.dumps({"text": f"my card {k}", "label": "card"}))
        source = Source(path=file, holdout_key=KEY)
        bench = Workbench(scored(place.write()), source, Compute())
        counts = list(bench.score(bench.first_state.parameters))
        assert len(counts) + len(bench._trainer._units) == 1
        delta, _ = bench.train(bench.first_state.parameters, None, lambda done, of: None)
        assert np.abs(delta).max() > 0  # noise, rows or none
        assert len(MECHANISM.release(counts)) == 3
        sides.add(len(counts))
    assert sides == {0, 1}


def test_a_model_that_is_no_number_is_always_wrong(build_tiny) -> None:  # type: ignore[no-untyped-def]
    from comity_common.tuning import Tune

    classifier = build_tiny(Tune.HEAD)
    rows = Rows(texts=TEXTS, labels=np.zeros(len(TEXTS), np.int64))
    scoring = Scoring(classifier, rows, Units.of_records(len(TEXTS)), MECHANISM)
    broken = np.full(classifier.vector().size, np.nan, np.float32)
    assert set(scoring.counts(broken)) == {(0, 64, 32)}
