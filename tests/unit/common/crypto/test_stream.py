"""The keystream is AES-256-CTR from counter zero, however it is cut into pieces."""

import tracemalloc

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from hypothesis import given
from hypothesis import strategies as st

from comity_common.crypto.stream import CHUNK_BYTES, Keystream, opened_keystreams
from comity_common.errors import LocalError

KEY = bytes(range(32))


def reference(key: bytes, size: int) -> bytes:
    return Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(size))


def filled(stream: Keystream, size: int) -> bytes:
    buffer = np.full(size, 0xA5, dtype=np.uint8)
    stream.fill(buffer)
    return buffer.tobytes()


@pytest.mark.parametrize(
    "size",
    [0, 1, 15, 16, 17, 4096, *(CHUNK_BYTES + k for k in (-1, 0, 1)), 3 * CHUNK_BYTES + 5],
)
def test_the_stream_is_aes_256_in_counter_mode(size):
    assert filled(Keystream(KEY), size) == reference(KEY, size)


def test_the_stream_is_the_encryption_of_0_1_2():
    blocks = b"".join(block.to_bytes(16, "big") for block in range(40))
    expected = Cipher(AES(KEY), ECB()).encryptor().update(blocks)
    assert filled(Keystream(KEY), 640) == expected


@given(st.binary(min_size=32, max_size=32), st.lists(st.integers(0, 700), max_size=12))
def test_the_stream_does_not_depend_on_how_it_is_cut(key, sizes):
    stream = Keystream(key)
    assert b"".join(filled(stream, size) for size in sizes) == reference(key, sum(sizes))


def test_pieces_larger_than_the_inner_chunk_join_without_a_seam():
    stream = Keystream(KEY)
    sizes = [CHUNK_BYTES + 3, 5, 2 * CHUNK_BYTES, 1]
    assert b"".join(filled(stream, size) for size in sizes) == reference(KEY, sum(sizes))


@pytest.mark.parametrize("dtype", ["u1", "<u4", "<u8"])
def test_wider_words_hold_the_same_bytes(dtype):
    buffer = np.zeros(64, dtype=dtype)
    Keystream(KEY).fill(buffer)
    assert buffer.tobytes() == reference(KEY, buffer.nbytes)


def test_fill_overwrites_what_was_there_before():
    dirty = np.full(100, 0xFFFFFFFF, dtype=np.uint32)
    Keystream(KEY).fill(dirty)
    assert dirty.tobytes() == reference(KEY, 400)


def test_fill_writes_into_a_window_and_nowhere_else():
    buffer = np.zeros(30, dtype=np.uint8)
    Keystream(KEY).fill(buffer[10:20])
    assert buffer[:10].tobytes() == buffer[20:].tobytes() == bytes(10)
    assert buffer[10:20].tobytes() == reference(KEY, 10)


def test_fill_never_leaves_an_array_as_it_was():
    by_columns = np.zeros((8, 8), dtype=np.uint32, order="F")
    try:
        Keystream(KEY).fill(by_columns)
    except LocalError:
        return
    assert by_columns.any()


def test_thousands_of_streams_are_small():
    """An unmasking opens one per survivor and per pair with a dropped one: 2244 at N = 100."""
    tracemalloc.start()
    streams = [Keystream(KEY) for _ in range(100)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100 * 4096
    assert len(streams) == 100


def test_uint64_are_the_little_endian_words_of_the_stream():
    stream = Keystream(KEY)
    words = [*stream.uint64(3).tolist(), *stream.uint64(2).tolist()]
    raw = reference(KEY, 40)
    assert words == [int.from_bytes(raw[at : at + 8], "little") for at in range(0, 40, 8)]
    assert Keystream(KEY).uint64(0).shape == (0,)


def test_two_fresh_streams_differ():
    assert filled(Keystream.fresh(), 32) != filled(Keystream.fresh(), 32)


def test_the_repr_shows_no_key():
    assert repr(Keystream(KEY)) == "Keystream(...)"


def test_every_bit_of_the_key_changes_the_whole_stream():
    plain = np.frombuffer(reference(KEY, 4096), np.uint8)
    for bit in range(256):
        key = (int.from_bytes(KEY, "big") ^ (1 << bit)).to_bytes(32, "big")
        other = np.frombuffer(filled(Keystream(key), 4096), np.uint8)
        assert np.count_nonzero(plain == other) < 64  # 16 expected, of 4096


def test_streams_are_listed_by_ids_that_are_alike_for_one_key_alone():
    before = Keystream(KEY)
    with opened_keystreams() as ids:
        streams = [Keystream(KEY), Keystream.fresh(), Keystream(KEY), Keystream.fresh()]
    after = Keystream(KEY)
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3
    assert all(filled(stream, 64) == reference(KEY, 64) for stream in (before, streams[0], after))


def test_an_id_is_no_part_of_the_stream_or_the_key():
    with opened_keystreams() as ids:
        Keystream(KEY)
    assert len(ids[0]) == 32
    assert ids[0][:8] not in reference(KEY, 1 << 16)
    assert ids[0] != KEY


def test_a_list_within_a_list_ends_by_itself():
    with opened_keystreams() as outer:
        Keystream.fresh()
        with opened_keystreams() as inner:
            Keystream.fresh()
        Keystream.fresh()
    Keystream.fresh()
    assert (len(outer), len(inner)) == (2, 1)
