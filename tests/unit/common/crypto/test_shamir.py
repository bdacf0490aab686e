"""Any t of n shares give the secret back; fewer say nothing, byte for byte.

The witness is another implementation: the field by long multiplication, inversion by Fermat, the
polynomial by its powers, interpolation by solving for the constant term.
"""

import random
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity_common.crypto.shamir import INVERSE, PRODUCT, combine, split
from comity_common.errors import LocalError, PeerError


def times(a: int, b: int) -> int:
    """Multiply in GF(2)[x] / (x⁸ + x⁴ + x³ + x + 1), bit by bit (FIPS 197 §4.2)."""
    result = 0
    for bit in range(8):
        if b >> bit & 1:
            result ^= a << bit
    for bit in range(14, 7, -1):
        if result >> bit & 1:
            result ^= 0x11B << (bit - 8)
    return result


def power(a: int, exponent: int) -> int:
    result = 1
    for _ in range(exponent):
        result = times(result, a)
    return result


def evaluate(coefficients: list[int], point: int) -> int:
    value = 0
    for exponent, coefficient in enumerate(coefficients):
        value ^= times(coefficient, power(point, exponent))
    return value


def interpolate_at_zero(values: dict[int, int]) -> int:
    """Lagrange at zero, with 1/a = a²⁵⁴."""
    total = 0
    for point, value in values.items():
        numerator = denominator = 1
        for other in values:
            if other != point:
                numerator = times(numerator, other)
                denominator = times(denominator, other ^ point)
        total ^= times(value, times(numerator, power(denominator, 254)))
    return total


def test_the_product_table_is_the_field_of_aes():
    assert PRODUCT.shape == (256, 256)
    assert all(int(PRODUCT[a][b]) == times(a, b) for a in range(256) for b in range(0, 256, 3))
    assert times(0x57, 0x83) == 0xC1  # the example of FIPS 197 §4.2
    assert all(int(PRODUCT[a][int(INVERSE[a])]) == 1 for a in range(1, 256))
    assert (PRODUCT == PRODUCT.T).all()


@pytest.mark.parametrize(("t", "n"), [(1, 1), (1, 4), (2, 3), (3, 3), (3, 5), (4, 7), (5, 6)])
def test_any_t_of_n_shares_give_the_secret_back(t, n):
    chance = random.Random(t * 100 + n)
    secret = chance.randbytes(48)
    shares = split(secret, t, n, chance.randbytes((t - 1) * 48))
    for chosen in combinations(range(n), t):
        assert combine({index: shares[index] for index in chosen}) == secret
        assert combine({index: shares[index] for index in reversed(chosen)}) == secret


@settings(max_examples=40, deadline=None)
@given(st.data(), st.binary(max_size=12), st.integers(1, 255))
def test_large_rounds_come_back_from_any_quorum(data, secret, n):
    t = data.draw(st.integers(1, min(n, 20)))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    shares = split(secret, t, n, chance.randbytes((t - 1) * len(secret)))
    chosen = chance.sample(range(n), t)
    assert combine({index: shares[index] for index in chosen}) == secret


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 6))
def test_shares_are_those_of_an_independent_implementation(data, t):
    n = data.draw(st.integers(t, 8))
    secret = data.draw(st.binary(min_size=1, max_size=6))
    size = len(secret)
    randomness = data.draw(st.binary(min_size=(t - 1) * size, max_size=(t - 1) * size))
    shares = split(secret, t, n, randomness)
    for byte in range(size):
        # Horner starts with the highest power, so the first random vector belongs to it.
        high_to_low = [randomness[k * size + byte] for k in range(t - 1)]
        coefficients = [secret[byte], *reversed(high_to_low)]
        for helper in range(n):
            assert shares[helper][byte] == evaluate(coefficients, helper + 1)
        values = {helper + 1: shares[helper][byte] for helper in range(n)}
        assert interpolate_at_zero(dict(list(values.items())[-t:])) == secret[byte]


@pytest.mark.parametrize(("t", "held"), [(2, (0,)), (2, (4,)), (3, (0, 1)), (3, (1, 5))])
def test_with_one_share_too_few_every_secret_is_equally_possible(t, held):
    """Exhaustive: for each secret byte, over all randomness, the held shares are uniform."""
    size = 256 ** (t - 1)  # every choice of the coefficients at once, as one long secret
    randomness = np.array(
        np.meshgrid(*[np.arange(256, dtype=np.uint8)] * (t - 1), indexing="ij")
    ).reshape(t - 1, size)
    for secret in range(256) if t == 2 else (0, 1, 0x53, 0xFF):
        shares = split(bytes([secret]) * size, t, 6, randomness.tobytes())
        seen = np.zeros(size, dtype=np.int64)
        for index in held:
            seen = seen * 256 + np.frombuffer(shares[index], np.uint8)
        counts = np.bincount(seen, minlength=size)
        assert counts.min() == counts.max() == 1


def test_the_bytes_of_a_secret_are_shared_independently():
    chance = random.Random(9)
    randomness = chance.randbytes(2 * 8)
    plain = split(bytes(8), 3, 5, randomness)
    other = split(bytes([0, 0, 0, 7, 0, 0, 0, 0]), 3, 5, randomness)
    for a, b in zip(plain, other, strict=True):
        assert [k for k in range(8) if a[k] != b[k]] == [3]


def test_too_few_or_mixed_shares_give_another_secret():
    chance = random.Random(4)
    secret = chance.randbytes(32)
    shares = split(secret, 3, 5, chance.randbytes(64))
    others = split(secret, 3, 5, chance.randbytes(64))
    assert combine({0: shares[0], 1: shares[1]}) != secret
    assert combine({0: shares[0], 1: shares[1], 2: others[2]}) != secret
    assert combine({0: shares[0], 1: shares[1], 3: shares[2]}) != secret


@pytest.mark.parametrize(
    ("t", "n", "random_bytes"),
    [(0, 3, 0), (-1, 3, 0), (4, 3, 12), (1, 0, 0), (2, 256, 4), (2, 3, 3), (2, 3, 5), (3, 3, 4)],
)
def test_numbers_that_do_not_fit_are_refused(t, n, random_bytes):
    with pytest.raises(LocalError):
        split(b"four", t, n, bytes(random_bytes))


@pytest.mark.parametrize(
    "shares",
    [
        {},
        {0: b"ab", 1: b"abc"},
        {0: b"ab", 1: b""},
        {-1: b"ab", 1: b"cd"},
        {255: b"ab", 1: b"cd"},
        {10**6: b"ab"},
    ],
)
def test_hostile_shares_raise_only_peer_errors(shares):
    with pytest.raises(PeerError):
        combine(shares)


@pytest.mark.slow
def test_the_whole_product_table_and_larger_rounds_agree_with_the_witness():
    assert all(int(PRODUCT[a][b]) == times(a, b) for a, b in product(range(256), repeat=2))
    chance = random.Random(11)
    for _ in range(20):
        n = chance.randrange(2, 60)
        t = chance.randrange(1, n + 1)
        secret, randomness = chance.randbytes(1), chance.randbytes(t - 1)
        shares = split(secret, t, n, randomness)
        coefficients = [secret[0], *reversed(randomness)]
        assert [share[0] for share in shares] == [evaluate(coefficients, k + 1) for k in range(n)]
