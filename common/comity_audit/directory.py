"""A stored round as a hostile stranger may have written it: nothing is read before it is bounded.

The names are a closed list (`comity_common.storedround`), every file is a regular file of its own,
no link is followed, and a message is read only up to the size that one can have. What does not keep
to that is no stored round (exit code 4); what does is still not believed.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from comity_common.canonical import decode
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError, Problem
from comity_common.ids import InstitutionId
from comity_common.storedround import (
    FOLDERS,
    FORMAT,
    FORMAT_FILE,
    MAX_BOX_BYTES,
    MAX_FILES,
    MAX_MESSAGE_BYTES,
    MAX_SIGNATURE_BYTES,
    Format,
    is_of_layout,
)

SHOWN_CHARACTERS = 80  # of a stranger's file name


class StoredRound:
    """One directory.

    Attributes:
        path: where it is.
        names: of all files, with `/` between folder and file.

    Raises:
        Problem: it is no stored round.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = frozenset(self._listed())
        self._read: set[str] = set()
        try:
            format = decode(Format, self._whole(FORMAT_FILE, MAX_MESSAGE_BYTES)).format
        except PeerError:
            raise self._refused("format.json does not say what it is") from None
        if format != FORMAT:
            raise self._refused(f"expected the format {FORMAT}, got {_shown(format)}")

    def ids(self, folder: str, ending: str) -> list[InstitutionId]:
        """Return, in order, whose files of a kind are there."""
        start, found = folder + "/", []
        for name in self.names:
            if name.startswith(start) and name.endswith(ending):
                found.append(InstitutionId(name[len(start) : -len(ending)]))
        return sorted(found)

    def unread(self) -> frozenset[str]:
        """Return the names of the files that nobody has opened yet."""
        return self.names - self._read

    def message(self, name: str) -> bytes:
        """Read the bytes that were signed."""
        return self._whole(name, MAX_MESSAGE_BYTES)

    def signature(self, name: str) -> bytes:
        """Read a signature."""
        return self._whole(name, MAX_SIGNATURE_BYTES)

    def signed(self, stem: str) -> Signed:
        """Read a message and its signature, which nobody has checked yet."""
        return Signed(body=self.message(stem + ".json"), signature=self.signature(stem + ".sig"))

    def box(self, name: str) -> bytes:
        """Read a box."""
        return self._whole(name, MAX_BOX_BYTES)

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a vector or a state, to be read in passing.

        Raises:
            Problem: it is not there, or no regular file.
        """
        with self._opened(name) as file:
            yield file

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        with self._opened(name) as file:
            return os.fstat(file.fileno()).st_size

    def _whole(self, name: str, limit: int) -> bytes:
        with self._opened(name) as file:
            size = os.fstat(file.fileno()).st_size  # read() takes room for all that it is asked for
            raw = file.read(min(limit, size) + 1)
        if len(raw) > limit:
            raise self._refused(f"{name} is larger than {limit} bytes")
        return raw

    def _opened(self, name: str) -> BinaryIO:
        if name not in self.names:
            raise self._refused(f"{name} is missing")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.fdopen(os.open(self.path / name, flags), "rb")
        except OSError as error:
            raise self._refused(f"{name} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise self._refused(f"{name} is no regular file")
        self._read.add(name)
        return file

    def _listed(self) -> Iterator[str]:
        seen = 0
        for folder in ("", *FOLDERS):
            for entry in self._scanned(folder):
                seen += 1
                if seen > MAX_FILES:
                    raise self._refused(f"it holds more than {MAX_FILES} files")
                name = f"{folder}/{entry.name}" if folder else entry.name
                if not folder and entry.name in FOLDERS:
                    if not entry.is_dir(follow_symlinks=False):
                        raise self._refused(f"{name} is no directory")
                elif not is_of_layout(name):
                    raise self._refused(f"{_shown(name)} does not belong there")
                elif not entry.is_file(follow_symlinks=False):
                    raise self._refused(f"{name} is no regular file")
                else:
                    yield name

    def _scanned(self, folder: str) -> Iterator[os.DirEntry[str]]:
        place = self.path / folder
        if folder and place.is_symlink():
            raise self._refused(f"{folder} is no directory")
        try:
            with os.scandir(place) as entries:
                yield from entries
        except FileNotFoundError:
            if not folder:
                raise self._refused("there is no such directory") from None
        except OSError as error:
            raise self._refused(f"it cannot be listed: {error.strerror}") from None

    def _refused(self, why: str) -> Problem:
        return Problem("COM-AUDIT-001", path=self.path, why=why)


def _shown(name: str) -> str:
    """Write a stranger's text so that it moves no cursor."""
    return ascii(name)[:SHOWN_CHARACTERS]
