"""The operator's real daemon in a process of its own, killed with -9 where a test wants it.

A boundary is a name that the daemon tells its observer, and the round: `revealed:1`; with a third
part, its third time in the life of a process: `revealed:1:3`. The daemon does not know the boundary
`half-chunk:1`: there the process dies when half of a chunk's bytes are written. Each kill happens
once.
"""

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

DAEMON = """
import os, signal, sys
from collections import Counter
from pathlib import Path
from comity_server import uploads
from comity_server.daemon import serve

home, marks, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
seen = Counter()

def die_once(name, institution, round):
    seen[name, round] += 1
    for named in {f"{name}:{round}", f"{name}:{round}:{seen[name, round]}"} & set(kills):
        if not (marks / named).exists():
            (marks / named).touch()
            os.kill(os.getpid(), signal.SIGKILL)

write_all = uploads._write

def write_half(upload, place, data):
    start = place * uploads.chunks.CHUNK_BYTES
    if any(kill.startswith("half-chunk:1") for kill in kills):
        os.pwrite(upload.file.fileno(), data[: len(data) // 2], start)
        die_once("half-chunk", upload.institution, 1)
    write_all(upload, place, data)

uploads._write = write_half
serve(home, die_once)
"""


class Restarted:
    """A daemon that is started again whenever it was killed.

    Attributes:
        deaths: how often it was.
    """

    def __init__(self, home: Path, kills: tuple[str, ...]) -> None:
        self._marks = home.parent / "marks"
        self._marks.mkdir()
        self._argv = [sys.executable, "-c", DAEMON, str(home), str(self._marks), *kills]
        self._log = (home.parent / "daemon.log").open("ab")
        self._closing = False
        self.deaths = 0
        self._process = self._spawn()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def close(self) -> int:
        """End it in good order; return its exit code."""
        self._closing = True
        self._process.terminate()
        self._watcher.join()
        self._log.close()
        return self._process.returncode

    def died_at(self) -> set[str]:
        """Return the boundaries at which it was killed."""
        return {mark.name for mark in self._marks.iterdir()}

    def _spawn(self) -> subprocess.Popen:
        return subprocess.Popen(self._argv, stdout=self._log, stderr=self._log)

    def _watch(self) -> None:
        while self._process.wait() == -signal.SIGKILL and not self._closing:
            self.deaths += 1
            self._process = self._spawn()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
