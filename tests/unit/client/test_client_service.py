"""What an institution's service runs, and what a terminal sees of it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.commands import comity

from comity_client import service
from comity_client.config import VaultConfig
from comity_client.flower.supernode import RESTART_AFTER_S
from comity_client.home import Home
from comity_client.institution import Institution
from comity_host import settings

SAMPLE = Path(__file__).parents[3] / "deployments" / "systemd" / "comity-client.service"
PLACEHOLDERS = ("/path/to/venv/bin/python", "/path/to/home")
GATE = "gate.example:7445"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    config = VaultConfig(
        id="de", name="A hospital", jurisdiction="DE", server="op.example:7443", threads=4
    )
    return Institution.create(tmp_path / "de", config).home


def join(home: Home, **changes: str) -> None:
    """Do to a home what joining does."""
    home.keys.joinpath("tls.pem").write_text("a certificate")
    set_(home, gate=GATE, **changes)


def set_(home: Home, **changes: str) -> None:
    written = settings.load(home.config, VaultConfig)
    settings.write(home.config, written.model_copy(update=changes))


def test_an_institution_that_has_not_joined_has_a_vault_alone(home: Home) -> None:
    (vault,) = service.wanted(home, ())
    assert vault.name == "vault"
    assert vault.restart_after_s == 0.0
    assert vault.argv[-4:] == ("client", "daemon", "--home", str(home.path))
    assert vault.env["OMP_NUM_THREADS"] == "4"


def test_a_supernode_needs_both_a_certificate_and_a_way_to_flower(home: Home) -> None:
    set_(home, gate=GATE)
    assert not service.has_joined(home)
    join(home)
    assert service.has_joined(home)
    set_(home, gate="")
    assert not service.has_joined(home)


def test_who_joins_while_the_vault_runs_gets_a_supernode_once(home: Home) -> None:
    assert service.wanted(home, {"vault"}) == []
    join(home)
    (node,) = service.wanted(home, {"vault"})
    assert node.name == "supernode"
    assert service.wanted(home, {"vault", "supernode"}) == []


def test_the_supernode_calls_the_gate_through_the_proxy_with_the_operators_authority(
    home: Home,
) -> None:
    join(home, proxy="http://way-out:3128")
    node = service.supernode(home, 20001)
    assert node.restart_after_s == RESTART_AFTER_S
    value = dict(zip(node.argv[1:], node.argv[2:], strict=False))
    assert value["--superlink"] == GATE
    assert value["--root-certificates"] == str(home.keys / "authority.pem")
    assert value["--auth-supernode-private-key"] == str(home.flower / "node")
    assert value["--port"] == "20001"
    assert value["--node-config"] == f'vault="{home.run / "orders.sock"}"'
    assert node.env["HTTPS_PROXY"] == "http://way-out:3128"


def test_a_vault_gets_no_proxy_and_nothing_else_of_our_environment(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(home, proxy="http://way-out:3128")
    monkeypatch.setenv("DATABASE_PASSWORD", "s3")
    assert not {"DATABASE_PASSWORD", "HTTPS_PROXY"} & set(service.vault(home).env)


def test_start_where_no_institution_is_says_so_and_makes_nothing(tmp_path: Path) -> None:
    for words in (("start",), ("start", "--foreground"), ("stop",), ("status",)):
        found = comity("client", *words, "--home", tmp_path / "nobody")
        assert found.exit_code == 1
        assert found.error.splitlines()[-1].startswith("COM-CLIENT-002 there is no institution in")
    assert list(tmp_path.iterdir()) == []


def test_start_in_a_directory_that_is_too_deep_names_the_way_out_and_starts_nothing(
    home: Home, tmp_path: Path
) -> None:
    deep = home.path.rename(tmp_path / ("deep" * 30))
    found = comity("client", "start", "--home", deep)
    assert found.exit_code == 1
    assert "Fix: choose a shorter --home, or a short directory with sockets in vault.toml" in (
        found.error
    )
    assert not (deep / "run").exists()


def test_stop_and_status_of_a_vault_that_does_not_run(home: Home) -> None:
    assert comity("client", "stop", "--home", home.path, "--json").data == {"ran": False}
    found = comity("client", "status", "--home", home.path, "--json")
    assert found.exit_code == 75
    assert found.envelope["error"]["code"] == "COM-CLIENT-001"


def test_the_printed_unit_is_one_that_systemd_takes(home: Home, tmp_path: Path) -> None:
    strange = home.path.rename(tmp_path / 'a "strange" 100% $HOME')
    text = comity("client", "unit", "--home", strange, "--json").data["unit"]
    assert comity("client", "unit", "--home", strange).output == text
    check_unit(text, tmp_path / "comity-client.service")


def check_unit(text: str, file: Path) -> None:
    """Check a unit with systemd where it is installed, and its keys everywhere."""
    for line in ("Restart=always", "KillMode=mixed", "WantedBy=default.target"):
        assert line in text.splitlines()
    if (program := shutil.which("systemd-analyze")) is None:
        return
    file.write_text(text)
    runtime = file.parent / "runtime"
    runtime.mkdir()
    done = subprocess.run(
        [program, "verify", "--user", file],
        env={"XDG_RUNTIME_DIR": str(runtime), "HOME": str(file.parent)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sample_is_what_the_command_prints(home: Home) -> None:
    printed = comity("client", "unit", "--home", home.path, "--json").data["unit"]
    python, *_, path = service.service.command("client", home.path)
    sample = printed.replace(python, PLACEHOLDERS[0]).replace(path, PLACEHOLDERS[1])
    assert SAMPLE.read_text("utf-8") == sample
