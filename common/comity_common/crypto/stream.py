"""A keystream: AES-256 in counter mode from counter zero, one key for one purpose.

The only pseudo-random generator of the project. Masks, dither, DP noise and the Poisson sampler
draw from it, each under a key of its own: derived where two parties must agree, fresh from the
operating system everywhere else.
"""

import os

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from comity_common.crypto.derive import KEY_BYTES
from comity_common.errors import LocalError

CHUNK_BYTES = 256 << 10  # stays in the second-level cache; whole-vector code is 8 × slower
_ZEROS = memoryview(bytes(CHUNK_BYTES))


class Keystream:
    """An endless stream of pseudo-random bytes under one 32-byte key (NIST SP 800-38A §6.5)."""

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(AES(key), CTR(bytes(16))).encryptor()

    @classmethod
    def fresh(cls) -> "Keystream":
        """Open a stream under a key from the operating system, which is kept nowhere."""
        return cls(os.urandom(KEY_BYTES))

    def __repr__(self) -> str:
        return "Keystream(...)"

    def fill(self, buffer: npt.NDArray[np.generic]) -> None:
        """Overwrite a contiguous array, of any unsigned or byte dtype, with the next bytes."""
        if not buffer.flags.c_contiguous:
            raise LocalError("expected a contiguous array")
        view = buffer.reshape(-1).view(np.uint8).data
        for start in range(0, len(view), CHUNK_BYTES):
            window = view[start : start + CHUNK_BYTES]
            self._encryptor.update_into(_ZEROS[: len(window)], window)

    def uint64(self, count: int) -> npt.NDArray[np.uint64]:
        """Draw `count` uniform 64-bit integers: shape (count,), little-endian words."""
        words = np.empty(count, dtype="<u8")
        self.fill(words)
        return words
