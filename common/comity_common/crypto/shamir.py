"""Shamir's secret sharing over GF(2⁸), a whole vector of bytes at a time (Shamir 1979).

Helper k of n holds the value of one random polynomial per byte at the point k + 1. Any `threshold`
shares give the secret back, fewer say nothing. The field is that of AES, x⁸ + x⁴ + x³ + x + 1.
Table look-ups depend on secrets: the caller's machine is trusted, a co-resident attacker with a
cache probe is outside the model.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from comity_common.errors import LocalError, PeerError

Bytes = npt.NDArray[np.uint8]


def _tables() -> tuple[Bytes, Bytes]:
    """Build the product table (256 × 256) and the inverse of every non-zero element."""
    power = np.zeros(510, dtype=np.uint8)
    logarithm = np.zeros(256, dtype=np.int64)
    value = 1
    for exponent in range(255):
        power[exponent] = power[exponent + 255] = value
        logarithm[value] = exponent
        value ^= (value << 1) ^ (0x11B if value & 0x80 else 0)  # times 3, a generator
        value &= 0xFF
    product = power[logarithm[:, None] + logarithm[None, :]]
    product[0, :] = product[:, 0] = 0
    inverse = power[255 - logarithm]
    return product, inverse


PRODUCT, INVERSE = _tables()


def split(secret: bytes, threshold: int, helpers: int, randomness: bytes) -> list[bytes]:
    """Deal a secret to `helpers` so that any `threshold` of them can rebuild it.

    Args:
        secret: of any length, shared byte by byte.
        threshold: 1 to `helpers`; helpers at most 255.
        randomness: (threshold − 1) · len(secret) bytes from the operating system.

    Raises:
        LocalError: a number does not fit.
    """
    if not 1 <= threshold <= helpers <= 255:
        raise LocalError(f"expected 1 ≤ threshold ≤ helpers ≤ 255, got {threshold}, {helpers}")
    if len(randomness) != (threshold - 1) * len(secret):
        raise LocalError("expected one random byte per coefficient")
    coefficients = np.frombuffer(randomness, np.uint8).reshape(threshold - 1, len(secret))
    constant = np.frombuffer(secret, np.uint8)
    shares = []
    for point in range(1, helpers + 1):
        value = np.zeros(len(secret), dtype=np.uint8)
        for coefficient in coefficients:  # Horner
            value = PRODUCT[point][value ^ coefficient]
        shares.append((value ^ constant).tobytes())
    return shares


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Rebuild a secret from exactly `threshold` shares, keyed by the helper's index from 0.

    Raises:
        PeerError: no shares, an index out of range, or shares of different lengths.
    """
    lengths = {len(share) for share in shares.values()}
    if len(lengths) != 1 or not all(0 <= index < 255 for index in shares):
        raise PeerError("expected shares of one length, indices 0 to 254")
    points = [index + 1 for index in shares]
    secret = np.zeros(lengths.pop(), dtype=np.uint8)
    for point, share in zip(points, shares.values(), strict=True):
        weight = 1  # the Lagrange basis polynomial of this point, at zero
        for other in points:
            if other != point:
                weight = PRODUCT[weight][PRODUCT[other][INVERSE[other ^ point]]]
        secret ^= PRODUCT[weight][np.frombuffer(share, np.uint8)]
    return secret.tobytes()
