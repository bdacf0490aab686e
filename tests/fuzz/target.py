"""What a fuzz target is, and what must hold for every input: one error, in time, in memory."""

import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from comity_common.errors import ComityError, Problem

from .mutations import damaged

SECONDS = 5.0  # of processor time for one input; inputs are at most MAX_BYTES long
MAX_BYTES = 1 << 16
BYTES_FOR_A_BYTE = 200  # of memory; a JSON list of small values costs about fifty
BYTES_FOR_ALL = 4 << 20  # for what a reader needs whatever comes

MAX_WORDS = 700  # characters of an error

Mutate = Callable[[bytes, random.Random], bytes]


_KEPT: list[TemporaryDirectory[str]] = []


def own_directory() -> Path:
    """Make a directory that is there as long as this process."""
    _KEPT.append(TemporaryDirectory(prefix="comity-fuzz-", ignore_cleanup_errors=True))
    return Path(_KEPT[-1].name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """A target that is ready.

    Attributes:
        seeds: valid inputs, which `read` takes without an error.
        read: reads one input; raises AssertionError where a refusal has changed a state, or
            something was accepted that may not be.
        mutate: makes a hostile variant of a valid input that keeps some of its structure.
        accepts: whether `read` takes the seeds; False where no input of this sender is ever taken.
    """

    seeds: tuple[bytes, ...]
    read: Callable[[bytes], object]
    mutate: Mutate = damaged
    accepts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One reader.

    Attributes:
        name: in words with hyphens.
        reader: the function that reads, from its module on.
        sender: who may have written what it reads.
        errors: what it may raise.
        make: builds it in an empty directory.
        covers: names of message kinds, parcel kinds, calls and places in the code whose bytes
            come through here; `inventory` checks that none is left out.
    """

    name: str
    reader: str
    sender: str
    errors: tuple[type[Exception], ...]
    make: Callable[[Path], Harness]
    covers: tuple[str, ...] = ()


class Costly(AssertionError):
    """An input took more time or memory than its size explains."""


def attempt(target: Target, harness: Harness, raw: bytes) -> bool:
    """Read one input; tell whether it was accepted.

    Raises:
        Costly: it took too long.
        Exception: whatever else than the target's own errors came out.
    """
    began = time.process_time()
    try:
        harness.read(raw)
        accepted = True
    except target.errors as error:
        accepted = False
        _check_words(error)
    spent = time.process_time() - began
    if spent > SECONDS:
        raise Costly(f"expected at most {SECONDS:g} s for {len(raw)} bytes, took {spent:.1f} s")
    return accepted


def _check_words(error: Exception) -> None:
    """Check that an error is one short sentence and never a whole message.

    A `Problem` is told to the very person who wrote what was read.
    """
    if isinstance(error, ComityError) and not isinstance(error, Problem):
        said = str(error)
        assert len(said) < MAX_WORDS, f"expected a short sentence, got {len(said)} characters"
        assert said.isprintable(), f"expected one line of visible characters, got {said!a}"


def attempt_measured(target: Target, harness: Harness, raw: bytes) -> bool:
    """Read one input as `attempt` does, and measure its memory; several times as slow.

    Raises:
        Costly: it took too long or too much.
    """
    tracemalloc.start()
    try:
        accepted = attempt(target, harness, raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    bound = BYTES_FOR_ALL + BYTES_FOR_A_BYTE * len(raw)
    if peak > bound:
        raise Costly(f"expected at most {bound} bytes for {len(raw)} bytes, took {peak}")
    return accepted
