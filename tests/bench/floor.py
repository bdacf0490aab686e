"""The floor: what masking and summing cannot do without on this machine, at its present pace.

Keystream into a buffer that stays in the cache, additions of numpy within the cache, and reads of
files into memory that is used again. Nothing is packed, cut, hashed or written.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

WINDOW_BYTES = 256 << 10
LANE_BYTES = 4


def masks(lanes: int, streams: int) -> float:
    """Draw and add so many streams of 32-bit lanes.

    Returns:
        CPU seconds.
    """
    count = streams * -(-lanes * LANE_BYTES // WINDOW_BYTES)
    return _streams(count) + _additions(count)


def sums(files: Sequence[Path], streams: int) -> float:
    """Read files, add them up, and add so many streams as long as one of them.

    Returns:
        CPU seconds.
    """
    lanes = files[0].stat().st_size // LANE_BYTES
    read_s = sum(map(_read, files))
    return (
        read_s
        + masks(lanes, streams)
        + _additions(len(files) * -(-lanes * LANE_BYTES // WINDOW_BYTES))
    )


def _streams(windows: int) -> float:
    zeros, window = bytes(WINDOW_BYTES), bytearray(WINDOW_BYTES)
    stream = Cipher(AES(os.urandom(32)), CTR(bytes(16))).encryptor()
    began = time.process_time()
    for _ in range(windows):
        stream.update_into(zeros, window)
    return time.process_time() - began


def _additions(windows: int) -> float:
    sum_ = np.zeros(WINDOW_BYTES // LANE_BYTES, np.uint32)
    addend = np.ones_like(sum_)
    began = time.process_time()
    for _ in range(windows):
        np.add(sum_, addend, out=sum_)
    return time.process_time() - began


def _read(path: Path) -> float:
    window = memoryview(bytearray(WINDOW_BYTES))
    began = time.process_time()
    with path.open("rb", buffering=0) as file:
        while file.readinto(window):
            pass
    return time.process_time() - began
