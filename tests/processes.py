"""What tests of real processes ask of the machine."""

import time
from collections.abc import Callable

import psutil


def until(true: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that only waits to be buried does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it and its children have started."""
    head = psutil.Process(pid)
    return [head, *head.children(recursive=True)]
