"""Files that are whole and on disk or not there at all, and for their owner alone."""

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from comity_common.errors import LocalError, Problem

SQLITE_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)  # the latter when it is opened
MAX_SOCKET_PATH = 100  # bytes; the kernel allows 108


@contextmanager
def written_durably(path: Path) -> Iterator[BinaryIO]:
    """Open a draft for writing and reading; it takes the name `path` when the block succeeds."""
    draft = draft_of(path)
    try:
        with draft.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def draft_of(path: Path) -> Path:
    """Return where a file lies until it is whole; what lay there before is lost."""
    return path.with_name(path.name + ".draft")


def write_durably(path: Path, raw: bytes | bytearray | memoryview) -> None:
    """Write a file so that it is whole and on disk, or not there at all."""
    with written_durably(path) as file:
        file.write(raw)


def write_secret(path: Path, secret: bytes) -> None:
    """Write a file that its owner alone can read (mode 0600), and have it and its name on disk.

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
    sync_directory(path.parent)


def make_private(*directories: Path) -> None:
    """Make directories that their owner alone can enter (mode 0700), or make them so.

    What is synced in a directory later is of no use if the directory's own name is lost.
    """
    for directory in directories:
        is_new = not directory.exists()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        if is_new:
            sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_short(log: Path, limit: int) -> None:
    """Begin a log anew when it is too long, and keep the old text beside it as `.1`.

    Its writer must append, and may go on meanwhile; a line that it writes just then may be lost.
    On a full disk the old text is lost too.

    Args:
        limit: bytes.
    """
    if log.exists() and log.stat().st_size > limit:
        before = log.with_name(log.name + ".1")
        try:
            shutil.copyfile(log, before)
        except OSError:
            before.unlink(missing_ok=True)
        os.truncate(log, 0)


def hold_alone(path: Path) -> TextIO:
    """Hold a lock file until it is closed, or this process ends however it ends.

    Raises:
        Problem: another process holds it.
    """
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Problem("COM-SERVICE-007", home=path.parent) from None
    return file


def is_disk_full(error: Exception) -> bool:
    """Tell whether this is what a full disk looks like, to a file or to SQLite."""
    match error:
        case OSError():
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        case sqlite3.OperationalError():
            return getattr(error, "sqlite_errorcode", None) in SQLITE_FULL
        case _:
            return False


def check_socket_path(path: Path) -> Path:
    """Check that a unix socket can have this path.

    Raises:
        LocalError: it is too long for the kernel.
    """
    if len(str(path).encode()) > MAX_SOCKET_PATH:
        raise LocalError(f"expected a socket path of at most {MAX_SOCKET_PATH} bytes")
    return path
