"""Who can read a home, whether its sockets fit, its database is whole, and what room is left."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path

from comity_host.checks import Finding, ok, problem, warning
from comity_host.files import MAX_SOCKET_PATH

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


def private(
    name: str, directories: Iterable[Path], secrets: Iterable[Path], *, owner: int | None = None
) -> Finding:
    """Check that directories (mode 0700) and secrets (mode 0600) are one user's alone.

    Args:
        owner: the user's id; None for who calls.
    """
    owner = os.getuid() if owner is None else owner
    for paths, allowed in ((directories, PRIVATE_DIRECTORY), (secrets, PRIVATE_FILE)):
        for path in paths:
            try:
                found = path.stat()
            except FileNotFoundError:
                return problem(name, f"{path} is missing", "restore it from a backup")
            if found.st_uid != owner:
                who = f"{path} belongs to user {found.st_uid}, not to {owner}"
                return problem(name, who, f"chown -R {owner} {path}, or be that user")
            mode = stat.S_IMODE(found.st_mode)
            if mode & ~allowed:
                who = f"others can get at {path} (mode {mode:04o})"
                return problem(name, who, f"chmod {allowed:o} {path}")
    return ok(name, "for this user alone")


def socket_path(name: str, path: Path, fix: str) -> Finding:
    """Check that the kernel takes a unix socket's path."""
    length = len(str(path).encode())
    if length > MAX_SOCKET_PATH:
        return problem(name, f"{path} has {length} bytes, the most is {MAX_SOCKET_PATH}", fix)
    return ok(name, f"{path}")


def disk(name: str, path: Path, *, needs: int, wants: int = 0) -> Finding:
    """Check the room on the disk of a path, which need not exist yet.

    Args:
        needs: bytes without which it cannot work.
        wants: bytes that make it comfortable.
    """
    there = next(place for place in (path, *path.parents) if place.exists())
    free = shutil.disk_usage(there).free
    detail = f"{size(free)} free at {path}"
    fix = f"free some space, or move the home to a disk with {size(max(needs, wants))}"
    if free < needs:
        return problem(name, f"{detail}, {size(needs)} are needed", fix)
    if free < wants:
        return warning(name, f"{detail}, {size(wants)} would be enough for long", fix)
    return ok(name, detail)


def database(name: str, path: Path) -> Finding:
    """Check that SQLite finds its file in order; it is only read."""
    restore = f"stop the daemon and restore {path.name} from a backup"
    if not path.exists():
        return problem(name, f"{path} is missing", restore)
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            (verdict,) = connection.execute("pragma quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:  # locked, or not to be opened
        return warning(name, f"{path} cannot be read now ({error})", "call again a little later")
    except sqlite3.DatabaseError:
        verdict = "damaged"
    if verdict != "ok":
        return problem(name, f"{path} is damaged", restore)
    return ok(name, f"{path.name} is whole ({size(path.stat().st_size)})")


def size(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("bytes", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
