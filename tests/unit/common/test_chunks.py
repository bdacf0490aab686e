"""A root names one file of one size; the leaves under it reject a corrupt chunk at once."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity_common.chunks import (
    CHUNK_BYTES,
    RunningRoot,
    bitmap,
    check_leaves,
    count,
    leaf,
    missing,
    root,
)
from comity_common.errors import LocalError, PeerError


def leaves_of(data: bytes) -> list[bytes]:
    return [leaf(data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)]


def framed(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()


def test_leaf_and_root_are_labelled_hashes():
    assert leaf(b"abc") == framed(b"comity-sum/1/chunk", b"abc")
    assert root(3, [leaf(b"abc")]) == framed(
        b"comity-sum/1/chunks", (3).to_bytes(8, "big"), leaf(b"abc")
    )
    assert leaf(memoryview(b"xabcx")[1:4]) == leaf(b"abc")


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        (0, 0),
        (1, 1),
        (CHUNK_BYTES - 1, 1),
        (CHUNK_BYTES, 1),
        (CHUNK_BYTES + 1, 2),
        (5 * CHUNK_BYTES, 5),
        (5 * CHUNK_BYTES + 1, 6),
    ],
)
def test_the_last_chunk_may_be_short(size, chunks):
    assert count(size) == chunks


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7])
def test_the_right_leaves_are_accepted(size):
    leaves = leaves_of(bytes(size))
    check_leaves(size, leaves, root(size, leaves))


def test_every_other_list_of_leaves_is_refused():
    size = 2 * CHUNK_BYTES + 5
    leaves = leaves_of(bytes(CHUNK_BYTES) + b"\x01" * CHUNK_BYTES + b"last!")
    named = root(size, leaves)
    first, second, last = leaves
    for hostile in (
        [],
        leaves[:2],
        [*leaves, last],
        [second, first, last],
        [first, first, last],
        [first, second, leaf(b"other")],
        [first + second, last, b""],
        [first, second, last[:31]],
        [first, second, last + b"\x00"],
        [first[:16], first[16:] + second, last],
    ):
        with pytest.raises(PeerError):
            check_leaves(size, hostile, named)


@pytest.mark.parametrize("hostile", [b"", bytes(32), bytes(31), bytes(64)])
def test_another_root_is_refused(hostile):
    with pytest.raises(PeerError):
        check_leaves(3, [leaf(b"abc")], hostile)


def test_the_root_is_bound_to_the_size():
    leaves = [leaf(b"abc")]
    for size in (1, 2, 4, CHUNK_BYTES):
        assert root(size, leaves) != root(3, leaves)
        with pytest.raises(PeerError):
            check_leaves(size, leaves, root(3, leaves))


def test_a_list_of_leaves_is_no_chunk_of_another_file():
    """A root never equals a leaf, so a tree cannot be passed off as the data of another."""
    leaves = leaves_of(b"x")
    assert leaf((1).to_bytes(8, "big") + leaves[0]) != root(1, leaves)
    assert leaf(b"") != root(0, [])


@given(st.binary(max_size=100), st.integers(0, 799))
def test_any_flipped_bit_gives_another_leaf(data, bit):
    flipped = bytearray(data)
    if data:
        flipped[bit // 8 % len(data)] ^= 1 << bit % 8
        assert leaf(bytes(flipped)) != leaf(data)


def test_a_negative_size_raises_only_peer_errors():
    with pytest.raises(PeerError):
        check_leaves(-1, [], bytes(32))


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7]
)
@pytest.mark.parametrize("piece", [CHUNK_BYTES, CHUNK_BYTES + 1, 1_000_003])
def test_a_root_that_is_taken_in_passing_is_that_of_the_whole_file(size: int, piece: int):
    data = bytes(range(251)) * (size // 251 + 1)
    running = RunningRoot(size)
    for start in range(0, size, piece):
        running.update(data[start : min(start + piece, size)])
    assert running.finish() == root(size, leaves_of(data[:size]))


def test_a_root_of_more_or_less_than_the_file_is_refused():
    running = RunningRoot(3)
    running.update(b"ab")
    with pytest.raises(LocalError, match="got 2"):
        running.finish()
    with pytest.raises(LocalError, match="a file of 3 bytes"):
        running.update(b"cd")


@given(st.integers(0, 70), st.data())
def test_a_bitmap_says_which_chunks_are_missing(places: int, data: st.DataObject) -> None:
    absent = sorted(data.draw(st.sets(st.integers(0, max(places - 1, 0)), max_size=places)))
    absent = [place for place in absent if place < places]
    bits = bitmap(places, absent)
    assert missing(places, bits) == absent
    for other in (bits + b"\x00", bits[:-1] if bits else b"\x01"):
        with pytest.raises(PeerError, match="bitmap"):
            missing(places, other)
