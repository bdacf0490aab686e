"""`vault.toml`: unknown keys are refused, and what is written is read back."""

from pathlib import Path

import pytest

from comity_client.config import VaultConfig
from comity_client.home import Home
from comity_common.errors import LocalError
from comity_host.settings import write

GOOD = """
id = "inst-00"
name = "A hospital"
jurisdiction = "DE"
server = "operator.example:7001"
sockets = "/run/comity"
"""


def load(file: Path) -> VaultConfig:
    return Home(file.parent).settings()


def config(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "vault.toml"
    file.write_text(text)
    return file


def test_the_sockets_lie_in_their_directory_and_torch_gets_one_thread(tmp_path: Path) -> None:
    settings = load(config(tmp_path, GOOD))
    assert settings.orders == Path("/run/comity/orders.sock")
    assert settings.control == Path("/run/comity/control.sock")
    assert settings.threads == 1


@pytest.mark.parametrize("line", ["thread = 2", 'password = "hunter2"', "[server_]\nx = 1"])
def test_an_unknown_key_is_refused_and_its_value_not_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(LocalError, match=r"vault\.toml: unknown key \w+") as error:
        load(config(tmp_path, GOOD + line))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("key", ["id", "name", "jurisdiction", "server", "sockets"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"{key} ")]
    with pytest.raises(LocalError, match=f": {key}: "):
        load(config(tmp_path, "\n".join(lines)))


@pytest.mark.parametrize("server", ["operator", "operator:", "operator:port", "a:1:2", "a/b:1"])
def test_a_server_is_a_host_and_a_port(tmp_path: Path, server: str) -> None:
    with pytest.raises(LocalError, match=": server: "):
        load(config(tmp_path, GOOD.replace("operator.example:7001", server)))


@pytest.mark.parametrize("threads", ["0", "257", '"many"'])
def test_threads_have_bounds(tmp_path: Path, threads: str) -> None:
    with pytest.raises(LocalError, match=": threads: "):
        load(config(tmp_path, GOOD + f"threads = {threads}"))


@pytest.mark.parametrize("raw", [b"id = ", b"\xff\xfe\x00", b'id = "a"\nid = "b"'])
def test_what_is_no_toml_is_a_local_error(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "vault.toml").write_bytes(raw)
    with pytest.raises(LocalError, match=r"cannot read vault\.toml"):
        load(tmp_path / "vault.toml")


def test_a_missing_file_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot read vault\.toml"):
        load(tmp_path / "vault.toml")


@pytest.mark.parametrize(
    "name",
    ['The "Charité"', "C:\\new\\table", "Ħospital ñ 🏥", "'single'", "two\nlines", "a\ttab\x01"],
)
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    settings = VaultConfig(
        id="inst-00",
        name=name,
        jurisdiction="DE",
        server="127.0.0.1:1",
        sockets=tmp_path / 'a "b"',
        threads=3,
    )
    write(tmp_path / "vault.toml", settings)
    assert load(tmp_path / "vault.toml") == settings
