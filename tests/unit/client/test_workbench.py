"""The workbench trains the units that its agreement names, and counts what a round reserves."""

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.simulation.federation import promising_nothing, scores
from tests.unit.client.conftest import LABELS, TEXTS
from tests.unit.client.test_rehearsal import Place, place  # noqa: F401

from comity_client.compute import Compute
from comity_client.datasets import Source
from comity_client.holdout import Holdout
from comity_client.training.trainer import Trainer
from comity_client.workbench import Workbench
from comity_common.agreement import Agreement, Unit
from comity_common.crypto.derive import digest
from comity_common.errors import LocalError

KEY = bytes(32)


@pytest.fixture
def keyed(tmp_path: Path) -> Path:
    path = tmp_path / "keyed.jsonl"
    lines = [
        {"text": text, "label": LABELS[k % 3], "patient": k % 4} for k, text in enumerate(TEXTS * 3)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def short(agreement: Agreement, unit: Unit, rows_per_unit: int) -> Agreement:
    privacy = replace(agreement.privacy, unit=unit, rows_per_unit=rows_per_unit)
    training = replace(agreement.training, local_steps=3, sampling_probability=Decimal("0.5"))
    return replace(agreement, privacy=privacy, training=training)


def train(workbench: Workbench) -> np.ndarray:
    start = workbench.first_state.parameters
    delta, _ = workbench.train(start, None, lambda done, of: None)
    return delta


def test_persons_are_trained_on_by_their_column(place: Place, keyed: Path) -> None:  # noqa: F811
    agreement = short(place.write(), Unit.PERSON, 2)
    workbench = Workbench(agreement, Source(path=keyed, unit_key="patient", cap_key=KEY), Compute())
    units = workbench._trainer._units
    assert [len(units.rows_of(unit)) for unit in range(len(units))] == [2, 2, 2, 2]
    assert np.isfinite(train(workbench)).all()


def test_without_a_column_no_person_is_promised_anything(place: Place) -> None:  # noqa: F811
    with pytest.raises(LocalError, match="whose"):
        Workbench(
            short(place.write(), Unit.PERSON, 2), Source(path=place.rows, cap_key=KEY), Compute()
        )


def test_a_round_that_takes_another_number_of_steps_than_reserved_is_not_handed_out(
    place: Place,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workbench = Workbench(short(place.write(), Unit.RECORD, 1), Source(path=place.rows), Compute())
    assert np.isfinite(train(workbench)).all()
    fewer = replace(workbench._trainer._training, local_steps=2)
    monkeypatch.setattr(workbench._trainer, "_training", fewer)
    with pytest.raises(LocalError, match="each of 3 steps, got 2"):
        train(workbench)


def test_a_round_whose_keys_come_twice_is_not_handed_out(
    place: Place,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.injected import injected

    workbench = Workbench(short(place.write(), Unit.RECORD, 1), Source(path=place.rows), Compute())
    with injected("noise reseeded"), pytest.raises(LocalError, match="fresh noise"):
        train(workbench)


def test_an_agreement_without_privacy_trains_without_noise_and_says_so(place: Place) -> None:  # noqa: F811
    agreement = short(place.write(), Unit.RECORD, 1)
    everyone = replace(agreement.training, sampling_probability=Decimal(1))
    silent = promising_nothing(replace(agreement, training=everyone))
    assert isinstance(Workbench(agreement, Source(path=place.rows), Compute())._trainer, Trainer)
    workbench = Workbench(silent, Source(path=place.rows), Compute())
    assert np.array_equal(train(workbench), train(workbench))  # nothing is drawn
    assert not hasattr(workbench._trainer, "noise_vectors_drawn")


def test_a_vault_all_of_whose_rows_are_held_out_works_like_any_other(
    place: Place,  # noqa: F811
    tmp_path: Path,
) -> None:
    """What it does may not depend on whether the only row is on one side or the other."""
    terms = scores((1,))
    agreement = replace(short(place.write(), Unit.RECORD, 1), private_evaluation=terms)
    alone = tmp_path / "alone.jsonl"
    alone.write_text(json.dumps({"text": TEXTS[0], "label": LABELS[0]}))
    record = digest("record", TEXTS[0].encode())
    keys = [bytes([k]) * 32 for k in range(256)]
    found = {Holdout(key, Fraction(terms.share)).holds(record): key for key in keys}
    for is_held, key in found.items():
        workbench = Workbench(agreement, Source(path=alone, holdout_key=key), Compute())
        parameters = workbench.first_state.parameters
        assert train(workbench).shape == parameters.shape
        assert len(list(workbench.score(parameters))) == is_held
        assert (workbench.look(parameters) is None) == is_held
    assert found.keys() == {True, False}
