"""What is sealed opens for one key and one purpose; what is boxed, for one key and one header."""

import os
import random

import pytest

from comity_common.crypto.seal import SealingKey, close_box, open_box, seal
from comity_common.errors import PeerError

KEY = SealingKey.generate()
HALF = bytes(range(32))
SEALED_BYTES = 1168  # 1088 of ML-KEM-768, 32 of X25519, 32 of plaintext, 16 of tag
LOW_ORDER = [  # points of X25519 whose shared secret is zero (RFC 7748 §6.1)
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def test_what_is_sealed_opens():
    sealed = seal(KEY.public(), HALF, b"info")
    assert len(sealed) == SEALED_BYTES
    assert KEY.open(sealed, b"info") == HALF


def test_two_seals_of_one_half_differ():
    assert seal(KEY.public(), HALF, b"info") != seal(KEY.public(), HALF, b"info")


def test_a_seal_opens_for_its_key_alone():
    sealed = seal(KEY.public(), HALF, b"info")
    with pytest.raises(PeerError):
        SealingKey.generate().open(sealed, b"info")


def test_both_parts_of_the_key_are_needed():
    other = SealingKey.generate()
    sealed = seal(KEY.public(), HALF, b"info")
    for mixed in (SealingKey(KEY.mlkem, other.x25519), SealingKey(other.mlkem, KEY.x25519)):
        with pytest.raises(PeerError):
            mixed.open(sealed, b"info")


@pytest.mark.parametrize("info", [b"", b"inf", b"info ", b"Info"])
def test_a_seal_opens_for_its_info_alone(info):
    with pytest.raises(PeerError):
        KEY.open(seal(KEY.public(), HALF, b"info"), info)


def test_keys_survive_storage():
    again = SealingKey.from_bytes(KEY.to_bytes())
    assert len(KEY.to_bytes()) == 96
    assert len(KEY.public()) == 1216
    assert again.public() == KEY.public()
    assert again.open(seal(KEY.public(), HALF, b"info"), b"info") == HALF


@pytest.mark.parametrize("size", [0, 1, 32, 1087, 1088, 1120, 1135, 1136, 1151, 1167])
def test_a_cut_seal_raises_only_peer_errors(size):
    with pytest.raises(PeerError):
        KEY.open(seal(KEY.public(), HALF, b"info")[:size], b"info")


def test_a_lengthened_seal_is_refused():
    sealed = seal(KEY.public(), HALF, b"info")
    for hostile in (
        sealed + b"\x00",
        b"\x00" + sealed,
        sealed * 2,
        bytes(SEALED_BYTES),
        b"\xff" * 5000,
    ):
        with pytest.raises(PeerError):
            KEY.open(hostile, b"info")


def test_any_flipped_bit_of_a_seal_is_refused():
    sealed, chance = seal(KEY.public(), HALF, b"info"), random.Random(3)
    positions = [*range(1088, SEALED_BYTES), *(chance.randrange(1088) for _ in range(200))]
    for position in positions:
        damaged = bytearray(sealed)
        damaged[position] ^= 0x80 if position == 1119 else 1 << chance.randrange(8)  # RFC 7748 §5
        with pytest.raises(PeerError):
            KEY.open(bytes(damaged), b"info")


@pytest.mark.parametrize("point", LOW_ORDER, ids=range(5))
def test_low_order_points_raise_only_peer_errors(point):
    with pytest.raises(PeerError):
        seal(KEY.public()[:1184] + point, HALF, b"info")
    sealed = seal(KEY.public(), HALF, b"info")
    with pytest.raises(PeerError):
        KEY.open(sealed[:1088] + point + sealed[1120:], b"info")


@pytest.mark.parametrize(
    "public",
    [
        b"",
        bytes(31),
        KEY.public()[:-1],
        KEY.public() + b"\x00",
        KEY.public()[:1184],
        KEY.public()[1184:],
        KEY.public()[1184:] + KEY.public()[:1184],
        b"\xff" * 1216,  # coefficients above q = 3329 (FIPS 203 §7.2)
        b"\xff\xff\xff" + KEY.public()[3:],
    ],
    ids=range(9),
)
def test_malformed_public_keys_raise_only_peer_errors(public):
    with pytest.raises(PeerError):
        seal(public, HALF, b"info")


def test_the_repr_shows_no_key():
    assert repr(KEY) == "SealingKey(...)"


def test_a_box_opens_with_its_key_and_header_alone():
    key, header, share = os.urandom(32), os.urandom(32), os.urandom(320)
    box = close_box(key, share, header)
    assert len(box) == len(share) + 16
    assert open_box(key, box, header) == share
    for other in (os.urandom(32), bytes(32), key[::-1]):
        with pytest.raises(PeerError):
            open_box(other, box, header)
        with pytest.raises(PeerError):
            open_box(key, box, other)


def test_every_damaged_bit_of_a_box_is_refused():
    key, header = os.urandom(32), os.urandom(32)
    box = close_box(key, bytes(40), header)
    for bit in range(8 * len(box)):
        damaged = bytearray(box)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PeerError):
            open_box(key, bytes(damaged), header)


@pytest.mark.parametrize("box", [b"", b"x", bytes(15), bytes(16), bytes(17), bytes(100_000)])
def test_hostile_boxes_raise_only_peer_errors(box):
    with pytest.raises(PeerError):
        open_box(bytes(32), box, bytes(32))


@pytest.mark.parametrize("key", [b"", bytes(1), bytes(15), bytes(31), bytes(33)])
def test_a_box_key_of_a_hostile_length_raises_only_peer_errors(key):
    """A complaint carries a key from the wire."""
    with pytest.raises(PeerError):
        open_box(key, close_box(bytes(32), b"share", b"header"), b"header")
