"""How CPU time, ratios and memory are measured.

    both = in_turns(mask, floor, repetitions=5)
    both.ratio  # of floor to mask, the median over the repetitions

Memory is asked of Linux: a process sets its high-water mark back, works, and looks how far the mark
has risen. That counts numpy's arrays, OpenSSL's buffers and everything else.
"""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT_S = 600.0  # of a process of its own
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")  # proc(5): 5 sets the mark back


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU seconds that a piece of work takes, over all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


@dataclass(frozen=True, slots=True)
class Both:
    """Two pieces of work, measured in turns.

    Attributes:
        a, b: the median CPU seconds of each.
        ratio: the median of b/a.
    """

    a: float
    b: float
    ratio: float


def in_turns(a: Callable[[], object], b: Callable[[], float], repetitions: int) -> Both:
    """Measure a against b: one after the other, again and again.

    Args:
        a: is timed.
        b: returns its own CPU seconds, for what it stands for may be larger than what it runs.
    """
    a()  # so that no first page fault or import counts
    pairs = [(cpu_s(a), b()) for _ in range(repetitions)]
    return Both(
        median(first for first, _ in pairs),
        median(second for _, second in pairs),
        median(second / first for first, second in pairs),
    )


class Growth:
    """How far this process's resident set has grown since this object was made."""

    def __init__(self) -> None:
        _CLEAR.write_text("5")
        self._before = _resident("VmRSS")

    def peak(self) -> int:
        """Return the highest growth so far, in bytes."""
        return max(0, _resident("VmHWM") - self._before)


def in_a_process_of_its_own(work: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Call a function of this package in a fresh process.

    Args:
        work: a module's function; what it takes and returns goes through JSON.
    """
    task = [work.__module__, work.__name__, json.dumps(args)]
    done = subprocess.run(
        [sys.executable, "-m", __name__, *task],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=LIMIT_S,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _resident(what: str) -> int:
    for line in _STATUS.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == what:
            return int(rest.split()[0]) * 1024
    raise OSError(f"expected {what} in {_STATUS}")


if __name__ == "__main__":
    module, function, arguments = sys.argv[1:]
    work = getattr(importlib.import_module(module), function)
    print(json.dumps(work(*json.loads(arguments))))
