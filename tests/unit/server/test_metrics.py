"""What Prometheus reads is what the status says, on loopback alone."""

import urllib.request
from pathlib import Path

import pytest
from tests.simulation.network import Federation

from comity_common.errors import Problem
from comity_host import settings
from comity_server.daemon import Daemon
from comity_server.metrics import Metrics

STATUS = {
    "stage": "collecting",
    "round": 3,
    "certified": 1,
    "scored": 2,
    "rounds": [{"void": False, "seconds": 7.5}, {"void": True, "seconds": 2.0}],
    "institutions": [
        {"id": "berlin", "connected": True, "online": False, "uploaded_bytes": 512},
        {"id": "paris", "connected": False, "online": False, "uploaded_bytes": 0},
    ],
}


def read(port: int) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return set(answer.read().decode().splitlines())


def test_the_figures_are_those_of_the_status() -> None:
    metrics = Metrics(0, lambda: STATUS)
    try:
        lines = read(metrics.port)
    finally:
        metrics.close()
    assert {
        "comity_round 3.0",
        'comity_rounds_total{end="certified"} 1.0',
        'comity_rounds_total{end="scored"} 2.0',
        'comity_rounds_total{end="void"} 1.0',
        'comity_stage{stage="collecting"} 1.0',
        'comity_connected{id="berlin"} 1.0',
        'comity_connected{id="paris"} 0.0',
        'comity_uploaded_bytes{id="berlin"} 512.0',
        "comity_round_seconds 2.0",
    } <= lines


def test_a_port_that_is_taken_is_one_sentence() -> None:
    metrics = Metrics(0, lambda: STATUS)
    try:
        with pytest.raises(Problem, match=r"cannot listen at 127\.0\.0\.1"):
            Metrics(metrics.port, lambda: STATUS)
    finally:
        metrics.close()


def test_a_daemon_with_a_metrics_port_answers_there(tmp_path: Path) -> None:
    federation = Federation.make(tmp_path / "operator", 3)
    probe = Metrics(0, lambda: STATUS)
    port = probe.port
    probe.close()
    wanted = federation.home.settings().model_copy(update={"metrics_port": port})
    settings.write(federation.home.config, wanted)
    daemon = Daemon(federation.home.path)
    daemon.start()
    try:
        assert 'comity_connected{id="inst-00"} 0.0' in read(port)
    finally:
        daemon.close()
