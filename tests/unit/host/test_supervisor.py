"""The supervisor with real small processes: restarts, signals, and that nothing outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from comity_common.errors import LocalError
from comity_host.supervisor import LONGEST_PAUSE_S, Condition, Process, Supervisor, pause_s

SLEEP = "import time; time.sleep(600)"
# A parent that leaves its pid and a child's pid in files; the child is in its own process group.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
open("child", "w").write(str(child.pid)); open("parent", "w").write(str(os.getpid()))
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN); open("ready", "w").close(); time.sleep(600)
"""
# A whole demo in small: a supervisor whose main thread waits for Ctrl-C.
DEMO = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have switched it off
from comity_host.supervisor import Process, Supervisor
here = Path(sys.argv[1])
with Supervisor() as supervisor:
    supervisor.start(Process(name="family", argv=(sys.executable, "-c", sys.argv[2]), env={},
                             cwd=here, log=here / "log", restart_after_s=0.0))
    time.sleep(600)
"""


# The same, killed at the moment when it has started the family and nobody was told of it.
UNTOLD = """
import os, signal
from comity_host import supervisor
def die(self, line):
    open(sys.argv[1] + "/started", "w").write(line[1:])
    os.kill(os.getpid(), signal.SIGKILL)
supervisor.Supervisor._tell_guard = die
"""


def until(true: Callable[[], object], timeout_s: float = 15.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as supervisor:
        yield supervisor


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Process]:
    def make(code: str, restart_after_s: float | None = None, name: str = "it") -> Process:
        return Process(
            name=name,
            argv=(sys.executable, "-c", code),
            env={"ONLY": "this"},
            cwd=tmp_path,
            log=tmp_path / f"{name}.log",
            restart_after_s=restart_after_s,
        )

    return make


def test_output_goes_to_the_log_and_the_environment_is_exactly_what_was_given(
    supervisor: Supervisor, process: Callable[..., Process], tmp_path: Path
) -> None:
    code = "import os; os.environ.pop('LC_CTYPE', 0); print(dict(os.environ)); raise SystemExit(3)"
    supervisor.start(process(code))
    until(lambda: supervisor.exit_code("it") is not None)
    assert supervisor.exit_code("it") == 3
    assert (tmp_path / "it.log").read_text() == "{'ONLY': 'this'}\n"


def test_a_name_can_be_taken_only_once(
    supervisor: Supervisor, process: Callable[..., Process]
) -> None:
    supervisor.start(process(SLEEP))
    with pytest.raises(LocalError, match="it is taken"):
        supervisor.start(process(SLEEP))


def test_a_process_without_a_policy_stays_dead(
    supervisor: Supervisor, process: Callable[..., Process]
) -> None:
    supervisor.start(process(SLEEP, name="dead"))
    supervisor.start(process(SLEEP, 0.0, name="other"))
    supervisor.kill("dead")
    supervisor.kill("other")
    until(lambda: supervisor.restarts("other") == 1)
    assert supervisor.pid("dead") is None
    assert supervisor.exit_code("dead") == -signal.SIGKILL
    assert supervisor.restarts("dead") == 0


def test_a_killed_process_comes_back_with_another_pid(
    supervisor: Supervisor, process: Callable[..., Process]
) -> None:
    first = supervisor.start(process(SLEEP, 0.0))
    supervisor.kill("it")
    until(lambda: supervisor.restarts("it") == 1)
    second = supervisor.pid("it")
    assert second is not None
    assert second != first


def test_a_process_that_must_wait_is_restarted_after_its_time_and_not_before(
    supervisor: Supervisor, process: Callable[..., Process]
) -> None:
    supervisor.start(process(SLEEP, 1.5))
    supervisor.kill("it")
    killed = time.monotonic()
    until(lambda: supervisor.restarts("it") == 1)
    assert time.monotonic() - killed >= 1.4


def test_pauses_grow_from_the_second_quick_death_on_and_have_an_end() -> None:
    assert [pause_s(deaths) for deaths in range(5)] == [0.0, 0.0, 2.0, 4.0, 8.0]
    assert pause_s(7) == pause_s(1_000_000) == LONGEST_PAUSE_S


def test_a_process_that_dies_again_and_again_is_given_a_pause(
    supervisor: Supervisor, process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comity_host.supervisor.SHORTEST_LIFE_S", 0.1)
    began = time.monotonic()
    supervisor.start(process("raise SystemExit(3)", 0.0))
    until(lambda: supervisor.restarts("it") == 2)
    assert time.monotonic() - began >= pause_s(2)
    until(
        lambda: supervisor.conditions() == {"it": Condition(alive=False, restarts=2, exit_code=3)}
    )


def test_a_process_that_lives_long_enough_comes_back_without_a_pause(
    supervisor: Supervisor, process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comity_host.supervisor.SHORTEST_LIFE_S", 0.1)
    monkeypatch.setattr("comity_host.supervisor.QUICK_DEATH_S", 0.0)
    monkeypatch.setattr("comity_host.supervisor.pause_s", lambda deaths: 600.0 if deaths else 0.0)
    supervisor.start(process("raise SystemExit(3)", 0.0))
    until(lambda: supervisor.restarts("it") == 3)


def test_a_program_that_is_away_for_a_while_is_tried_again(
    supervisor: Supervisor, process: Callable[..., Process], tmp_path: Path
) -> None:
    program, away = tmp_path / "program", tmp_path / "away"
    program.symlink_to(sys.executable)
    supervisor.start(replace(process(SLEEP, 0.0), argv=(str(program), "-c", SLEEP)))
    program.rename(away)
    supervisor.kill("it")
    until(lambda: not supervisor.conditions()["it"].alive)
    time.sleep(1.5)  # it is tried in vain
    away.rename(program)
    until(lambda: supervisor.restarts("it") == 1)
    assert supervisor.pid("it") is not None


def test_what_a_killed_process_had_started_is_gone_before_it_is_restarted(
    supervisor: Supervisor, process: Callable[..., Process], tmp_path: Path
) -> None:
    supervisor.start(process(FAMILY, 0.0))
    until(lambda: written(tmp_path / "parent"))
    child = int((tmp_path / "child").read_text())
    supervisor.kill("it")
    until(lambda: supervisor.restarts("it") == 1)
    assert not is_alive(child)


def test_pause_stops_a_process_and_resume_lets_it_go_on(
    supervisor: Supervisor, process: Callable[..., Process]
) -> None:
    pid = supervisor.start(process(SLEEP))
    supervisor.pause("it")
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    supervisor.resume("it")
    until(lambda: psutil.Process(pid).status() != psutil.STATUS_STOPPED)


def test_close_ends_grandchildren_in_other_groups_paused_processes_and_stubborn_ones(
    process: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comity_host.supervisor.GRACE_S", 1.0)
    with Supervisor() as supervisor:
        pids = [
            supervisor.start(process(FAMILY, 0.0, name="family")),
            supervisor.start(process(SLEEP, 0.0, name="paused")),
            supervisor.start(process(STUBBORN, 0.0, name="stubborn")),
        ]
        until(lambda: written(tmp_path / "parent") and (tmp_path / "ready").exists())
        pids.append(int((tmp_path / "child").read_text()))
        supervisor.pause("paused")
        assert all(is_alive(pid) for pid in pids)
    assert not any(is_alive(pid) for pid in pids)


def test_stop_ends_one_process_for_good_and_frees_its_name(
    supervisor: Supervisor, process: Callable[..., Process], tmp_path: Path
) -> None:
    parent = supervisor.start(process(FAMILY, 0.0))
    until(lambda: written(tmp_path / "parent"))
    child = int((tmp_path / "child").read_text())
    supervisor.stop("it")
    assert not is_alive(parent)
    assert not is_alive(child)
    supervisor.start(process(SLEEP))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_supervisor_however_it_ends(tmp_path: Path, number: int) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-c", DEMO, str(tmp_path), FAMILY],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: written(tmp_path / "parent"))
    family = [int((tmp_path / name).read_text()) for name in ("parent", "child")]
    guards = psutil.Process(demo.pid).children(recursive=True)
    assert all(is_alive(pid) for pid in family)
    os.kill(demo.pid, number)
    demo.wait(timeout=30)
    until(lambda: not any(is_alive(pid) for pid in family))
    until(lambda: not any(is_alive(guard.pid) for guard in guards))


def test_nothing_outlives_a_supervisor_that_is_killed_before_it_told_its_guard(
    tmp_path: Path,
) -> None:
    code = "import sys" + UNTOLD + DEMO
    demo = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), FAMILY],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert demo.wait(timeout=30) == -signal.SIGKILL
    until(lambda: not is_alive(int((tmp_path / "started").read_text())))
    assert not written(tmp_path / "parent")


def test_a_program_that_is_not_there_is_told_at_once(process, supervisor) -> None:
    missing = replace(process(SLEEP), argv=("no-such-program-of-ours",))
    with pytest.raises(FileNotFoundError):
        supervisor.start(missing)
    supervisor.start(process(SLEEP))
