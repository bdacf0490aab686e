"""The vault's process: sockets in, one worker, one connection out.

Flower's ClientApp and the institution's tools ask on unix sockets; the operator's mailbox is
followed in a thread of its own. Both only put work in front of the worker, which does one thing at
a time and may be killed at any point.
"""

import contextlib
import os
import queue
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.agreements import AgreementState, Standing
from comity_client.compute import Compute
from comity_client.contributions import Trains
from comity_client.correspondence import Correspondence
from comity_client.cosigning import Cosigner
from comity_client.datasets import Source
from comity_client.failures import Unreachable
from comity_client.institution import Institution
from comity_client.intake import LineSocket, order_answer
from comity_client.limits import RefusedOrders
from comity_client.mailbox import Mailbox
from comity_client.mailroom import Looks, Mailroom
from comity_client.releases import first_model
from comity_client.selftest import gate
from comity_client.uplink import Delivery, Uplink
from comity_client.vault import OnPhase, Vault
from comity_common.agreement import Agreement
from comity_common.errors import LocalError, PeerError, Problem, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.optimizer import ModelState
from comity_common.wire import digest_of
from comity_host.files import hold_alone, is_disk_full

log = structlog.get_logger()

IDLE_S = 0.5
AGAIN_S = 30.0
JOIN_S = 10.0
BETWEEN = {
    AgreementState.OFFERED: "an agreement waits for your decision",
    AgreementState.SIGNED: "waiting for the others to sign",
    AgreementState.IN_FORCE: "done",
}
BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
NOT_YET = "not connected yet"


class Works(Trains, Looks, Protocol):
    """What the walk and the mailroom need of a workbench."""

    @property
    def first_state(self) -> ModelState:
        """The state from which a new model starts."""

    def examine(self) -> gate.Examined:
        """Try the machinery of training out; see `selftest`."""


def set_up_workbench(agreement: Agreement, data: Source, compute: Compute) -> Works:
    """Build what trains; see `Workbench`."""
    from comity_client.workbench import Workbench  # torch takes seconds to import

    return Workbench(agreement, data, compute)


def serve(home: Path, on_phase: OnPhase = lambda name, round: None) -> None:
    """Run the vault of one institution until SIGTERM or SIGINT.

    Args:
        on_phase: told at every boundary of the walk; what it does happens in the worker.

    Raises:
        Problem: another vault runs there.
    """
    os.umask(0o077)  # what the vault writes is for its own user alone
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    institution = Institution(home)
    with hold_alone(institution.home.lock):
        daemon = Daemon(institution, on_phase)
        try:
            daemon.run(stop)
        finally:
            daemon.close()


class Daemon:
    """One vault: it listens to its operator, and works on the agreement that is in force.

    Args:
        set_up: builds what trains, of an agreement, its rows and what it may compute with.
    """

    def __init__(
        self,
        institution: Institution,
        on_phase: OnPhase,
        set_up: Callable[[Agreement, Source, Compute], Works] = set_up_workbench,
    ) -> None:
        self._inst = institution
        self._on_phase = on_phase
        self._set_up = set_up
        self._inbox: queue.Queue[Delivery | None] = queue.Queue(maxsize=256)  # None: an order came
        self._mailbox = Mailbox(institution.store)
        self._pending: Delivery | None = None
        self._tries = 0
        self._vault: Vault | None = None
        self._refusals = RefusedOrders(institution.ledger)
        self._stage = "starting"
        self._away = NOT_YET
        self._barred: set[Digest] = set()  # by the self-test
        self._counted = (0, 0)
        self._sockets = [
            LineSocket(
                institution.config.orders,
                order_answer(self._accept, self._refused),
                institution.config.flower_uids,
            ),
            LineSocket(institution.config.control, self._status),
        ]

    def close(self) -> None:
        """Stop listening."""
        for socket in self._sockets:
            socket.close()

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        uplink = self._join(stop)
        if uplink is None:
            return
        correspondence = Correspondence(self._inst, uplink)
        follower = threading.Thread(target=self._follow, args=(uplink, stop), daemon=True)
        follower.start()
        try:
            while not stop.is_set():
                with self._enduring_a_full_disk(stop):
                    standing = next(filter(self._is_due, self._inst.agreements.active()), None)
                    if standing is None:
                        self._stage = self._between()
                        self._turn(correspondence, stop, lambda d: self._is_bell(d, correspondence))
                    else:
                        self._work_on(standing, uplink, correspondence, stop)
        finally:
            uplink.close()
            follower.join(timeout=JOIN_S)  # an interpreter must not end under a call of gRPC

    @contextlib.contextmanager
    def _enduring_a_full_disk(self, stop: threading.Event) -> Iterator[None]:
        """Rest when the disk is full; what was begun is taken up, or given up, after that."""
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            if not is_disk_full(error):
                raise
            log.error("disk full")
            self._stage = "no space is left on the disk; waiting until there is"
            stop.wait(AGAIN_S)

    def _join(self, stop: threading.Event) -> Uplink | None:
        """Return the way to the operator, once there is one; None if the daemon ends before."""
        while not stop.is_set():
            try:
                return self._inst.uplink()
            except Problem as problem:
                self._stage = str(problem)
                stop.wait(IDLE_S)
        return None

    def _work_on(
        self,
        standing: Standing,
        uplink: Uplink,
        correspondence: Correspondence,
        stop: threading.Event,
    ) -> None:
        """Take part in one agreement until it is over, or this institution has left it."""
        os.environ["HF_HUB_OFFLINE"] = "1"  # the uplink alone opens a socket
        inst, agreement = self._inst, standing.agreement
        if gate.is_barred(inst.ledger, agreement.digest):
            self._barred.add(agreement.digest)
            return
        self._stage = "loading model and data"
        try:
            data = inst.data.source(standing.dataset)
            workbench = self._set_up(agreement, data, inst.config.compute)
        except LocalError as error:
            log.error("cannot train", why=str(error))
            self._stage = f"cannot train: {error}"
            stop.wait(AGAIN_S)
            return
        self._stage = "trying out the machinery (self-test)"
        private = agreement.privacy.is_private  # else nothing is promised that could be tried
        if private and not gate.passes(inst, agreement.digest, workbench.examine):
            return
        with inst.store.transaction() as tx:
            inst.progress.begin(tx, agreement)
        if inst.progress.get(agreement.digest).certified == 0:
            try:
                first = first_model(inst, agreement, uplink, workbench.first_state)
            except (Unreachable, PeerError) as error:
                self._stage = f"cannot get the model: {error}"
                stop.wait(AGAIN_S)
                return
            inst.models.save(agreement.digest, first)
        vault = Vault(inst, standing, workbench, uplink, self._on_phase)
        vault.recover()
        mailroom = Mailroom(inst, agreement, vault, uplink, correspondence, workbench)
        self._vault, self._stage = vault, ""
        self._counted = uplink.sent, uplink.received
        uplink.be_ready(agreement.digest)

        def go_on(delivery: Delivery) -> None:
            if not self._is_bell(delivery, correspondence):
                mailroom.deliver(delivery)

        try:
            while not stop.is_set() and self._is_due(standing):
                self._turn(correspondence, stop, go_on, vault)
                self._count(uplink, agreement.digest)
            if not inst.agreements.is_in_force(agreement.digest) or self._gives_way(agreement):
                vault.leave()
        finally:
            self._vault = None
            uplink.be_ready(None)

    def _turn(
        self,
        correspondence: Correspondence,
        stop: threading.Event,
        handle: Callable[[Delivery], object],
        vault: Vault | None = None,
    ) -> None:
        """Do whatever is due, one thing at a time, then wait a little for a parcel or an order."""
        try:
            correspondence.send_waiting()
            if self._pending is not None:
                self._mailbox.take(self._pending, handle)
                self._pending = None
                correspondence.send_waiting()  # its answer; others may wait for it
            while vault is not None and vault.go_on():
                correspondence.send_waiting()
            self._tries = 0
        except Unreachable as error:
            log.warning("operator unreachable", why=str(error))
            stop.wait(BACKOFF_S[min(self._tries, len(BACKOFF_S) - 1)])
            self._tries += 1
        if self._pending is None:
            with contextlib.suppress(queue.Empty):
                due = vault.wait_s() if vault is not None else 0.0
                self._pending = self._inbox.get(timeout=min(due, IDLE_S) or IDLE_S)

    def _follow(self, uplink: Uplink, stop: threading.Event) -> None:
        tries = 0
        cosigner = Cosigner(self._inst, uplink.send)
        while not stop.is_set():
            try:
                for delivery in uplink.follow(self._mailbox.cursor(), self._note_connected):
                    tries = 0
                    self._glance(delivery, cosigner)
                    if not self._put(delivery, stop):
                        return
            except (Unreachable, PeerError) as error:
                log.info("mailbox closed", why=str(error))
                self._away = str(error)
            except sqlite3.OperationalError as error:  # the ledger cannot be written
                log.error("mailbox not opened", why=str(error))
                self._away = str(error)
            stop.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
            tries += 1

    def _glance(self, delivery: Delivery, cosigner: Cosigner) -> None:
        """Hear at once what must not wait: the worker may be training or uploading for an hour."""
        vault, messages = self._vault, delivery.messages
        try:
            match delivery.kind:
                case pb.PARCEL_KIND_HEAD:
                    cosigner.answer(digest_of(delivery.agreement), messages)
                case pb.PARCEL_KIND_COSIGNATURE if vault is not None:
                    vault.witnesses.take_cosignature(messages)
                case pb.PARCEL_KIND_OBJECTION if vault is not None:
                    vault.witnesses.take_objection(messages)
                case pb.PARCEL_KIND_DEADLINE if vault is not None:
                    vault.note_deadline(messages)
        except PeerError as error:
            log.info("parcel passed over", kind=int(delivery.kind), why=str(error))

    def _note_connected(self) -> None:
        self._away = ""

    def _put(self, delivery: Delivery, stop: threading.Event) -> bool:
        """Queue a parcel when there is room; False if the daemon ends meanwhile."""
        while not stop.is_set():
            try:
                self._inbox.put(delivery, timeout=IDLE_S)
                return True
            except queue.Full:
                continue
        return False

    def _is_bell(self, delivery: Delivery, correspondence: Correspondence) -> bool:
        """Look for what moved if a parcel says no more than that something did."""
        if delivery.kind != pb.PARCEL_KIND_AGREEMENT_MOVED:
            return False
        correspondence.refresh()
        return True

    def _is_due(self, standing: Standing) -> bool:
        agreement = standing.agreement
        if not self._inst.agreements.is_in_force(agreement.digest):
            return False
        if agreement.digest in self._barred:
            if gate.is_barred(self._inst.ledger, agreement.digest):
                return False
            self._barred.discard(agreement.digest)
        return not (self._inst.progress.is_over(agreement) or self._gives_way(agreement))

    def _gives_way(self, agreement: Agreement) -> bool:
        """Tell whether an agreement's last day is over, and another is in force for longer.

        Without another one the vault goes on listening: a last certificate may come late.
        """
        last = agreement.schedule.last_day
        if self._inst.ledger.day() <= last:
            return False
        others = (standing.agreement.schedule for standing in self._inst.agreements.active())
        return any(other.last_day > last for other in others)

    def _between(self) -> str:
        """Say what is waited for while no agreement is at work."""
        if self._barred:
            return gate.BARRED
        states = {known.state for known in self._inst.agreements.known()}
        for state, words in BETWEEN.items():
            if state in states:
                return words
        return "waiting for an agreement"

    def _accept(self, agreement: Digest, number: int, plan: Digest) -> None:
        if agreement in self._barred:
            raise Refusal(RefusalCode.SELFTEST, "expected a vault whose self-test passes")
        if self._vault is None:
            raise Refusal(RefusalCode.UNAVAILABLE, "expected a vault that is ready")
        try:
            self._vault.accept_order(agreement, number, plan)
        except Refusal as refusal:
            raise self._refusals.told(refusal) from None
        except (LocalError, sqlite3.OperationalError) as error:
            # A policy that cannot be read permits nothing, and neither does a full disk.
            log.error("order not judged", why=str(error))
            raise Refusal(RefusalCode.UNAVAILABLE, str(error)) from None
        with contextlib.suppress(queue.Full):  # then the worker is not idle
            self._inbox.put_nowait(None)

    def _refused(self, refusal: Refusal) -> None:
        log.warning("order refused", code=refusal.code.value, why=str(refusal))
        if not self._refusals.count():
            return
        with (
            contextlib.suppress(sqlite3.OperationalError),  # a full disk
            self._inst.store.transaction() as tx,
        ):
            self._inst.note_refusal(tx, refusal, Digest(""), None)

    def _status(self, question: dict[str, object]) -> dict[str, object]:
        vault = self._vault
        return {
            "id": self._inst.me,
            "doing": self._stage or (vault.doing if vault else "stopping"),
            "fraction": vault.fraction if vault else None,
            "away": self._away,
            "until": vault.upload_until() if vault else None,
        }

    def _count(self, uplink: Uplink, agreement: Digest) -> None:
        now = uplink.sent, uplink.received
        if now != self._counted:
            more = (now[0] - self._counted[0], now[1] - self._counted[1])
            self._inst.count_traffic(agreement, *more)
            self._counted = now
