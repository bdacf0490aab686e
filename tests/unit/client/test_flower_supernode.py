"""The SuperNode's command, its environment and its key."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from comity_client.flower.supernode import SuperNode, make_node_key


def test_the_key_is_a_p384_pair_in_openssh_format_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = make_node_key(tmp_path)
    private = load_ssh_private_key(path.read_bytes(), None)
    public = load_ssh_public_key(path.with_suffix(".pub").read_bytes())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.curve.name == "secp384r1"
    assert private.public_key() == public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    before = make_node_key(tmp_path).read_bytes()
    with pytest.raises(FileExistsError):
        make_node_key(tmp_path)
    assert (tmp_path / "node").read_bytes() == before


def test_telemetry_is_off_and_the_institutions_environment_stays_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "s3")
    monkeypatch.setenv("HTTPS_PROXY", "http://way-out:3128")
    node = SuperNode(
        home=tmp_path / "flower",
        gate="gate.example:8443",
        authority=Path("ca.pem"),
        key=Path("node"),
        vault=Path("/run/a vault.sock"),
        port=19440,
    )
    node.prepare()
    command = node.command()
    assert command.env["FLWR_TELEMETRY_ENABLED"] == "0"
    assert command.env["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert command.env["HTTPS_PROXY"] == "http://way-out:3128"
    assert "DATABASE_PASSWORD" not in command.env
    assert (tmp_path / "flower" / "config.toml").exists()
    ours = replace(node, proxy="http://ours:8080").command().env
    assert {ours["HTTPS_PROXY"], ours["https_proxy"]} == {"http://ours:8080"}
    config = command.argv[command.argv.index("--node-config") + 1]
    assert config == 'vault="/run/a vault.sock"'
    assert "--insecure" not in command.argv
