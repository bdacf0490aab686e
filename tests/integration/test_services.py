"""`comity server start` and `comity client start` with the real daemons, killed for real."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.commands import Outcome, comity
from tests.processes import family, is_alive, until

from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_host.ports import HeldPorts
from comity_server.home import init

pytestmark = pytest.mark.e2e


class Side:
    """One home and the commands that its people type."""

    def __init__(self, part: str, home: Path) -> None:
        self.part, self.home = part, home

    def run(self, *words: object) -> Outcome:
        return comity(self.part, *words, "--home", self.home, "--json")

    def start(self) -> list[psutil.Process]:
        """Start the service; return its process and all that it has started."""
        return family(self.run("start").data["service"]["pid"])

    def processes(self) -> dict[str, dict[str, Any]]:
        """What status tells of the processes; nothing while nobody answers."""
        found = self.run("status")
        if found.exit_code == 75:
            return {}
        return {one["name"]: one for one in found.data["service"]["processes"]}

    def log(self, name: str) -> str:
        file = self.home / "logs" / f"{name}.log"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Side]:
    """An operator with all its listeners, who is stopped at the end."""
    with HeldPorts(4) as ports:
        transfer, enrolment, gate, flower = ports.numbers
    init(
        tmp_path / "op",
        name="Uni",
        jurisdiction="DE",
        host="127.0.0.1",
        transfer=f"127.0.0.1:{transfer}",
        enrolment=f"127.0.0.1:{enrolment}",
        gate=f"127.0.0.1:{gate}",
        flower_port=flower,
    )
    side = Side("server", tmp_path / "op")
    yield side
    side.run("stop")


@pytest.fixture
def institution(tmp_path: Path) -> Iterator[Side]:
    """An institution that has not joined, stopped at the end."""
    config = VaultConfig(id="de", name="A hospital", jurisdiction="DE", server="127.0.0.1:9")
    Institution.create(tmp_path / "de", config)
    side = Side("client", tmp_path / "de")
    yield side
    side.run("stop")


def running(processes: list[psutil.Process], word: str) -> psutil.Process:
    """Find the one process of a service whose command line ends with this command."""
    (found,) = [process for process in processes if word in process.cmdline()]
    return found


def test_an_operators_processes_run_come_back_and_end(operator: Side) -> None:
    ran = operator.start()
    names = ["superlink", "superexec", "gate", "server"]
    until(lambda: list(operator.processes()) == names)
    again = operator.run("start")
    assert again.envelope["error"]["code"] == "COM-SERVICE-001"

    running(ran, "daemon").kill()
    until(lambda: operator.processes().get("server", {}).get("restarts") == 1)
    told = operator.processes()
    assert told["server"]["exit_code"] == -signal.SIGKILL
    assert {told[name]["restarts"] for name in names if name != "server"} == {0}
    assert all(one["alive"] for one in told.values())

    ran = family(ran[0].pid)
    assert len(ran) > len(names)
    assert operator.run("stop").data == {"ran": True}
    assert not any(is_alive(process) for process in ran)
    assert operator.run("status").exit_code == 75
    assert operator.run("stop").data == {"ran": False}


def test_an_operators_service_that_was_killed_leaves_nothing_and_starts_again(
    operator: Side,
) -> None:
    before = operator.start()
    before[0].kill()
    after = operator.start()  # on the same ports, so nothing of before may hold one
    assert not any(is_alive(process) for process in before)
    until(lambda: list(operator.processes()) == ["superlink", "superexec", "gate", "server"])
    assert {process.pid for process in before}.isdisjoint({process.pid for process in after})


def test_a_vault_that_does_not_come_up_is_tried_again_until_its_cause_is_mended(
    institution: Side,
) -> None:
    policy = institution.home / "policy.toml"
    policy.write_text("epsilom = 8\n")
    found = institution.run("start")
    assert found.exit_code == 75
    error = found.envelope["error"]
    assert error["code"] == "COM-SERVICE-004"
    assert "the nearest that exists is epsilon" in error["message"]
    assert institution.run("status").envelope["error"]["code"] == "COM-SERVICE-004"
    policy.unlink()
    until(lambda: institution.processes().get("vault", {}).get("alive"))


def test_a_vault_is_back_after_a_kill_and_after_the_machine_lost_its_power(
    institution: Side,
) -> None:
    ran = institution.start()
    running(ran, "daemon").kill()
    until(lambda: institution.processes().get("vault", {}).get("restarts") == 1)

    everything = family(ran[0].pid)
    for process in everything:
        process.suspend()  # so that nobody can do anything about what comes
    for process in everything:
        os.kill(process.pid, signal.SIGKILL)
    until(lambda: not any(is_alive(process) for process in everything))
    assert (institution.home / "run" / "control.sock").exists()
    assert institution.run("status").exit_code == 75
    institution.start()
    assert institution.processes()["vault"]["restarts"] == 0


def test_a_supernode_starts_when_its_institution_is_approved_and_finds_the_operator(
    operator: Side, tmp_path: Path
) -> None:
    operator.start()
    line = operator.run("invite", "be", "--region", "BE").data["invitation"]
    joined = Side("client", tmp_path / "be")
    assert joined.run("join", line, "--wait", "0").exit_code == 75
    try:
        joined.start()
        assert list(joined.processes()) == ["vault"]
        operator.run("approve", "be")
        joined.run("join", line)
        until(lambda: list(joined.processes()) == ["vault", "supernode"])
        until(lambda: "SuperNode ID: " in joined.log("supernode"), 60.0)
        assert joined.processes()["supernode"]["restarts"] == 0
    finally:
        joined.run("stop")
