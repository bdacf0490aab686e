"""A layout maps arrays to coordinates and back, and refuses what is not its own."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity_common.errors import LocalError
from comity_common.vectors import Layout, vector_digest

LAYOUT = Layout((("weight", (2, 3)), ("bias", (2,)), ("temperature", ())))


def arrays() -> dict:
    return {
        "temperature": np.float32(9).reshape(()),
        "bias": np.array([6, 7], dtype=np.float32),
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    }


def test_arrays_are_laid_out_in_the_order_of_the_layout():
    assert LAYOUT.size == 9
    assert LAYOUT.flatten(arrays()).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9]


@given(st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=5))
def test_unflatten_undoes_flatten(shapes):
    layout = Layout(tuple((f"array-{i}", shape) for i, shape in enumerate(shapes)))
    flat = np.arange(layout.size, dtype=np.float32)

    cut = layout.unflatten(flat)

    assert [array.shape for array in cut.values()] == shapes
    assert np.array_equal(layout.flatten(cut), flat)


def test_unflatten_gives_views():
    flat = np.zeros(9, dtype=np.float32)

    LAYOUT.unflatten(flat)["bias"][1] = 5

    assert flat[7] == 5


def test_a_column_major_array_is_laid_out_row_by_row():
    odd = arrays() | {"weight": np.asfortranarray(arrays()["weight"])}

    assert np.array_equal(LAYOUT.flatten(odd), LAYOUT.flatten(arrays()))


@pytest.mark.parametrize(
    "change",
    [
        {"weight": np.zeros((3, 2), dtype=np.float32)},
        {"bias": np.zeros(2, dtype=np.float64)},
        {"bias": np.array([0, np.nan], dtype=np.float32)},
        {"bias": np.array([0, -np.inf], dtype=np.float32)},
        {"extra": np.zeros(1, dtype=np.float32)},
    ],
)
def test_flatten_refuses_other_shapes_dtypes_names_and_values(change):
    with pytest.raises(LocalError):
        LAYOUT.flatten(arrays() | change)


def test_flatten_refuses_a_missing_array():
    few = arrays()
    del few["bias"]

    with pytest.raises(LocalError):
        LAYOUT.flatten(few)


@pytest.mark.parametrize("shape", [(8,), (10,), (9, 1)])
def test_unflatten_refuses_another_size(shape):
    with pytest.raises(LocalError):
        LAYOUT.unflatten(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("shapes", [(), (("a", (1,)), ("a", (2,))), (("a", (0,)),)])
def test_a_layout_has_arrays_with_a_name_of_their_own(shapes):
    with pytest.raises(LocalError):
        Layout(shapes)


def test_the_digest_is_over_little_endian_singles():
    payload = struct.pack("<3f", 1.0, -2.5, 0.1)
    label = b"comity-sum/1/vector"
    framed = len(label).to_bytes(8, "big") + label + len(payload).to_bytes(8, "big") + payload

    assert vector_digest(np.array([1, -2.5, 0.1], np.float32)) == hashlib.sha256(framed).digest()


def test_the_digest_does_not_depend_on_how_the_vector_lies_in_memory():
    wide = np.arange(10, dtype=np.float32)

    assert vector_digest(wide[::2]) == vector_digest(wide[::2].copy())
    assert vector_digest(wide.astype(">f4").astype(np.float32)) == vector_digest(wide)


def test_the_digest_refuses_another_dtype():
    with pytest.raises(LocalError):
        vector_digest(np.zeros(3))
