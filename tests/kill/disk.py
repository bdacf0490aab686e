"""A disk that loses what was not synced, rebuilt from the journal of a process (`journal.c`).

POSIX promises this much and no more: what a file held when it was last synced, and the names that a
directory held when it was last synced. Whatever was written, truncated, created, renamed or
unlinked since may be there after a power cut or not, and of a write only some sectors. A crash can
come after any record of the journal.

    disk = Disk.of(home)                # all of it is taken to be durable
    ...                                 # a process works there, watched
    for record in records(journal, home):
        disk.apply(record)
    disk.after_a_crash(Loss.ALL, chance).put(elsewhere)

The changes of one directory are kept in order up to some point, as file systems do that log their
metadata. What was written into files is lost in any order.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path, PurePosixPath

SECTOR = 512  # bytes; what a disk writes whole or not at all
SOURCE = Path(__file__).with_name("journal.c")
REBUILT = "-shm"  # SQLite's index of its log, which is never read after a crash


class Loss(Enum):
    """What happens to what was not synced."""

    ALL = auto()
    SOME = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Record:
    """One call that succeeded, or a mark.

    Attributes:
        what: as in the journal.
        numbers: inode, offset or length, as they apply.
        paths: below the directory that is watched; of a mark its text.
        data: what was written.
    """

    what: str
    numbers: tuple[int, ...] = ()
    paths: tuple[str, ...] = ()
    data: bytes = b""


@dataclass(slots=True, eq=False)
class File:
    """What is durable of a file, and what was done to it since: (offset, bytes) or a new length."""

    durable: bytes = b""
    since: list[tuple[int, bytes] | int] = field(default_factory=list)

    def sync(self) -> None:
        """Make it durable as it is."""
        self.durable = self.content(Loss.NOTHING, random.Random(0))
        self.since.clear()

    def content(self, loss: Loss, chance: random.Random) -> bytes:
        """Return what is there after a crash."""
        content = bytearray(self.durable)
        if loss is not Loss.ALL:
            for change in self.since:
                for one in [change] if loss is Loss.NOTHING else _in_part(change, chance):
                    _change(content, one)
        return bytes(content)


@dataclass(slots=True, eq=False)
class Directory:
    """The names of a directory: durable ones, present ones, and the changes between them."""

    durable: dict[str, "File | Directory"] = field(default_factory=dict)
    present: dict[str, "File | Directory"] = field(default_factory=dict)
    since: list[dict[str, "File | Directory | None"]] = field(default_factory=list)

    def change(self, names: dict[str, "File | Directory | None"]) -> None:
        """Let names stand for something else, or for nothing, at once."""
        _rename(self.present, names)
        self.since.append(names)

    def sync(self) -> None:
        """Make the present names durable."""
        self.durable = dict(self.present)
        self.since.clear()

    def names(self, loss: Loss, chance: random.Random) -> dict[str, "File | Directory"]:
        """Return the names that are there after a crash."""
        names = dict(self.durable)
        kept = {
            Loss.ALL: 0,
            Loss.SOME: chance.randint(0, len(self.since)),
            Loss.NOTHING: len(self.since),
        }
        for change in self.since[: kept[loss]]:
            _rename(names, change)
        return names


@dataclass(frozen=True, slots=True)
class Tree:
    """Files and directories as a crash has left them."""

    names: dict[str, "bytes | Tree"]

    def put(self, at: Path) -> None:
        """Write them into a new directory, in place of an old one."""
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir()
        for name, what in self.names.items():
            if isinstance(what, Tree):
                what.put(at / name)
            else:
                (at / name).write_bytes(what)


class Disk:
    """A directory on a disk, and what is on its way there."""

    def __init__(self, root: Directory, inodes: dict[int, File | Directory]) -> None:
        self._root, self._inodes = root, inodes

    @classmethod
    def of(cls, path: Path) -> "Disk":
        """Take a directory as it is, and all of it for durable."""
        inodes: dict[int, File | Directory] = {}

        def take(path: Path) -> File | Directory:
            found: File | Directory
            if path.is_dir():
                names = {child.name: take(child) for child in path.iterdir()}
                found = Directory(names, dict(names))
            else:
                found = File(path.read_bytes())
            inodes[path.stat().st_ino] = found
            return found

        root = take(path)
        if not isinstance(root, Directory):
            raise ValueError(f"expected a directory, got {path}")
        return cls(root, inodes)

    def apply(self, record: Record) -> None:
        """Let a call happen."""
        match record.what, record.numbers:
            case "create" | "mkdir" as what, (inode,):
                made = File() if what == "create" else Directory()
                self._inodes[inode] = made
                directory, name = self._find(record.paths[0])
                directory.change({name: made})
            case "write", (inode, offset):
                self._inodes[inode].since.append((offset, record.data))
            case "truncate", (inode, length):
                self._inodes[inode].since.append(length)
            case "sync", (inode,):
                self._inodes[inode].sync()
            case "unlink", ():
                directory, name = self._find(record.paths[0])
                directory.change({name: None})
            case "rename", ():
                (directory, old), (other, new) = map(self._find, record.paths)
                if directory is not other:
                    raise ValueError("expected a new name in the same directory")
                directory.change({new: directory.present[old], old: None})
            case "mark", ():
                pass
            case _:
                raise ValueError(f"expected a known record, got {record.what}")

    def after_a_crash(self, loss: Loss, chance: random.Random) -> Tree:
        """Return what is there if the power goes now."""

        def look(directory: Directory) -> Tree:
            names: dict[str, bytes | Tree] = {}
            for name, what in directory.names(loss, chance).items():
                if isinstance(what, Directory):
                    names[name] = look(what)
                elif not name.endswith(REBUILT):
                    names[name] = what.content(loss, chance)
            return Tree(names)

        return look(self._root)

    def _find(self, path: str) -> tuple[Directory, str]:
        *above, name = PurePosixPath(path).parts
        directory = self._root
        for part in above:
            found = directory.present[part]
            if not isinstance(found, Directory):
                raise ValueError(f"expected a directory, got {part}")
            directory = found
        return directory, name


def records(journal: Path, of: Path) -> Iterator[Record]:
    """Read a journal.

    Args:
        of: the directory that was watched.
    """
    raw, at = journal.read_bytes(), 0

    def below(path: str) -> str:
        return str(PurePosixPath(path).relative_to(of))

    while at < len(raw):
        end = raw.index(b"\n", at)
        what, _, rest = raw[at:end].decode().partition(" ")
        at = end + 1
        match what:
            case "write":
                inode, offset, length = map(int, rest.split())
                yield Record(what, (inode, offset), data=raw[at : at + length])
                at += length
            case "create" | "mkdir":
                inode, _, path = rest.partition(" ")
                yield Record(what, (int(inode),), (below(path),))
            case "rename" | "unlink":
                yield Record(what, paths=tuple(map(below, rest.split("\t"))))
            case "mark":
                yield Record(what, paths=(rest,))
            case _:
                yield Record(what, tuple(map(int, rest.split())))


def watching(library: Path, of: Path, journal: Path) -> dict[str, str]:
    """Return the environment in which a process is watched.

    Args:
        library: made by `build`.
    """
    journal.touch()
    return {
        "LD_PRELOAD": str(library),
        "COMITY_JOURNAL_OF": str(of),
        "COMITY_JOURNAL": str(journal),
    }


def build(directory: Path) -> Path:
    """Compile `journal.c`.

    Raises:
        FileNotFoundError: there is no C compiler.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise FileNotFoundError("expected a C compiler, named cc or in the variable CC")
    library = directory / "journal.so"
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True, timeout=60
    )
    return library


def _in_part(change: tuple[int, bytes] | int, chance: random.Random) -> list:
    """Keep a change or not, and of a write perhaps some of its sectors."""
    fate = chance.choice(("kept", "lost", "torn"))
    if fate == "lost":
        return []
    if fate == "kept" or isinstance(change, int):
        return [change]
    offset, data = change
    cuts = [0, *range(SECTOR - offset % SECTOR, len(data), SECTOR), len(data)]
    return [(offset + a, data[a:b]) for a, b in pairwise(cuts) if chance.random() < 0.5]


def _change(content: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del content[change:]
        content.extend(bytes(change - len(content)))
        return
    offset, data = change
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _rename(names: dict[str, File | Directory], change: dict[str, File | Directory | None]) -> None:
    for name, what in change.items():
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what
