"""Files held by one process alone, logs that stay short, and what a full disk looks like."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.processes import until

from comity_common.errors import Problem
from comity_host.files import hold_alone, is_disk_full, keep_short, write_durably

HOLD = """
import sys, time
from pathlib import Path
from comity_host.files import hold_alone
held = hold_alone(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""
APPEND = """
import sys, time
with open(sys.argv[1], "a") as log:
    for number in range(10**9):
        log.write(f"line {number}\\n")
        log.flush()
        time.sleep(0.0005)
"""


# One holder


def test_a_second_holder_is_refused_and_told_where_the_first_one_runs(tmp_path: Path) -> None:
    with hold_alone(tmp_path / "lock"):
        with pytest.raises(Problem) as problem:
            hold_alone(tmp_path / "lock")
        assert problem.value.code == "COM-SERVICE-007"
        assert str(tmp_path) in str(problem.value)
    hold_alone(tmp_path / "lock").close()  # free again


def test_two_directories_are_held_by_two(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with hold_alone(tmp_path / "lock"), hold_alone(tmp_path / "other" / "lock"):
        pass


def test_a_lock_is_free_again_after_its_holder_was_killed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Problem, match="another daemon runs"):
            hold_alone(lock)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert lock.exists()  # it is the kernel that knows who holds it, not the file
    hold_alone(lock).close()


def test_a_process_that_the_holder_starts_does_not_hold_the_lock_with_it(tmp_path: Path) -> None:
    held = hold_alone(tmp_path / "lock")
    child = subprocess.Popen(
        [sys.executable, "-c", "print('begun', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        held.close()
        hold_alone(tmp_path / "lock").close()
        assert child.poll() is None
    finally:
        child.communicate(b"\n")


# Logs


def test_a_log_that_is_not_too_long_and_one_that_is_not_there_are_left_alone(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    keep_short(log, 10)
    assert list(tmp_path.iterdir()) == []
    log.write_bytes(b"0123456789")
    keep_short(log, 10)
    assert log.read_bytes() == b"0123456789"
    assert list(tmp_path.iterdir()) == [log]


def test_a_log_that_is_too_long_begins_anew_and_the_text_before_stays_beside_it(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    for text in (b"the first text", b"the second text"):
        log.write_bytes(text)
        keep_short(log, 10)
        assert log.read_bytes() == b""
        assert (tmp_path / "log.1").read_bytes() == text
    assert len(list(tmp_path.iterdir())) == 2


def test_a_process_that_appends_meanwhile_goes_on_in_the_log_that_was_cut(tmp_path: Path) -> None:
    log, limit = tmp_path / "log", 2000
    writer = subprocess.Popen([sys.executable, "-c", APPEND, str(log)])
    try:
        for _ in range(3):
            until(lambda: log.exists() and log.stat().st_size > limit)
            keep_short(log, limit)
            assert log.stat().st_size <= limit
        until(lambda: log.stat().st_size > 0)
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
    lines = log.read_text().splitlines()  # no hole of zeros where it was cut
    assert all(line.startswith("line ") for line in lines)
    kept = (tmp_path / "log.1").read_text().splitlines()
    assert 0 <= int(lines[0].split()[1]) - int(kept[-2].split()[1]) < 1000
    assert len(kept) > 100


# A full disk


def raised(write: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        write()
    return caught.value


def test_a_file_for_which_there_is_no_space_is_a_full_disk() -> None:
    def write() -> None:
        with open("/dev/full", "wb") as file:
            file.write(b"text")

    error = raised(write)
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert is_disk_full(error)


def test_a_quota_that_is_used_up_is_a_full_disk() -> None:
    assert is_disk_full(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)))


def test_a_database_for_which_there_is_no_space_is_a_full_disk(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        connection.execute("create table kept (text blob)")
        connection.execute("pragma max_page_count = 3")
        error = raised(lambda: connection.execute("insert into kept values (zeroblob(99999))"))
    assert isinstance(error, sqlite3.OperationalError)
    assert is_disk_full(error)


def test_other_errors_are_not_a_full_disk(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "db")) as connection,
        closing(sqlite3.connect(tmp_path / "db", timeout=0)) as other,
    ):
        connection.execute("create table kept (text text unique)")
        connection.execute("begin exclusive")
        for error in (
            raised(lambda: write_durably(tmp_path / "no" / "file", b"")),
            raised(lambda: write_durably(tmp_path, b"")),
            raised(lambda: connection.execute("select * from full")),
            raised(lambda: connection.execute("begin")),
            raised(lambda: other.execute("begin immediate")),
            raised(lambda: connection.executescript("database or disk is full")),
            ValueError("database or disk is full"),
            OSError("database or disk is full"),
        ):
            assert not is_disk_full(error), error


def test_an_error_of_sqlite_without_a_code_is_not_a_full_disk() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        error = raised(lambda: connection.execute("select cast(x'ff' as text)").fetchone())
    assert isinstance(error, sqlite3.OperationalError)
    assert not is_disk_full(error)
