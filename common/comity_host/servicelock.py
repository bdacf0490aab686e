"""The lock that one service of a home holds, and how it is found and signalled.

It is a lock of the kernel on `run/service.lock`, dropped with its last holder: a file that was left
by a machine without power hinders nobody. The file says which process signed it and under which
descriptor it has it open. Only a process of which that is still true is ever signalled, so never a
stranger that was given the number of a service that is gone.
"""

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from comity_common.errors import Problem
from comity_host.files import make_private

LOOK_EVERY_S = 0.1
CLEAR_WITHIN_S = 20.0  # a guard whose service was killed gives its processes 5 s


@contextlib.contextmanager
def locked(home: Path) -> Iterator[int]:
    """Hold the lock, as soon as the guard of a killed service has let go of it.

    Yields:
        Its descriptor.

    Raises:
        Problem: a service runs already, or what an earlier one ran does not end.
    """
    make_private(home / "run", home / "logs")
    lock = os.open(_file(home), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + CLEAR_WITHIN_S
        while not _takes(lock):
            if (pid := holder(home)) is not None:
                raise Problem("COM-SERVICE-001", home=home, pid=pid)
            if time.monotonic() > deadline:
                raise Problem("COM-SERVICE-006", home=home)
            time.sleep(LOOK_EVERY_S)
        yield lock
    finally:
        os.close(lock)


def check_none_runs(home: Path) -> None:
    """Wait until nothing of a killed service is left.

    Raises:
        Problem: a service runs, or what an earlier one ran does not end.
    """
    with locked(home):
        pass


def sign(lock: int) -> None:
    """Write into a lock that is held that this process is the service."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {lock}\n".encode(), 0)


def holder(home: Path) -> int | None:
    """Return the pid of a home's service; None when none runs."""
    try:
        pid, descriptor = map(int, _file(home).read_text().split())
        is_service = Path(f"/proc/{pid}/fd/{descriptor}").samefile(_file(home))
    except (OSError, ValueError):
        return None
    return pid if is_service else None


def end_holder(home: Path, number: int, within_s: float) -> bool:
    """Signal a home's service, and wait for its end.

    Returns:
        Whether there was one.
    """
    if (pid := holder(home)) is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if holder(home) == pid:  # asked again, now that the handle cannot come to mean another
                signal.pidfd_send_signal(handle, number)
                select.select([handle], [], [], within_s)
                return True
        finally:
            os.close(handle)
    return False


def is_free_within(home: Path, seconds: float) -> bool:
    """Wait until neither a service nor its guard holds the lock."""
    try:
        lock = os.open(_file(home), os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        deadline = time.monotonic() + seconds
        while not (free := _takes(lock)) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
    finally:
        os.close(lock)
    return free


def _file(home: Path) -> Path:
    return home / "run" / "service.lock"


def _takes(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
