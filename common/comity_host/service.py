"""A service: one process that keeps the daemons of one home running until it is told to stop.

What holds, whatever happens to it:

* A home has one service, see `servicelock`. The guard of its supervisor holds the lock too, until
  it has ended everything that the service ran, so a new service never meets the processes of an
  old one.
* `run/service.json` says how the processes do; it is written anew at each change.

    start(home, command("client", home))   # in the background, as `comity client start` does
    state(home)                            # None when none runs
    stop(home)
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict

from comity_common.errors import LocalError, Problem
from comity_host import servicelock
from comity_host.files import keep_short, write_durably
from comity_host.supervisor import Condition, Process, Supervisor

LOOK_EVERY_S = 0.1
ASK_EVERY_S = 5.0  # whether more is to run by now
BEGIN_WITHIN_S = 30.0  # from the start of its process until a service holds its lock
ANSWER_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0  # the supervisor gives its processes 5 s
DEATHS_AT_START = 3  # so many, and a start no longer waits for an answer
TAIL_CHARACTERS = 300
SERVICE_LOG = Path("logs") / "service.log"
MAX_LOG_BYTES = 16 << 20
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")

log = structlog.get_logger()


class ProcessState(BaseModel):
    """How one process of a service does.

    Attributes:
        restarts: how often it was started again.
        exit_code: how it ended last (negative: by that signal); None if it never did.
        log: where its output is.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    alive: bool
    restarts: int
    exit_code: int | None
    log: Path


class State(BaseModel):
    """A service that runs."""

    model_config = ConfigDict(frozen=True)

    pid: int
    since: datetime
    processes: tuple[ProcessState, ...] = ()


def command(part: str, home: Path) -> tuple[str, ...]:
    """Return the command that runs a home's service in the foreground.

    Args:
        part: `client` or `server`.
    """
    words = ("-m", "comity_host.cli", part, "start", "--foreground", "--home", str(home))
    return (sys.executable, *words)


def environment() -> dict[str, str]:
    """Return what our own daemons inherit: no more than they need."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {"PYTHONUNBUFFERED": "1"}


def run(home: Path, wanted: Callable[[Collection[str]], Sequence[Process]]) -> None:
    """Run a service in this process, until SIGTERM or SIGINT.

    Args:
        wanted: told what runs, returns what is to run too. It is called when no other service can
            run, and again from time to time.

    Raises:
        Problem: a service runs already, or `wanted` raised it the first time.
    """
    os.umask(0o077)  # what the processes write is for their own user alone
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with servicelock.locked(home) as lock:
        record = _Record(home)
        servicelock.sign(lock)
        with Supervisor(guard_holds=(lock,)) as supervisor:
            _work(supervisor, record, home / SERVICE_LOG, wanted, ending)


def start(home: Path, argv: Sequence[str]) -> None:
    """Start a service in the background; return when it holds its lock.

    Args:
        argv: a command that calls `run` for this home.

    Raises:
        Problem: one runs already, or the new one has ended.
    """
    servicelock.check_none_runs(home)
    output = home / SERVICE_LOG
    with output.open("ab") as file:
        before = file.tell()
        begun = subprocess.Popen(
            argv,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + BEGIN_WITHIN_S
    while servicelock.holder(home) != begun.pid:
        if begun.poll() is not None or time.monotonic() > deadline:
            begun.kill()
            raise Problem("COM-SERVICE-003", why=tail(output, before), log=output)
        time.sleep(LOOK_EVERY_S)


def await_answer(home: Path, name: str, answers: Callable[[], bool]) -> State:
    """Wait until a process of a running service answers.

    Raises:
        Problem: it does not in time, or it dies again and again; the service goes on trying.
    """
    deadline = time.monotonic() + ANSWER_WITHIN_S
    while True:
        answered, found = answers(), state(home)
        if found is None:
            output = home / SERVICE_LOG
            raise Problem("COM-SERVICE-003", why=tail(output), log=output)
        if answered:
            return found
        process = next((one for one in found.processes if one.name == name), None)
        restarts = process.restarts if process else 0
        if restarts >= DEATHS_AT_START or time.monotonic() > deadline:
            raise not_answering(found, name)
        time.sleep(LOOK_EVERY_S)


def not_answering(found: State, name: str) -> Problem:
    """Say what a process wrote last that is kept running and does not answer."""
    logs = [process.log for process in found.processes if process.name == name]
    output = logs[0] if logs else Path(f"{name}.log")
    return Problem("COM-SERVICE-004", name=name, why=tail(output), log=output)


def stop(home: Path) -> bool:
    """End a service and all that it runs, and wait until they have ended.

    Returns:
        Whether one ran.

    Raises:
        Problem: something does not end.
    """
    ran = servicelock.end_holder(home, signal.SIGTERM, STOP_WITHIN_S)
    servicelock.end_holder(home, signal.SIGKILL, STOP_WITHIN_S)  # if it hangs; the guard goes on
    if not servicelock.is_free_within(home, servicelock.CLEAR_WITHIN_S):
        raise Problem("COM-SERVICE-006", home=home)
    return ran


def state(home: Path) -> State | None:
    """Tell how a home's service does; None when none runs."""
    runner = servicelock.holder(home)
    try:
        found = State.model_validate_json(_record(home).read_bytes())
    except (OSError, ValueError):
        return None
    return found if found.pid == runner else None


def tail(output: Path, after: int = 0) -> str:
    """Return the last line of a log that is more than information, shortened.

    Args:
        after: bytes that were written earlier and do not count.
    """
    try:
        lines = output.read_bytes()[after:].decode("utf-8", "replace").split("\n")
    except OSError:
        lines = []
    said = [line.strip() for line in lines if line.strip() and not _is_information(line)]
    return said[-1][-TAIL_CHARACTERS:] if said else "it said nothing"


def _work(
    supervisor: Supervisor,
    record: "_Record",
    own_log: Path,
    wanted: Callable[[Collection[str]], Sequence[Process]],
    ending: threading.Event,
) -> None:
    started: dict[str, Process] = {}
    ask_at = time.monotonic()
    while not ending.is_set():
        if time.monotonic() >= ask_at:
            ask_at = time.monotonic() + ASK_EVERY_S
            try:
                for process in wanted(started.keys()):
                    supervisor.start(process)
                    started[process.name] = process
                for output in (own_log, *(process.log for process in started.values())):
                    keep_short(output, MAX_LOG_BYTES)
            except (LocalError, OSError) as error:
                if not started:
                    raise
                log.warning("not looked after", why=str(error))
        record.keep(tuple(started.values()), supervisor.conditions())
        ending.wait(LOOK_EVERY_S)


def _is_information(line: str) -> bool:
    """Tell whether a line is one of our own that says how things go, and not what went wrong."""
    with contextlib.suppress(ValueError, AttributeError):
        return bool(json.loads(line).get("level") == "info")
    return False


class _Record:
    """Keeps `run/service.json` true."""

    def __init__(self, home: Path) -> None:
        self._path = _record(home)
        self._since = datetime.now(UTC).replace(microsecond=0)
        self._noted: dict[str, Condition] = {}
        self._write(())

    def keep(self, processes: Sequence[Process], now: dict[str, Condition]) -> None:
        """Write and log what has changed."""
        if now == self._noted:
            return
        states = tuple(_state_of(process, now[process.name]) for process in processes)
        with contextlib.suppress(OSError):  # on a full disk the daemons run on, and we try again
            for one in states:
                if now[one.name] != self._noted.get(one.name):
                    log.info("process", **one.model_dump(mode="json", exclude={"log"}))
            self._write(states)
            self._noted = now

    def _write(self, processes: tuple[ProcessState, ...]) -> None:
        current = State(pid=os.getpid(), since=self._since, processes=processes)
        write_durably(self._path, current.model_dump_json().encode())


def _state_of(process: Process, condition: Condition) -> ProcessState:
    return ProcessState(
        name=process.name,
        alive=condition.alive,
        restarts=condition.restarts,
        exit_code=condition.exit_code,
        log=process.log,
    )


def _record(home: Path) -> Path:
    return home / "run" / "service.json"
