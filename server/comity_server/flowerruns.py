"""Keeps one ServerApp alive: starts a new run of Flower when none has asked for a while.

The ServerApp remembers nothing, so a lost one costs a few seconds. Starting takes seconds too and
may fail while the SuperLink is away; it happens in a thread of its own and never more often than
every twenty seconds.
"""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from comity_common.errors import LocalError
from comity_server.agreements import Agreements
from comity_server.desk import Desk
from comity_server.flower.superlink import BUNDLE, SuperLink
from comity_server.registry import Registry

LOOK_EVERY_S = 1.0
START_EVERY_S = 20.0
RECONNECT_S = 5.0  # a ServerApp that outlived our restart asks again within one or two

log = structlog.get_logger()


class FlowerRuns:
    """The thread that starts runs.

    Args:
        app: the bundle; None for the one that comes with this package.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        link: SuperLink,
        app: Path | None,
        registry: Registry,
        agreements: Agreements,
        desk: Desk,
        clock: Callable[[], float],
    ) -> None:
        self._link = link
        self._app = app or BUNDLE
        self._registry = registry
        self._agreements = agreements
        self._desk = desk
        self._clock = clock
        running = desk.agreement
        had_one = running is not None and agreements.flower_run(running.digest) is not None
        self._start_at = clock() + (RECONNECT_S if had_one else 0.0)
        self._register_at = clock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flower-runs", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._link.prepare()
        self._thread.start()

    def close(self) -> None:
        """Stop looking; a start that is under way ends by itself."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            if self._is_listening():
                self._try(self._register_if_due)
                self._try(self._start_if_wanted)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except LocalError as error:
            log.warning("flower-failed", error=str(error))
        except Exception:
            log.exception("flower-failed")

    def _register_if_due(self) -> None:
        if self._clock() >= self._register_at:
            self._register_at = self._clock() + START_EVERY_S
            self._registry.register_nodes(self._link)
            self._register_at = self._clock()

    def _start_if_wanted(self) -> None:
        with self._desk.moved:
            agreement = self._desk.agreement
            alive = self._desk.orders.is_alive
            if agreement is None or alive or self._clock() < self._start_at:
                return
            # Before it starts: from now on the first new run that asks is ours.
            self._desk.orders.expect_new_run()
        self._start_at = self._clock() + START_EVERY_S
        run = self._link.start_run(self._app)
        self._agreements.set_flower_run(agreement.digest, run)
        log.info("flower-run-started", run=run)

    def _is_listening(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._link.port), timeout=1.0):
                return True
        except OSError:
            return False
