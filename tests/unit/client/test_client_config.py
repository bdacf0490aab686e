"""`vault.toml`: unknown keys are refused, and what is written is read back."""

from pathlib import Path

import pytest

from comity_client.compute import Compute
from comity_client.config import VaultConfig
from comity_client.home import Home
from comity_common.errors import LocalError, Problem
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


@pytest.mark.parametrize("key", ["id", "name", "jurisdiction", "server"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"{key} ")]
    with pytest.raises(LocalError, match=f": {key}: "):
        load(config(tmp_path, "\n".join(lines)))


@pytest.mark.parametrize("server", ["operator", "operator:", "operator:port", "a:1:2", "a/b:1"])
def test_a_server_is_a_host_and_a_port(tmp_path: Path, server: str) -> None:
    with pytest.raises(LocalError, match=": server: "):
        load(config(tmp_path, GOOD.replace("operator.example:7001", server)))


def test_without_a_directory_of_their_own_the_sockets_lie_in_the_institutions(
    tmp_path: Path,
) -> None:
    settings = load(config(tmp_path, GOOD.replace('sockets = "/run/comity"', "")))
    assert settings.orders == tmp_path / "run" / "orders.sock"
    assert settings.control == tmp_path / "run" / "control.sock"


def test_a_socket_that_is_too_deep_for_the_system_is_a_problem_with_a_way_out(
    tmp_path: Path,
) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    settings = load(config(deep, GOOD.replace('sockets = "/run/comity"', "")))
    with pytest.raises(Problem, match="the path of a socket is too long") as error:
        _ = settings.control
    assert error.value.code == "COM-SERVICE-005"
    assert error.value.facts["setting"] == "sockets in vault.toml"


def test_other_users_need_a_directory_that_they_can_enter(tmp_path: Path) -> None:
    alone = GOOD.replace('sockets = "/run/comity"', "")
    assert load(config(tmp_path, GOOD + "flower_uids = [1234]")).flower_uids == (1234,)
    with pytest.raises(LocalError, match=r"flower_uids: .*a directory that these users can enter"):
        load(config(tmp_path, alone + "flower_uids = [1234]"))


@pytest.mark.parametrize("key", ["gate", "proxy"])
@pytest.mark.parametrize("value", ["operator", "a:1:2", "http://name:hunter2@way-out:3128"])
def test_gate_and_proxy_are_addresses_without_a_password(
    tmp_path: Path, key: str, value: str
) -> None:
    with pytest.raises(LocalError, match=f": {key}: ") as error:
        load(config(tmp_path, GOOD + f'{key} = "{value}"'))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("threads", ["0", "257", '"many"'])
def test_threads_have_bounds(tmp_path: Path, threads: str) -> None:
    with pytest.raises(LocalError, match=": threads: "):
        load(config(tmp_path, GOOD + f"threads = {threads}"))


def test_what_training_may_use_is_found_out_unless_it_is_said(tmp_path: Path) -> None:
    found = load(config(tmp_path, GOOD)).compute
    assert found == Compute(threads=1, precision="auto", device="auto")
    said = load(
        config(tmp_path, GOOD + 'threads = 2\nprecision = "float32"\ndevice = "cpu"')
    ).compute
    assert said == Compute(threads=2, precision="float32", device="cpu")


@pytest.mark.parametrize("line", ['precision = "float16"', 'device = "tpu"', "precision = 16"])
def test_precision_and_device_are_of_a_closed_list(tmp_path: Path, line: str) -> None:
    key = line.partition(" ")[0]
    with pytest.raises(LocalError, match=f": {key}: "):
        load(config(tmp_path, GOOD + line))


@pytest.mark.parametrize("raw", [b"id = ", b"\xff\xfe\x00", b'id = "a"\nid = "b"'])
def test_what_is_no_toml_is_a_local_error(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "vault.toml").write_bytes(raw)
    with pytest.raises(LocalError, match=r"cannot read vault\.toml"):
        load(tmp_path / "vault.toml")


def test_a_missing_file_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="there is no institution in"):
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
