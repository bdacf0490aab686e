"""One life of the victim: a process that is forked from this one, or a fresh interpreter.

A fork has torch, the model and the rows already, and opens the home by itself: no connection to a
database crosses it. It ends by SIGKILL and in no other way; only this process' own child is ever
killed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from types import TracebackType

from comity_client.daemon import Works
from tests.bench.measuring import ROOT
from tests.kill import victim
from tests.kill.books import Broken
from tests.kill.line import Answer, Call, Far
from tests.kill.world import World

SILENCE_S = 120.0  # in which a victim must say something; a fresh one imports torch first


class Life:
    """A victim that lives until the block ends, at the latest.

    Attributes:
        is_fresh: whether it has an interpreter of its own.
        own_s: how long it has worked by itself, without the time that its calls took to answer.
    """

    def __init__(self, start: Callable[[Connection, Connection], int], *, is_fresh: bool) -> None:
        self.is_fresh = is_fresh
        self._near, far = Pipe()
        try:
            self._pid = start(self._near, far)
        finally:
            far.close()
        self.own_s = 0.0
        self._is_dead = False

    def __enter__(self) -> "Life":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_dead:
            self.kill()
        self._near.close()

    def next_call(self, until_s: float | None = None) -> Call | None:
        """Wait for what it says next.

        Args:
            until_s: of its own time; None as long as it takes.

        Returns:
            None if it had said nothing by then.

        Raises:
            Broken: it ended by itself, or is silent.
        """
        left = SILENCE_S if until_s is None else max(0.0, until_s - self.own_s)
        began = monotonic()
        came = self._near.poll(left)
        self.own_s += monotonic() - began
        if not came:
            if until_s is None:
                raise Broken(f"expected a word within {SILENCE_S} s")
            return None
        try:
            call = self._near.recv()
        except EOFError:
            raise Broken("expected a victim that lives until it is killed") from None
        if isinstance(call, str):
            raise Broken(f"expected a victim without a fault of its own, got\n{call}")
        return call

    def answer(self, answer: Answer) -> None:
        """Answer its last call."""
        self._near.send(answer)

    def kill(self) -> None:
        """Kill it, and wait until it is dead."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._is_dead = True


def forked(world: World, works: Works) -> Life:
    """Start a life as a fork of this process."""

    def start(near: Connection, far: Connection) -> int:
        if crossing := _open_below(world.home):
            raise Broken(f"expected no file of the victim to be open at a fork, got {crossing}")
        pid = os.fork()
        if pid == 0:
            near.close()
            home, agreement, line = world.home, world.agreement.digest, Far(far)
            victim.live(far, lambda: victim.Victim(home, agreement, line, works).live())
        return pid

    return Life(start, is_fresh=False)


def fresh(home: Path, agreement: str, *more: str, env: dict[str, str] | None = None) -> Life:
    """Start a life as an interpreter of its own.

    Args:
        more: further words on its command line.
        env: more of the environment.
    """

    def start(near: Connection, far: Connection) -> int:
        words = [str(far.fileno()), str(home), agreement, *more]
        # Not a `Popen` that is kept: `Life` waits for the process by itself.
        return subprocess.Popen(
            [sys.executable, "-m", "tests.kill.victim", *words],
            cwd=ROOT,
            env=os.environ | (env or {}),
            pass_fds=[far.fileno()],
        ).pid

    return Life(start, is_fresh=True)


def _open_below(home: Path) -> list[str]:
    """List the files below a directory that this process has open.

    A fork that inherits a connection to its own database believes to hold locks that it has not:
    SQLite then takes a log for reset that is not, and commits are lost.
    """
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(descriptor))
    return [path for path in found if Path(path).is_relative_to(home)]
