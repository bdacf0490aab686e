"""What the operator's service runs, what it checks before, and what a terminal sees of it."""

import shutil
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.commands import comity

from comity_common.errors import LocalError, Problem
from comity_host import settings
from comity_host.ports import HeldPorts
from comity_server import service
from comity_server.config import ServerConfig
from comity_server.home import Home, init

SAMPLE = Path(__file__).parents[3] / "deployments" / "systemd" / "comity-server.service"
PLACEHOLDERS = ("/path/to/venv/bin/python", "/path/to/home")
SETTINGS = ("transfer", "enrolment", "gate", "flower.port", "metrics_port")


@pytest.fixture
def ports() -> dict[str, int]:
    """A free port for each setting."""
    with HeldPorts(len(SETTINGS)) as held:
        return dict(zip(SETTINGS, held.numbers, strict=True))


@pytest.fixture
def home(tmp_path: Path, ports: dict[str, int]) -> Home:
    init(
        tmp_path / "op",
        name="Uni",
        jurisdiction="DE",
        transfer=f"127.0.0.1:{ports['transfer']}",
        enrolment=f"127.0.0.1:{ports['enrolment']}",
        gate=f"127.0.0.1:{ports['gate']}",
        flower_port=ports["flower.port"],
        metrics_port=ports["metrics_port"],
    )
    return Home(tmp_path / "op")


def set_(home: Home, **changes: object) -> None:
    settings.write(home.config, home.settings().model_copy(update=changes))


def test_an_operator_with_flower_has_four_processes_that_come_back_at_once(
    home: Home, ports: dict[str, int]
) -> None:
    found = service.processes(home)
    assert [one.name for one in found] == ["superlink", "superexec", "gate", "server"]
    assert {one.restart_after_s for one in found} == {0.0}
    assert {one.log.parent for one in found} == {home.logs}
    gate, server = found[2:]
    assert gate.argv[gate.argv.index("--port") + 1] == str(ports["gate"])
    assert gate.argv[gate.argv.index("--superlink") + 1] == f"127.0.0.1:{ports['flower.port']}"
    assert server.argv[-4:] == ("server", "daemon", "--home", str(home.path))


def test_no_gate_without_an_address_and_nothing_of_flower_without_its_section(home: Home) -> None:
    set_(home, gate="")
    assert [one.name for one in service.processes(home)] == ["superlink", "superexec", "server"]
    set_(home, flower=None)
    assert [one.name for one in service.processes(home)] == ["server"]


def test_a_gate_that_leads_nowhere_is_refused(home: Home) -> None:
    set_(home, flower=None)
    with pytest.raises(LocalError, match=r"flower: .*expected a section \[flower\]"):
        home.settings()


@pytest.mark.parametrize("key", ["transfer", "gate", "enrolment"])
@pytest.mark.parametrize("value", ["operator", "operator:", "a:1:2", "http://a:1"])
def test_a_listener_is_a_host_and_a_port(home: Home, key: str, value: str) -> None:
    set_(home, **{key: value})
    with pytest.raises(LocalError, match=f": {key}: "):
        home.settings()


def test_optional_listeners_are_off(home: Home) -> None:
    config = ServerConfig(id="op", name="Uni", jurisdiction="DE", transfer="127.0.0.1:7443")
    assert service.listeners(config) == {"transfer": "127.0.0.1:7443"}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_port_in_use_is_named_with_its_setting_before_anything_is_started(
    home: Home, ports: dict[str, int], setting: str
) -> None:
    with socket.create_server(("127.0.0.1", ports[setting])):
        found = comity("server", "start", "--home", home.path, "--json")
    assert found.exit_code == 1
    error = found.envelope["error"]
    assert error["code"] == "COM-SERVICE-002"
    assert f"cannot listen on 127.0.0.1:{ports[setting]}, which is {setting}" in error["message"]
    assert list(home.logs.iterdir()) == []


def test_two_settings_with_one_port_are_a_problem(home: Home, ports: dict[str, int]) -> None:
    set_(home, metrics_port=ports["gate"])
    with pytest.raises(Problem, match=r"which is metrics_port .*: gate has the same port"):
        service.check_ports(home.settings())


def test_a_home_that_is_too_deep_for_a_socket_names_the_way_out(home: Home, tmp_path: Path) -> None:
    deep = home.path.rename(tmp_path / ("deep" * 30))
    for command in ("start", "status"):
        found = comity("server", command, "--home", deep, "--json")
        assert found.exit_code == 1
        assert found.envelope["error"]["code"] == "COM-SERVICE-005"
        assert "socket in server.toml" in found.envelope["error"]["fix"]


def test_start_where_no_operator_is_says_so_and_makes_nothing(tmp_path: Path) -> None:
    for words in (("start",), ("start", "--foreground"), ("stop",), ("status",)):
        found = comity("server", *words, "--home", tmp_path / "nobody")
        assert found.exit_code == 1
        assert found.error.splitlines()[-1].startswith("COM-SERVER-002 there is no operator in")
    assert list(tmp_path.iterdir()) == []


def test_stop_of_a_server_that_does_not_run_is_harmless(home: Home) -> None:
    assert comity("server", "stop", "--home", home.path, "--json").data == {"ran": False}


def test_new_settings_survive_writing(home: Home) -> None:
    written = tomllib.loads(home.config.read_text())
    assert written["metrics_port"] == home.settings().metrics_port
    assert written["gate"] == home.settings().gate


def test_the_printed_unit_is_one_that_systemd_takes(home: Home, tmp_path: Path) -> None:
    text = comity("server", "unit", "--home", home.path, "--json").data["unit"]
    for line in ("Restart=always", "KillMode=mixed", "WantedBy=default.target"):
        assert line in text.splitlines()
    if (program := shutil.which("systemd-analyze")) is None:
        return
    (tmp_path / "comity-server.service").write_text(text)
    (tmp_path / "runtime").mkdir()
    done = subprocess.run(
        [program, "verify", "--user", tmp_path / "comity-server.service"],
        env={"XDG_RUNTIME_DIR": str(tmp_path / "runtime"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sample_is_what_the_command_prints(home: Home) -> None:
    printed = comity("server", "unit", "--home", home.path, "--json").data["unit"]
    python, *_, path = service.service.command("server", home.path)
    sample = printed.replace(python, PLACEHOLDERS[0]).replace(path, PLACEHOLDERS[1])
    assert SAMPLE.read_text("utf-8") == sample
