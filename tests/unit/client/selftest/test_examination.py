"""A clean vault passes; each of ten mistakes in the product's own classes is caught.

Many times over: `python -m tests.bench --only selftest`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from tests.injected import MISTAKES, injected

from comity_client.selftest import ghosts, picture
from comity_client.selftest.examination import FALSE_ALARMS, STANDARD, Examination, examine_standard
from comity_client.training import trainer
from comity_client.training.sampler import PoissonSampler
from comity_client.training.trainer import Trainer
from comity_client.training.units import Units

SHORT = replace(STANDARD, sampling_probability=Decimal("0.05"), local_steps=5)
SEES = {
    "noise × 0.95": "noise-scale",
    "noise × 0.8": "noise-scale",
    "noise × 0.5": "noise-scale",
    "noise × 0": "noise-scale",
    "clip × 2": "clipping",
    "clip × 5": "clipping",
    "shuffled batches": "sampling-canaries",
    "noise reseeded": "noise-repeats",
    "a step not accounted": "steps",
    "canaries counted twice": "once",
}


@pytest.fixture(scope="module", autouse=True)
def _fewer_steps() -> Iterator[None]:
    """A fifth of the steps: 120,000 values of noise are still plenty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ghosts, "STEPS", 60)
        yield


@pytest.fixture(scope="module")
def clean() -> Examination:
    return examine_standard(1, training=SHORT)


def test_a_clean_vault_passes_every_test(clean: Examination) -> None:
    assert clean.passed, [outcome for outcome in clean.outcomes if not outcome.passed]
    assert 0 <= clean.epsilon_bound < clean.epsilon_claimed


def test_false_alarms_of_all_tests_together_are_one_in_a_thousand(clean: Examination) -> None:
    chances = [outcome.p for outcome in clean.outcomes if outcome.p is not None]
    assert len(chances) == 11
    assert FALSE_ALARMS == 1e-3
    bound = FALSE_ALARMS / len(chances)
    for outcome in clean.outcomes:
        assert outcome.p is None or outcome.passed is (outcome.p >= bound)


def test_ids_are_fit_for_the_ledger_and_none_comes_twice(clean: Examination) -> None:
    assert len(set(clean.tests)) == len(clean.tests) == 17


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_caught_by_the_test_that_is_for_it(mistake: str) -> None:
    with injected(mistake):
        assert SEES[mistake] in examine_standard(1, training=SHORT).failed


def test_a_budget_that_books_fewer_steps_is_seen(clean: Examination) -> None:
    from comity_client.selftest import examination

    def reserved(terms, rounds: int) -> int:  # type: ignore[no-untyped-def]
        return terms.local_steps * rounds - 1

    steps, *_ = examination._counters(clean.seen, SHORT, reserved, 1)
    assert (steps.test, steps.passed) == ("steps", False)


def test_a_sampler_that_is_wrong_at_the_agreements_own_probability_is_seen(
    clean: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comity_client.selftest import examination

    draw: Callable[..., object] = PoissonSampler.draw
    monkeypatch.setattr(PoissonSampler, "draw", lambda self: draw(self)[::2])  # type: ignore[index]
    tiny = replace(SHORT, sampling_probability=Decimal("0.0005"))
    found = {chance.test: chance.p for chance in examination._sampling(clean.seen, tiny)}
    assert found["sampling-rate"] < 1e-4


def test_pictures_have_a_bar_for_every_bin_and_a_mark_where_it_should_end(
    clean: Examination,
) -> None:
    for drawn in (picture.noise(clean.seen), picture.inclusions(clean.seen)):
        lines = drawn.splitlines()
        assert len(lines) >= 8
        assert all(line.count("|") == 1 for line in lines)
        assert max(line.count("█") for line in lines) >= picture.WIDTH * 0.8


# Persons


def test_a_clean_vault_passes_with_persons_of_several_rows() -> None:
    examined = examine_standard(1, training=SHORT, rows_each=3)
    assert examined.passed, examined.failed


def test_clipping_rows_in_place_of_persons_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_rows(clipped_sum, examples, targets, units, drawn):  # type: ignore[no-untyped-def]
        rows = [units.rows_of(unit) for unit in drawn.tolist()]
        return clipped_sum(examples, targets, np.concatenate([np.empty(0, np.int64), *rows]))

    monkeypatch.setattr(trainer, "sum_over_units", by_rows)
    assert "clipping" in examine_standard(1, training=SHORT, rows_each=3).failed


def test_drawing_rows_in_place_of_persons_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    init = Trainer.__init__

    def of_rows(self, classifier, rows, training, *, units, **others):  # type: ignore[no-untyped-def]
        init(self, classifier, rows, training, units=Units.of_records(len(rows)), **others)

    monkeypatch.setattr(Trainer, "__init__", of_rows)
    assert "once" in examine_standard(1, training=SHORT, rows_each=3).failed
