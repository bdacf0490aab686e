"""A service in its own process: restarts, what it tells, and that it never meets its own past."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.processes import family, is_alive, until

from comity_common.errors import Problem
from comity_host import service
from comity_host.service import ProcessState, State
from comity_host.servicetexts import in_words, unit

SLEEP = "import time; time.sleep(600)"
DIE = "import sys; sys.exit('no model today')"
STUBBORN = f"""
import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open("ready", "w").close(); {SLEEP}
"""
SERVICE = """
import sys
from pathlib import Path
from comity_common.errors import LocalError
from comity_host import service
from comity_host.supervisor import Process

home = Path(sys.argv[1])
it = Process(name="it", argv=(sys.executable, "-c", sys.argv[2]), env={}, cwd=home,
             log=home / "logs" / "it.log", restart_after_s=0.0)
late = Process(name="late", argv=(sys.executable, "-c", "import time; time.sleep(600)"), env={},
               cwd=home, log=home / "logs" / "late.log", restart_after_s=0.0)

def wanted(running):
    if (home / "broken").exists():
        raise LocalError("expected something whole")
    named = {"it": it} | ({"late": late} if (home / "joined").exists() else {})
    return [process for name, process in named.items() if name not in running]

service.ASK_EVERY_S = 0.2
service.run(home, wanted)
"""

Begin = Callable[..., list[psutil.Process]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start a service, and return its process and all that it has started."""

    def begin(code: str = SLEEP) -> list[psutil.Process]:
        service.start(tmp_path, (sys.executable, "-c", SERVICE, str(tmp_path), code))
        until(lambda: told(tmp_path).processes)
        return family(told(tmp_path).pid)

    yield begin
    service.stop(tmp_path)


def told(home: Path) -> State:
    found = service.state(home)
    assert found is not None
    return found


def only(home: Path) -> ProcessState:
    (process,) = told(home).processes
    return process


def child_of(processes: list[psutil.Process]) -> psutil.Process:
    (child,) = [process for process in processes if "time.sleep" in process.cmdline()[-1]][-1:]
    return child


def test_a_service_tells_what_runs_and_since_when(begin: Begin, tmp_path: Path) -> None:
    assert service.state(tmp_path) is None
    begin()
    assert only(tmp_path) == ProcessState(
        name="it", alive=True, restarts=0, exit_code=None, log=tmp_path / "logs" / "it.log"
    )
    words = in_words(told(tmp_path)).splitlines()
    assert words[0].startswith("service runs since 2")
    assert words[1:] == ["  it          runs"]


def test_a_killed_process_comes_back_and_the_service_tells_how_it_ended(
    begin: Begin, tmp_path: Path
) -> None:
    child_of(begin()).kill()
    until(lambda: only(tmp_path).restarts == 1 and only(tmp_path).alive)
    assert only(tmp_path).exit_code == -signal.SIGKILL
    assert "started again 1 ×, ended last by signal 9" in in_words(told(tmp_path))


def test_what_is_wanted_only_later_is_started_later_also_after_a_mistake(
    begin: Begin, tmp_path: Path
) -> None:
    begin()
    (tmp_path / "broken").touch()
    until(lambda: "something whole" in (tmp_path / "logs" / "service.log").read_text())
    assert only(tmp_path).alive
    (tmp_path / "joined").touch()
    (tmp_path / "broken").unlink()
    until(lambda: [one.name for one in told(tmp_path).processes] == ["it", "late"])


def test_stop_ends_everything_and_a_second_stop_is_harmless(begin: Begin, tmp_path: Path) -> None:
    ran = begin()
    assert service.stop(tmp_path) is True
    assert not any(is_alive(process) for process in ran)
    assert service.state(tmp_path) is None
    assert service.stop(tmp_path) is False


def test_stop_of_a_home_without_a_past_makes_nothing(tmp_path: Path) -> None:
    assert service.stop(tmp_path) is False
    assert list(tmp_path.iterdir()) == []


def test_a_second_start_is_a_problem_and_changes_nothing(begin: Begin, tmp_path: Path) -> None:
    ran = begin()
    with pytest.raises(Problem, match=f"a service runs already .*process {ran[0].pid}") as error:
        begin()
    assert error.value.code == "COM-SERVICE-001"
    assert all(is_alive(process) for process in ran)


def test_a_killed_service_leaves_nothing_behind_and_can_be_started_at_once(
    begin: Begin, tmp_path: Path
) -> None:
    before = begin(STUBBORN)
    until((tmp_path / "ready").exists)
    before[0].kill()
    until(lambda: service.state(tmp_path) is None)
    begin()  # it waits for the guard, which waits for the stubborn one
    assert not any(is_alive(process) for process in before)
    assert only(tmp_path).alive


def test_a_service_that_hangs_is_ended_all_the_same(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "STOP_WITHIN_S", 0.5)
    ran = begin()
    ran[0].suspend()
    assert service.stop(tmp_path) is True
    assert not any(is_alive(process) for process in ran)


def test_a_file_of_another_life_hinders_nobody_and_its_number_is_never_signalled(
    begin: Begin, tmp_path: Path
) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "service.lock").write_text(f"{stranger.pid} 0\n")
        (tmp_path / "run" / "service.json").write_text(
            State(pid=stranger.pid, since="2026-01-01T00:00:00Z").model_dump_json()
        )
        assert service.state(tmp_path) is None
        assert service.stop(tmp_path) is False
        begin()
        assert service.stop(tmp_path) is True
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_service_that_cannot_begin_is_a_problem_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "service.log").write_text("words of long ago\n")
    with pytest.raises(Problem, match="the service ended: no model today") as error:
        service.start(tmp_path, (sys.executable, "-c", DIE))
    assert error.value.code == "COM-SERVICE-003"
    with pytest.raises(Problem, match="the service ended: it said nothing"):
        service.start(tmp_path, (sys.executable, "-c", "raise SystemExit(1)"))


def test_who_waits_for_a_process_that_dies_again_and_again_is_told_its_last_words(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DEATHS_AT_START", 1)
    begin(DIE)
    with pytest.raises(Problem, match=r"the it does not answer yet; .*: no model today") as error:
        service.await_answer(tmp_path, "it", lambda: False)
    assert error.value.code == "COM-SERVICE-004"
    assert told(tmp_path).pid  # it goes on trying


def test_a_service_with_nothing_to_run_ends_and_who_waits_for_it_is_told_why(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken").touch()

    def start_and_wait() -> None:
        service.start(tmp_path, (sys.executable, "-c", SERVICE, str(tmp_path), SLEEP))
        service.await_answer(tmp_path, "it", lambda: False)

    with pytest.raises(Problem, match=r"the service ended: .*expected something whole"):
        start_and_wait()
    assert service.stop(tmp_path) is False


def test_who_waits_for_a_service_that_is_gone_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="the service ended"):
        service.await_answer(tmp_path, "it", lambda: True)


def test_the_files_of_a_service_are_for_its_owner_alone(begin: Begin, tmp_path: Path) -> None:
    begin()
    for name in ("run", "logs"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    for name in ("run/service.lock", "run/service.json", "logs/it.log"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_a_record_that_cannot_be_read_is_no_service(begin: Begin, tmp_path: Path) -> None:
    begin()
    (tmp_path / "run" / "service.json").write_text("{")
    assert service.state(tmp_path) is None


def test_a_service_ends_in_good_order_by_ctrl_c(begin: Begin) -> None:
    ran = begin()
    os.kill(ran[0].pid, signal.SIGINT)
    until(lambda: not any(is_alive(process) for process in ran))


def test_our_daemons_inherit_only_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "el_GR.UTF-8")
    monkeypatch.setenv("DATABASE_PASSWORD", "s3")
    monkeypatch.setenv("https_proxy", "http://elsewhere:1")
    found = service.environment()
    assert found["LANG"] == "el_GR.UTF-8"
    assert not {"DATABASE_PASSWORD", "https_proxy"} & set(found)


def test_a_unit_is_read_back_by_systemd_as_it_was_meant() -> None:
    text = unit("client", "a vault", ("/a $b/python", "-m", "x", "100%", "$HOME", 'a"b\\c'))
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert line == r'ExecStart="/a $b/python" -m x 100%% $$HOME "a\"b\\c"'
