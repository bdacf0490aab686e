"""Exact noise for whole numbers: the discrete Gaussian, by integers alone.

P(x) ∝ exp(−x²/2σ²) over all integers (Canonne, Kamath & Steinke 2020, "The Discrete Gaussian for
Differential Privacy"). No float is drawn, compared or rounded: every acceptance is a coin whose
chance is a fraction, decided by uniform integers. So nothing has to be said about floating point,
and the guarantee is the theorem's: added to a whole-number sum of 2-norm sensitivity Δ it gives
Δ²/2σ²-concentrated differential privacy (thm. 14).

Time depends on how many candidates are refused, and so on the noise, never on what it is added to.
"""

from fractions import Fraction
from math import isqrt

import numpy as np

from comity_common.crypto.stream import Keystream
from comity_common.errors import LocalError

WORDS = 256  # drawn from the keystream at a time


class DiscreteGaussian:
    """A source of discrete Gaussians of one parameter σ², under one keystream.

    σ² is the variance but for less than a millionth, from σ = 1 on (CKS 2020, cor. 9: never more).
    """

    def __init__(self, sigma_squared: Fraction | int, stream: Keystream | None = None) -> None:
        """Args:
        sigma_squared: σ², above 0.
        stream: for tests; by default one under a key from the operating system.
        """
        self._variance = Fraction(sigma_squared)
        if self._variance <= 0:
            raise LocalError("expected a positive variance")
        self._scale = isqrt(self._variance.numerator // self._variance.denominator) + 1
        self._uniform = _Uniform(stream or Keystream.fresh())

    def __repr__(self) -> str:
        return "DiscreteGaussian(...)"

    def draw(self) -> int:
        """Draw one integer (CKS 2020, alg. 3): a discrete Laplace, accepted as a Gaussian."""
        while True:
            candidate = self._laplace()
            off = abs(candidate) - self._variance / self._scale
            if self._exp_coin(off * off / (2 * self._variance)):
                return candidate

    def _laplace(self) -> int:
        """Draw from P(x) ∝ exp(−|x|/t), t = ⌊σ⌋ + 1 (CKS 2020, alg. 2, with s = 1)."""
        while True:
            rest = self._uniform.below(self._scale)
            if not self._small_exp_coin(rest, self._scale):
                continue
            turns = 0
            while self._small_exp_coin(1, 1):
                turns += 1
            negative, size = self._uniform.below(2), rest + self._scale * turns
            if not (negative and size == 0):  # zero would come up twice as often
                return -size if negative else size

    def _exp_coin(self, gamma: Fraction) -> bool:
        """Toss a coin that is true with chance exp(−γ), γ ≥ 0 (CKS 2020, alg. 1)."""
        whole, rest = divmod(gamma.numerator, gamma.denominator)
        return all(self._small_exp_coin(1, 1) for _ in range(whole)) and self._small_exp_coin(
            rest, gamma.denominator
        )

    def _small_exp_coin(self, numerator: int, denominator: int) -> bool:
        """Toss a coin that is true with chance exp(−numerator/denominator), a γ of 0 to 1."""
        k = 1
        while self._uniform.below(denominator * k) < numerator:
            k += 1
        return k % 2 == 1


class _Uniform:
    """Uniform integers of any size from a keystream."""

    def __init__(self, stream: Keystream) -> None:
        self._stream = stream
        self._words: list[int] = []

    def below(self, bound: int) -> int:
        """Draw an integer of 0 to bound − 1; what would favour some is thrown away."""
        bits = (bound - 1).bit_length()
        while True:
            value = 0
            for _ in range(-(-bits // 64)):
                value = value << 64 | self._word()
            value >>= -bits % 64
            if value < bound:
                return value

    def _word(self) -> int:
        if not self._words:
            self._words = np.asarray(self._stream.uint64(WORDS)).tolist()
        return self._words.pop()
