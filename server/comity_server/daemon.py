"""The operator's daemon: every part wired to the others, and started in an order that is safe.

What was going on is back on the desk before the first call is answered, so no vault is told that
its time is over because the daemon was restarted.
"""

import signal
import threading
import time
from pathlib import Path
from types import FrameType

import structlog

from comity_common.optimizer import check_denormals
from comity_host import log
from comity_host.files import hold_alone
from comity_server.agreements import Agreements
from comity_server.arrivals import Arrivals
from comity_server.coordination import CoordinationService, coordination_server
from comity_server.coordinator import Coordinator
from comity_server.cosigning import Cosigner
from comity_server.desk import Desk, OnPhase
from comity_server.enrolment import EnrolmentService, enrolment_server
from comity_server.extending import Extending
from comity_server.flowerruns import FlowerRuns
from comity_server.heads import Heads
from comity_server.history import History
from comity_server.home import Home
from comity_server.mailbox import Mailbox
from comity_server.metrics import Metrics
from comity_server.models import Models
from comity_server.orders import Orders
from comity_server.registry import Registry
from comity_server.relay import Relay
from comity_server.status import StatusReport
from comity_server.transfer import TransferService, transfer_server
from comity_server.uploads import Uploads

GRACE_S = 2.0  # for calls under way when the daemon ends


class Daemon:
    """One running operator.

    Args:
        on_phase: told each boundary of a run after it is on disk.

    Attributes:
        port, enrolment_port: of the two listeners.

    Raises:
        LocalError: the directory is not an operator's.
        Problem: another daemon runs on it.
    """

    def __init__(self, directory: Path, on_phase: OnPhase | None = None) -> None:
        home = Home(directory)
        settings = home.settings()
        check_denormals()
        self._lock = hold_alone(home.lock)
        keys = home.signing_keys()
        self._store = home.open_store()
        registry = Registry(self._store)
        models = Models(home.models)
        self._mailbox = Mailbox(self._store, lambda: self._desk.notify())
        agreements = Agreements(self._store, registry, models, self._mailbox)
        history = History(self._store)
        uploads = Uploads(self._store, home.uploads)
        self._desk = Desk(
            keys=keys,
            registry=registry,
            agreements=agreements,
            history=history,
            uploads=uploads,
            totals=home.totals,
            orders=Orders(time.monotonic),
            on_phase=on_phase or _nobody,
        )
        heads = Heads(self._store, keys, self._mailbox)
        self._coordinator = Coordinator(
            store=self._store,
            keys=keys,
            registry=registry,
            agreements=agreements,
            history=history,
            mailbox=self._mailbox,
            uploads=uploads,
            models=models,
            heads=heads,
            desk=self._desk,
            deadlines=settings.deadlines,
            clock=time.monotonic,
            now=time.time,
        )
        arrivals = Arrivals(self._store, registry)
        extending = Extending(self._desk, self._mailbox, keys, time.time)
        self._transfer, self.port = transfer_server(
            TransferService(
                registry,
                self._mailbox,
                self._desk,
                Relay(
                    self._store,
                    agreements,
                    self._mailbox,
                    Cosigner(self._store, keys, time.time),
                    heads,
                ),
                arrivals,
            ),
            settings.transfer,
            authority=home.authority.read_bytes(),
            key=home.tls_key.read_bytes(),
            certificate=home.certificate.read_bytes(),
        )
        self.enrolment = EnrolmentService(home, registry, keys, arrivals, time.time)
        self._enrolment = None
        if settings.enrolment:
            self._enrolment, self.enrolment_port = enrolment_server(
                self.enrolment,
                settings.enrolment,
                key=home.tls_key.read_bytes(),
                certificate=home.certificate.read_bytes(),
            )
        report = StatusReport(registry, agreements, history, self._mailbox, uploads, self._desk)
        self._coordination = coordination_server(
            CoordinationService(
                self._desk, settings.deadlines.acknowledge_s, report.read, extending
            ),
            home.socket,
        )
        self._metrics = None
        if settings.metrics_port is not None:
            self._metrics = Metrics(settings.metrics_port, report.read)
        self._flower_runs = None
        if settings.flower is not None:
            self._flower_runs = FlowerRuns(
                home.superlink(),
                settings.flower.app,
                registry,
                agreements,
                self._desk,
                time.monotonic,
            )

    def start(self) -> None:
        """Take up what was going on, then answer."""
        if self._desk.agreement is not None:
            self._coordinator.resume(self._desk.agreement)
        self._transfer.start()
        if self._enrolment is not None:
            self._enrolment.start()
        self._coordination.start()
        self._coordinator.start()
        if self._flower_runs is not None:
            self._flower_runs.start()

    def close(self) -> None:
        """End all parts; what is under way goes on at the next start."""
        if self._flower_runs is not None:
            self._flower_runs.close()
        if self._metrics is not None:
            self._metrics.close()
        self._coordinator.close()
        self._mailbox.close()
        for server in (self._transfer, self._enrolment, self._coordination):
            if server is not None:
                server.stop(GRACE_S).wait()
        self._store.close()
        self._lock.close()


def serve(home: Path, on_phase: OnPhase | None = None) -> None:
    """Run the operator's daemon until SIGTERM or SIGINT.

    Args:
        home: the operator's directory.
        on_phase: told each boundary of a run after it is on disk.

    Raises:
        LocalError: the directory is not an operator's.
        Problem: another daemon runs on it.
    """
    daemon = Daemon(home, on_phase)
    log.set_up()
    ending = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    daemon.start()
    structlog.get_logger().info("serving", port=daemon.port)
    ending.wait()
    daemon.close()


def _nobody(_name: str, _institution: str, _round: int) -> None:
    pass
