"""Which rows a person brings: all, or as many as the cap allows, always the same ones."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.federation import make_agreement

from comity_client.rows import Rows
from comity_client.training.units import Units
from comity_common.agreement import Privacy, Unit
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import LocalError
from comity_common.ids import InstitutionId

KEY, OTHER_KEY = bytes(32), bytes(range(32))


def rows_of(owners: list[int]) -> Rows:
    """One row of each owner in turn; every text is another."""
    return Rows(
        texts=tuple(f"text {k}" for k in range(len(owners))),
        labels=np.zeros(len(owners), dtype=np.int64),
        units=np.array(owners, dtype=np.int64),
    )


def texts_of(units: Units, rows: Rows) -> dict[int, set[str]]:
    """The texts that are used, by owner."""
    assert rows.units is not None
    found = [units.rows_of(unit) for unit in range(len(units))]
    return {int(rows.units[f[0]]): {rows.texts[k] for k in f} for f in found}


owners = st.lists(st.integers(0, 5), max_size=40).map(
    lambda ids: [sorted(set(ids)).index(i) for i in ids]
)


@given(owners)
def test_without_a_cap_every_row_is_with_its_owner_and_once(ids: list[int]) -> None:
    units = Units.of_persons(rows_of(ids), 1000, KEY)
    assert len(units) == len(set(ids))
    for unit in range(len(units)):
        assert units.rows_of(unit).tolist() == [k for k, id in enumerate(ids) if id == unit]


@given(owners, st.integers(1, 5))
def test_a_cap_leaves_each_so_many_of_its_own_rows(ids: list[int], cap: int) -> None:
    units = Units.of_persons(rows_of(ids), cap, KEY)
    for unit in range(len(units)):
        rows = units.rows_of(unit).tolist()
        assert rows == sorted(set(rows))
        assert all(ids[row] == unit for row in rows)
        assert len(rows) == min(cap, ids.count(unit))


@given(st.randoms(use_true_random=False))
def test_the_choice_is_the_same_in_any_order_of_the_file(chance) -> None:  # type: ignore[no-untyped-def]
    rows = rows_of([0] * 9 + [1] * 4)
    order = list(range(13))
    chance.shuffle(order)
    shuffled = Rows(
        texts=tuple(rows.texts[k] for k in order),
        labels=rows.labels.copy(),
        units=rows.units[order],  # type: ignore[index]
    )
    before, after = (texts_of(Units.of_persons(r, 3, KEY), r) for r in (rows, shuffled))
    assert before == after


def test_the_choice_does_not_ask_for_other_persons() -> None:
    with_others = rows_of([0] * 20 + [1] * 20)
    alone = Rows(
        texts=with_others.texts[:20],
        labels=with_others.labels[:20].copy(),
        units=np.zeros(20, dtype=np.int64),
    )
    chosen = Units.of_persons(alone, 5, KEY).rows_of(0)
    assert np.array_equal(chosen, Units.of_persons(with_others, 5, KEY).rows_of(0))


def test_another_key_chooses_other_rows() -> None:
    rows = rows_of([0] * 200)
    one, other = (Units.of_persons(rows, 50, key).rows_of(0).tolist() for key in (KEY, OTHER_KEY))
    assert one == Units.of_persons(rows, 50, KEY).rows_of(0).tolist()
    assert one != other
    assert one != list(range(50))


def test_records_are_units_of_one_row_each() -> None:
    units = Units.of_records(5)
    assert units.are_records
    assert [units.rows_of(k).tolist() for k in range(5)] == [[0], [1], [2], [3], [4]]
    assert len(Units.of_records(0)) == 0
    assert not Units.of_persons(rows_of([0, 0]), 2, KEY).are_records
    assert not Units([np.array([1]), np.array([0])]).are_records


@pytest.fixture
def privacy() -> Privacy:
    ids = [InstitutionId(f"inst-0{k}") for k in range(3)]
    keys = {id: SigningKeys.generate() for id in ids}
    return make_agreement(keys, SigningKeys.generate()).privacy


def test_an_agreement_says_which_units_there_are(privacy: Privacy) -> None:
    rows = rows_of([0, 0, 0, 1])
    assert Units.agreed(privacy, rows, b"").are_records
    persons = replace(privacy, unit=Unit.PERSON, rows_per_unit=2, epsilon=Decimal(8))
    units = Units.agreed(persons, rows, KEY)
    assert [len(units.rows_of(k)) for k in range(len(units))] == [2, 1]


def test_persons_are_not_promised_of_rows_that_do_not_say_whose_they_are(
    privacy: Privacy,
) -> None:
    persons = replace(privacy, unit=Unit.PERSON, rows_per_unit=2)
    anonymous = Rows(texts=("a",), labels=np.zeros(1, np.int64))
    with pytest.raises(LocalError, match="whose"):
        Units.agreed(persons, anonymous, KEY)
    with pytest.raises(LocalError, match="key of 32 bytes"):
        Units.agreed(persons, rows_of([0]), b"")
    with pytest.raises(LocalError, match="at least one row"):
        Units([np.array([], dtype=np.int64)])


def test_units_show_nothing_when_they_are_printed() -> None:
    assert repr(Units.of_records(17)) == "Units(...)"
