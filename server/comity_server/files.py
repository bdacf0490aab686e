"""Files that are whole and on disk, or not there at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from comity_common.errors import LocalError


@contextmanager
def written_durably(path: Path) -> Iterator[BinaryIO]:
    """Open a draft for writing and reading; it takes the name `path` when the block succeeds."""
    draft = path.with_name(path.name + ".draft")
    with draft.open("w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_directory(path.parent)


def write_secret(path: Path, secret: bytes) -> None:
    """Write a file that its owner alone can read (mode 0600).

    Raises:
        LocalError: it exists; keys are never overwritten.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise LocalError(f"expected no {path.name} yet; it is never overwritten") from None
    with open(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
