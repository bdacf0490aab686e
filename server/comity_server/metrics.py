"""Figures for Prometheus, on loopback alone: where the run is and who is there.

They say what `comity server status` says, and nothing about rows, deltas or privacy budgets.
"""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from comity_common.errors import Problem

HOST = "127.0.0.1"


class StatusCollector(Collector):
    """Turns the daemon's status into figures whenever they are asked for."""

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Tell every figure."""
        state = self._status()
        yield GaugeMetricFamily("comity_round", "Newest round begun.", value=state["round"])
        ended = CounterMetricFamily("comity_rounds", "Rounds that ended, by how.", labels=["end"])
        ended.add_metric(["certified"], state["certified"])
        ended.add_metric(["scored"], state["scored"])
        ended.add_metric(["void"], sum(one["void"] for one in state["rounds"]))
        yield ended
        stage = GaugeMetricFamily("comity_stage", "1 for the present stage.", labels=["stage"])
        stage.add_metric([state["stage"]], 1)
        yield stage
        connected = GaugeMetricFamily(
            "comity_connected", "1 if the vault of an institution is connected.", labels=["id"]
        )
        online = GaugeMetricFamily(
            "comity_online", "1 if Flower's node of an institution is online.", labels=["id"]
        )
        uploaded = GaugeMetricFamily(
            "comity_uploaded_bytes", "Bytes of the present upload that are here.", labels=["id"]
        )
        for one in state["institutions"]:
            connected.add_metric([one["id"]], one["connected"])
            online.add_metric([one["id"]], one["online"])
            uploaded.add_metric([one["id"]], one["uploaded_bytes"])
        yield from (connected, online, uploaded)
        if state["rounds"]:
            seconds = state["rounds"][-1]["seconds"]
            yield GaugeMetricFamily("comity_round_seconds", "Length of the last round.", seconds)


class Metrics:
    """The listener.

    Attributes:
        port: on loopback.

    Raises:
        Problem: the port is taken.
    """

    def __init__(self, port: int, status: Callable[[], dict[str, Any]]) -> None:
        registry = CollectorRegistry()
        registry.register(StatusCollector(status))
        try:
            self._server, self._thread = start_http_server(port, addr=HOST, registry=registry)
        except OSError:
            raise Problem("COM-SERVER-003", address=f"{HOST}:{port}") from None
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
