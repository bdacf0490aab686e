"""A keystream: AES-256 in counter mode from counter zero, one key for one purpose.

The only pseudo-random generator of the project. Masks, dither, DP noise and the Poisson sampler
draw from it, each under a key of its own: derived where two parties must agree, fresh from the
operating system everywhere else.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from comity_common.crypto.derive import KEY_BYTES, digest
from comity_common.errors import LocalError

CHUNK_BYTES = 256 << 10  # stays in the second-level cache; whole-vector code is 8 × slower
_ZEROS = memoryview(bytes(CHUNK_BYTES))
_LAST_COUNTER = b"\xff" * 16  # no stream gets there: its block names a key and is used for nothing
_opened: ContextVar[list[bytes] | None] = ContextVar("opened keystreams", default=None)


class Keystream:
    """An endless stream of pseudo-random bytes under one 32-byte key (NIST SP 800-38A §6.5)."""

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(AES(key), CTR(bytes(16))).encryptor()
        if (ids := _opened.get()) is not None:
            ids.append(_id(key))

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


@contextmanager
def opened_keystreams() -> Iterator[list[bytes]]:
    """List the id of every stream that this thread opens as long as the context lasts.

    Two streams of one key have one id: who counts can tell that no key came twice. An id is a
    digest of a block that no stream ever reaches, and says nothing of the key or of its bytes.

    Yields:
        the ids, 32 bytes each, in the order of opening; the list grows while the context lasts.
    """
    ids: list[bytes] = []
    token = _opened.set(ids)
    try:
        yield ids
    finally:
        _opened.reset(token)


def _id(key: bytes) -> bytes:
    block = Cipher(AES(key), CTR(_LAST_COUNTER)).encryptor().update(bytes(16))
    return digest("keystream-id", block)
