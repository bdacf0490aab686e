"""Two daemons on one home: the second is refused, and the first goes on."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.processes import until

from comity_client.config import VaultConfig
from comity_client.control import ask
from comity_client.institution import Institution
from comity_common.errors import Problem

DAEMON = [sys.executable, "-m", "comity_host.cli", "client", "daemon", "--home"]


def test_a_second_daemon_beside_a_running_one_is_refused_and_the_first_goes_on(
    tmp_path: Path,
) -> None:
    config = VaultConfig(
        id="de", name="A hospital", jurisdiction="DE", server="127.0.0.1:9", sockets=tmp_path / "s"
    )
    home = Institution.create(tmp_path / "de", config).home
    first = subprocess.Popen([*DAEMON, str(home.path)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(config))
        second = subprocess.run([*DAEMON, str(home.path)], capture_output=True, timeout=60)
        assert second.returncode == 1
        told = f"COM-SERVICE-007 another daemon runs in {home.path}. "
        assert second.stderr.decode().startswith(told)
        assert answers(config)
        assert first.poll() is None
    finally:
        first.terminate()
        assert first.wait(30) == 0
    with pytest.raises(Problem):
        ask(config.control)


def answers(config: VaultConfig) -> bool:
    """Tell whether the vault answers on its control socket."""
    try:
        return ask(config.control)["id"] == config.id
    except Problem:
        return False
