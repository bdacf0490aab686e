"""Files that an auditor was given, read up to the size that one may have and no further.

What is no package, no head and no proof at all ends with exit code 4; what is one is still not
believed.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.errors import PeerError, Problem
from comity_common.ledger.checkpoints import read_checkpoint
from comity_common.ledger.notes import MAX_NOTE_BYTES, SignedNote, read_note
from comity_common.ledger.package import (
    MAX_AGREEMENT_BYTES,
    MAX_PACKAGE_BYTES,
    AuditPackage,
    read_package,
)
from comity_common.ledger.proofs import MAGIC, MAX_PROOF_BYTES, Proof, read_proof
from comity_common.words import printable


def load_package(path: Path) -> AuditPackage:
    """Read an audit package; nothing in it is checked yet.

    Raises:
        Problem: it is none.
    """
    raw = read_bounded(path, MAX_PACKAGE_BYTES)
    try:
        return read_package(raw)
    except PeerError as error:
        raise _unreadable(path, str(error)) from None


def load_head(path: Path) -> SignedNote:
    """Read the head of a ledger as somebody kept it; nothing in it is checked yet.

    Raises:
        Problem: it is none.
    """
    raw = read_bounded(path, MAX_NOTE_BYTES)
    try:
        return read_note(raw)
    except PeerError as error:
        raise _unreadable(path, str(error)) from None


def is_proof(path: Path) -> bool:
    """Tell whether a file begins as the proof of an entry does.

    Raises:
        Problem: it cannot be read.
    """
    with _opened(path) as file:
        return file.read(len(MAGIC)) == MAGIC.encode()


def load_proof(path: Path) -> Proof:
    """Read the proof of an entry; nothing in it is checked yet.

    Raises:
        Problem: it is none.
    """
    raw = read_bounded(path, MAX_PROOF_BYTES)
    try:
        proof = read_proof(raw)
        read_checkpoint(read_note(proof.note).text)
        return proof
    except PeerError as error:
        raise _unreadable(path, str(error)) from None


def load_terms(path: Path) -> Agreement:
    """Read an agreement from a file of its own.

    Raises:
        Problem: it is none.
    """
    raw = read_bounded(path, MAX_AGREEMENT_BYTES)
    try:
        return decode(Agreement, raw)
    except PeerError as error:
        raise _unreadable(path, f"it is no agreement: {error}") from None


def read_bounded(path: Path, most: int) -> bytes:
    """Read a regular file of at most so many bytes.

    Raises:
        Problem: it is not there, is larger, or no regular file.
    """
    with _opened(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise _unreadable(path, f"it is larger than {most} bytes")
        return file.read(most)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; on anything else, such as a pipe, nobody waits."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _unreadable(path, "it is no regular file")
            yield file
    except FileNotFoundError:
        raise Problem("COM-AUDIT-024", path=path) from None
    except OSError as error:
        raise _unreadable(path, error.strerror or "it cannot be read") from None


def _unreadable(path: Path, why: str) -> Problem:
    return Problem("COM-AUDIT-007", path=path, why=printable(why))
