"""Starts daemons on one machine, restarts them, and ends all of them.

The one hard rule: nothing that was started here, nor anything that those processes started,
outlives this process, whether it ends in good order, by Ctrl-C or by kill -9. Therefore

* each process leads a session of its own. Whatever it starts stays in that session, also when
  it is orphaned, so a session is what is ended, not a process;
* a *guard*, a small process of its own, knows all sessions. It reads them from a pipe; when the
  pipe closes because we are gone, however that happened, it ends what is left;
* a process waits at a *gate*, a byte on its standard input, until the guard was told of it. If we
  are gone before that, nothing ever comes and it ends. Its pid stays the same.

A process that died is started again as its policy says, by one watching thread. Its session is
cleared first, so a restart never meets its own past. One that dies again and again soon after its
start is given longer and longer pauses.

    with Supervisor() as supervisor:
        supervisor.start(Process(name="superlink", argv=..., env=..., cwd=..., log=...,
                                 restart_after_s=0.0))
        supervisor.kill("superlink")      # as a crash would
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from comity_common.errors import LocalError

WATCH_EVERY_S = 0.1
GRACE_S = 5.0  # between asking to end and killing
SHORTEST_LIFE_S = 1.0  # a process that dies sooner is not restarted sooner than this
QUICK_DEATH_S = 10.0  # a process that dies sooner, and again and again, is given pauses,
LONGEST_PAUSE_S = 60.0  # up to this
GATE = """
import os, sys
if os.read(0, 1):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What is started, and what happens when it ends by itself.

    Attributes:
        name: how the supervisor's callers speak of it.
        argv, env, cwd: as in `subprocess.Popen`; env is the whole environment.
        log: file to which output is appended.
        restart_after_s: seconds from its end to its next start; None: it is not restarted.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    restart_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a process does.

    Attributes:
        restarts: how often it was started again.
        exit_code: how it ended last (negative: by that signal); None if it never did.
    """

    alive: bool
    restarts: int
    exit_code: int | None


@dataclass(slots=True, kw_only=True)
class _Running:
    process: Process
    popen: subprocess.Popen[bytes]
    started_at: float
    ended_at: float | None = None
    exit_code: int | None = None
    restarts: int = 0
    quick_deaths: int = 0


class Supervisor:
    """Processes by name. Its methods may be called from any thread.

    Args:
        guard_holds: descriptors that the guard keeps open until it has ended everything.
    """

    def __init__(self, guard_holds: Collection[int] = ()) -> None:
        """Start the guard and the watching thread."""
        self._running: dict[str, _Running] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "comity_host.supervisor"],
            stdin=subprocess.PIPE,
            pass_fds=tuple(guard_holds),
            start_new_session=True,  # a Ctrl-C in the terminal is not for the guard
        )
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def start(self, process: Process) -> int:
        """Start a process under its name.

        Returns:
            Its pid.

        Raises:
            LocalError: the name is taken.
            OSError: the program cannot be started.
        """
        with self._lock:
            if process.name in self._running:
                raise LocalError(f"expected a new name, {process.name} is taken")
            popen = self._spawn(process)
            self._running[process.name] = _Running(
                process=process, popen=popen, started_at=time.monotonic()
            )
            return popen.pid

    def pid(self, name: str) -> int | None:
        """Return the pid of a process; None while it is not alive."""
        with self._lock:
            popen = self._running[name].popen
            return popen.pid if popen.poll() is None else None

    def exit_code(self, name: str) -> int | None:
        """Return how a process ended (negative: by that signal); None while it is alive."""
        with self._lock:
            return self._running[name].popen.poll()

    def restarts(self, name: str) -> int:
        """Return how often a process has been started again."""
        with self._lock:
            return self._running[name].restarts

    def conditions(self) -> dict[str, Condition]:
        """Return how every process does, in the order in which they were started."""
        with self._lock:
            return {name: _condition(running) for name, running in self._running.items()}

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process; its policy says what then."""
        self._signal(name, signal.SIGKILL)

    def pause(self, name: str) -> None:
        """Send SIGSTOP to a process."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Send SIGCONT to a process."""
        self._signal(name, signal.SIGCONT)

    def stop(self, name: str) -> None:
        """End a process and all that it started, for good; its name is free again."""
        with self._lock:
            running = self._running.pop(name)
        self._end([running] if running.ended_at is None else [], GRACE_S)

    def close(self) -> None:
        """End every process and all that they started."""
        self._closing.set()
        with self._lock:
            running = [each for each in self._running.values() if each.ended_at is None]
            self._running.clear()
        self._end(running, GRACE_S)
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()

    def __enter__(self) -> Self:
        """Return the supervisor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process and all that they started."""
        self.close()

    def _signal(self, name: str, number: int) -> None:
        with self._lock:
            self._running[name].popen.send_signal(number)

    def _spawn(self, process: Process) -> subprocess.Popen[bytes]:
        program = process.argv[0]
        if shutil.which(program, path=process.env.get("PATH", os.defpath)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
        with open(process.log, "ab") as log:
            popen = subprocess.Popen(
                (sys.executable, "-I", "-S", "-c", GATE, *process.argv),
                env=dict(process.env),
                cwd=process.cwd,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._tell_guard(f"+{popen.pid}")
        _open_gate(popen)
        return popen

    def _tell_guard(self, line: str) -> None:
        pipe = self._guard.stdin
        with contextlib.suppress(BrokenPipeError):  # then only an orderly end is left to us
            if pipe is not None:
                pipe.write(line.encode() + b"\n")
                pipe.flush()

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_EVERY_S):
            with self._lock:
                for running in self._running.values():
                    self._look_after(running)

    def _look_after(self, running: _Running) -> None:
        if running.ended_at is None:
            if (code := running.popen.poll()) is not None:
                _note_end(running, code)
                self._end([running], grace_s=0.0)
            return
        wait_s = running.process.restart_after_s
        if wait_s is None:
            return
        now = time.monotonic()
        wait_s = max(wait_s, pause_s(running.quick_deaths))
        if now >= max(running.ended_at + wait_s, running.started_at + SHORTEST_LIFE_S):
            running.started_at = now
            try:
                running.popen = self._spawn(running.process)
            except OSError:  # a full disk, a program that is just being replaced: try again later
                _note_end(running, running.exit_code)
                return
            running.ended_at = None
            running.restarts += 1

    def _end(self, running: Iterable[_Running], grace_s: float) -> None:
        popens = [each.popen for each in running]
        end_sessions([popen.pid for popen in popens], grace_s)
        for popen in popens:
            popen.wait()
            self._tell_guard(f"-{popen.pid}")


def _open_gate(popen: subprocess.Popen[bytes]) -> None:
    if popen.stdin is not None:
        with contextlib.suppress(BrokenPipeError), popen.stdin as gate:  # it was killed already
            gate.write(b"\n")


def pause_s(quick_deaths: int) -> float:
    """Return for how many seconds a process rests that died quickly so often in a row."""
    return min(2.0 ** min(quick_deaths - 1, 10), LONGEST_PAUSE_S) if quick_deaths > 1 else 0.0


def _note_end(running: _Running, code: int | None) -> None:
    running.ended_at, running.exit_code = time.monotonic(), code
    is_quick = running.ended_at - running.started_at < QUICK_DEATH_S
    running.quick_deaths = running.quick_deaths + 1 if is_quick else 0


def _condition(running: _Running) -> Condition:
    ended = running.popen.poll()
    return Condition(
        alive=ended is None,
        restarts=running.restarts,
        exit_code=running.exit_code if ended is None else ended,
    )


def end_sessions(sessions: Collection[int], grace_s: float) -> None:
    """End all processes of these sessions: SIGTERM, and SIGKILL to what is left after a grace."""
    members = _members(sessions)
    for member in members:
        _send(member, signal.SIGTERM)
        _send(member, signal.SIGCONT)
    psutil.wait_procs(members, timeout=grace_s)
    while members := _members(sessions):
        for member in members:
            _send(member, signal.SIGKILL)
        psutil.wait_procs(members, timeout=1.0)


def _members(sessions: Collection[int]) -> list[psutil.Process]:
    """Return the living processes of these sessions, and their children in other sessions."""
    living = [
        process
        for process in psutil.process_iter(["ppid", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
    ]
    found = {process.pid: process for process in living if _session(process.pid) in sessions}
    while True:
        children = [p for p in living if p.pid not in found and p.info["ppid"] in found]
        if not children:
            return list(found.values())
        found.update((child.pid, child) for child in children)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:  # it has ended meanwhile
        return 0


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _stand_guard(orders: IO[str]) -> None:
    """Keep the list of sessions and, when nobody is left to write to it, end them."""
    sessions: set[int] = set()
    for line in orders:
        session = int(line[1:])
        (sessions.add if line[0] == "+" else sessions.discard)(session)
    end_sessions(sessions, GRACE_S)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _stand_guard(sys.stdin)
