"""Memory, processors, open files and installed packages."""

import os
import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from comity_host.checks import Finding, ok, problem, warning
from comity_host.checks.files import size

PYTHONS = ((3, 11), (3, 14))  # from the first to before the second
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def memory(
    name: str, *, needs: int, what: str, meminfo: Path = MEMINFO, cgroup: Path = CGROUP
) -> Finding:
    """Check the memory that programs can still get.

    Args:
        needs: bytes.
        what: who needs them, for people.
        cgroup: where a container's own limit stands, if it has one.
    """
    free = _free_memory(meminfo, cgroup)
    if free is None:
        fix = f"see to it that {size(needs)} are free for {what}"
        return warning(name, "this system does not tell how much is free", fix)
    if free < needs:
        fix = f"end other programs, give the machine or container {size(needs)} more, or add swap"
        return warning(name, f"{size(free)} free, {what} needs about {size(needs)}", fix)
    return ok(name, f"{size(free)} free, {what} needs about {size(needs)}")


def processors(name: str, *, wanted: int) -> Finding:
    """Check that there are as many processors as threads are wanted."""
    here = len(os.sched_getaffinity(0))
    if here < wanted:
        fix = f"set threads to {here} in the settings"
        return warning(name, f"{here}, and {wanted} threads are to share them", fix)
    return ok(name, f"{here}, {wanted} of them used")


def open_files(name: str, *, needs: int, limit: int | None = None) -> Finding:
    """Check how many files and connections this user's programs may have open at once.

    Args:
        limit: the soft limit, if it is known; otherwise this process's own.
    """
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < needs:
        fix = f"ulimit -n {needs} before the start, or LimitNOFILE={needs} in a systemd unit"
        return warning(name, f"at most {limit}, {needs} may be needed", fix)
    return ok(name, "without limit" if limit == resource.RLIM_INFINITY else f"at most {limit}")


def packages(name: str, names: Sequence[str], *, extra: str) -> Finding:
    """Check Python and the packages that must be there.

    Args:
        extra: of the package `comity`, which brings all of them.
    """
    python = f"Python {platform.python_version()}"
    missing = [each for each in names if _version(each) is None]
    if missing:
        fix = f'pip install ".[{extra}]" in a checkout of Comity'
        return problem(name, f"{', '.join(missing)} is not installed ({python})", fix)
    if not PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]:
        return problem(name, f"{python} is not tried", "use Python 3.11, 3.12 or 3.13")
    return ok(name, ", ".join([python, *(f"{each} {_version(each)}" for each in names)]))


def programs(name: str, names: Sequence[str], directory: Path | None = None) -> Finding:
    """Check that programs lie beside this Python, where the daemons look for them."""
    place = directory or Path(sys.executable).parent
    missing = [each for each in names if not os.access(place / each, os.X_OK)]
    if missing:
        fix = f"{sys.executable} -m pip install --force-reinstall flwr"
        return problem(name, f"{', '.join(missing)} is not in {place}", fix)
    return ok(name, f"{', '.join(names)} in {place}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _free_memory(meminfo: Path, cgroup: Path) -> int | None:
    """Return the bytes that are free, by the machine and by the container that we are in."""
    bounds = []
    try:
        lines = meminfo.read_text().splitlines()
        bounds += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    except (OSError, ValueError, IndexError):
        pass
    try:
        used = int((cgroup / "memory.current").read_text())
        bounds.append(max(0, int((cgroup / "memory.max").read_text()) - used))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return min(bounds) if bounds else None
