"""The commands and environments of the operator's Flower daemons."""

import stat
import tomllib
from pathlib import Path

import pytest

from comity_server.flower.superlink import BUNDLE, SuperLink


@pytest.fixture
def link(tmp_path: Path) -> SuperLink:
    return SuperLink(
        home=tmp_path / "flower",
        port=18443,
        certificate=Path("server.pem"),
        key=Path("server.key"),
        authority=Path('a "strange" ca.pem'),
        coordinator=Path("coordinator.sock"),
    )


def test_telemetry_and_update_checks_are_off_and_nothing_secret_is_inherited(
    link: SuperLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_SECRET", "s3")
    monkeypatch.setenv("HTTPS_PROXY", "http://elsewhere")
    for command in (link.superlink_command(), link.superexec_command()):
        assert command.env["FLWR_TELEMETRY_ENABLED"] == "0"
        assert command.env["FLWR_DISABLE_UPDATE_CHECK"] == "1"
        assert command.env["FLWR_HOME"] == str(link.home)
        assert not {"OUR_SECRET", "HTTPS_PROXY"} & set(command.env)


def test_only_the_process_that_starts_serverapps_learns_the_coordinators_socket(
    link: SuperLink,
) -> None:
    assert link.superexec_command().env["COMITY_COORDINATOR"] == "coordinator.sock"
    assert "COMITY_COORDINATOR" not in link.superlink_command().env


def test_the_superlink_listens_on_loopback_asks_for_node_keys_and_installs_nothing(
    link: SuperLink,
) -> None:
    argv = link.superlink_command().argv
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[argv.index("--isolation") + 1] == "process"
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(argv)
    assert "--insecure" not in argv


def test_prepare_keeps_the_secret_to_its_owner_and_across_restarts(link: SuperLink) -> None:
    link.prepare()
    secret = link.home / "superexec.secret"
    written = secret.read_text()
    link.prepare()
    assert secret.read_text() == written
    assert len(written) == 64
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(link.home.stat().st_mode) == 0o700


def test_prepare_writes_a_configuration_that_names_the_superlink(link: SuperLink) -> None:
    link.prepare()
    config = tomllib.loads((link.home / "config.toml").read_text())
    assert config["superlink"]["comity"] == {
        "address": "127.0.0.1:18443",
        "root-certificates": 'a "strange" ca.pem',
    }


def test_the_bundle_holds_no_code_and_names_the_installed_apps() -> None:
    assert [path.name for path in BUNDLE.iterdir()] == ["pyproject.toml"]
    bundle = tomllib.loads((BUNDLE / "pyproject.toml").read_text())
    assert bundle["project"]["dependencies"] == []
    assert bundle["tool"]["flwr"]["app"]["components"] == {
        "serverapp": "comity_server.flower_app:app",
        "clientapp": "comity_client.flower_app:app",
    }
