"""The vault's process: sockets in, one worker, one connection out.

Flower's ClientApp and the institution's tools ask on unix sockets; the operator's mailbox is
followed in a thread of its own. Both only put work in front of the worker, which does one thing at
a time and may be killed at any point.
"""

import queue
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.agreements import Standing
from comity_client.institution import Institution
from comity_client.intake import LineSocket, order_answer
from comity_client.releases import accept_certificate, is_over
from comity_client.uplink import Delivery, Unreachable, Uplink
from comity_client.vault import OnPhase, Vault
from comity_common.agreement import Agreement
from comity_common.crypto.sign import Signed
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.optimizer import ModelState
from comity_common.wire import digest_of

log = structlog.get_logger()

IDLE_S = 0.5
BACKOFF_S = (0.5, 1.0, 2.0, 5.0)


def serve(home: Path, on_phase: OnPhase = lambda name, round: None) -> None:
    """Run the vault of one institution until SIGTERM or SIGINT.

    Args:
        on_phase: told at every boundary of the walk; what it does happens in the worker.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    daemon = Daemon(Institution(home), on_phase)
    try:
        daemon.run(stop)
    finally:
        daemon.close()


class Daemon:
    """One vault at work on the agreement that is in force.

    Attributes:
        state: what the institution's own tools are told.
    """

    def __init__(self, institution: Institution, on_phase: OnPhase) -> None:
        self._inst = institution
        self._on_phase = on_phase
        self._inbox: queue.Queue[Delivery | None] = queue.Queue(maxsize=256)
        self._vault: Vault | None = None
        self._agreement: Agreement | None = None
        self._counted = (0, 0)
        self._stage = "starting"
        self._sockets = [
            LineSocket(institution.config.orders, order_answer(self._accept, self._refused)),
            LineSocket(institution.config.control, self._status),
        ]

    def close(self) -> None:
        """Stop listening."""
        for socket in self._sockets:
            socket.close()

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        inst = self._inst
        while not stop.is_set():
            standing = next(filter(self._is_due, inst.agreements.active()), None)
            if standing is None:
                self._stage = "no agreement in force"
                stop.wait(IDLE_S)
                continue
            self._work_on(standing, stop)

    def _work_on(self, standing: Standing, stop: threading.Event) -> None:
        from comity_client.workbench import Workbench  # torch takes seconds to import

        inst, agreement = self._inst, standing.agreement
        self._stage = "loading model and data"
        data = inst.data.file(standing.dataset)
        try:
            workbench = Workbench(agreement, data, inst.config.threads)
        except LocalError as error:
            log.error("cannot train", why=str(error))
            self._stage = f"cannot train: {error}"
            stop.wait(30)
            return
        with inst.store.transaction() as tx:
            inst.progress.begin(tx, agreement)
        if inst.progress.get(agreement.digest).certified == 0:
            inst.models.save(agreement.digest, workbench.first_state)
        uplink = Uplink(inst.config.server, inst.keys.tls(), inst.recorder(agreement))
        vault = Vault(inst, standing, workbench, uplink, self._on_phase)
        vault.recover()
        self._vault, self._agreement, self._stage = vault, agreement, ""
        follower = threading.Thread(target=self._follow, args=(uplink, stop), daemon=True)
        follower.start()
        tries = 0
        pending: Delivery | None = None
        try:
            while not stop.is_set():
                try:
                    self._send_waiting(uplink)
                    if pending is not None:
                        self._deliver(uplink, vault, agreement, workbench.look, pending)
                        pending = None
                    elif vault.go_on():
                        continue
                    tries = 0
                except Unreachable as error:
                    log.warning("operator unreachable", why=str(error))
                    stop.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
                    tries += 1
                    if pending is not None:
                        continue
                self._count(uplink, agreement.digest)
                try:
                    pending = self._inbox.get(timeout=IDLE_S)
                except queue.Empty:
                    pending = None
        finally:
            self._count(uplink, agreement.digest)
            self._vault = None
            uplink.close()

    def _follow(self, uplink: Uplink, stop: threading.Event) -> None:
        tries = 0
        while not stop.is_set():
            cursor = self._cursor()
            try:
                for delivery in uplink.follow(cursor):
                    tries = 0
                    self._inbox.put(delivery)
            except (Unreachable, PeerError) as error:
                log.info("mailbox closed", why=str(error))
            stop.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
            tries += 1

    def _deliver(
        self,
        uplink: Uplink,
        vault: Vault,
        agreement: Agreement,
        look: Callable[..., tuple[float, float]],
        delivery: Delivery,
    ) -> None:
        if delivery.sequence <= self._cursor():
            return
        try:
            if digest_of(delivery.agreement) == agreement.digest:
                self._handle(uplink, vault, agreement, look, delivery)
        except PeerError as error:
            kind = pb.ParcelKind.Name(delivery.kind)
            log.warning("parcel refused", kind=kind, why=str(error))
        with self._inst.store.transaction() as tx:
            tx.execute("update mailbox set cursor = ?", (delivery.sequence,))

    def _handle(
        self,
        uplink: Uplink,
        vault: Vault,
        agreement: Agreement,
        look: Callable[..., tuple[float, float]],
        delivery: Delivery,
    ) -> None:
        messages = delivery.messages
        match delivery.kind:
            case (
                pb.PARCEL_KIND_EPOCH_OPEN
                | pb.PARCEL_KIND_EPOCH_KEYS
                | pb.PARCEL_KIND_EPOCH_HALVES
                | pb.PARCEL_KIND_EPOCH_VIEWS
            ):
                self._set_up_keys(agreement, delivery)
            case pb.PARCEL_KIND_SURVIVORS:
                vault.answer_survivors(messages, delivery.boxes)
            case pb.PARCEL_KIND_CERTIFICATE:
                state = accept_certificate(self._inst, agreement, uplink, messages)
                over = is_over(agreement, self._inst.progress.get(agreement.digest))
                vault.doing, vault.fraction = "done" if over else "up to date", None
                self._send_waiting(uplink)
                if state is not None:
                    self._look(agreement.digest, state, look)
            case _:
                raise PeerError("expected a parcel of the operator")

    def _set_up_keys(self, agreement: Agreement, delivery: Delivery) -> None:
        epochs, messages = self._inst.epochs, delivery.messages
        with self._inst.store.transaction() as tx:
            answer: Signed | None = None
            match delivery.kind:
                case pb.PARCEL_KIND_EPOCH_OPEN if len(messages) == 1:
                    answer = epochs.open(tx, agreement, messages[0])
                    kind = pb.PARCEL_KIND_EPOCH_KEYS
                case pb.PARCEL_KIND_EPOCH_KEYS:
                    answer = epochs.take_keys(tx, agreement, messages)
                    kind = pb.PARCEL_KIND_EPOCH_HALVES
                case pb.PARCEL_KIND_EPOCH_HALVES:
                    answer = epochs.take_halves(tx, agreement, messages)
                    kind = pb.PARCEL_KIND_EPOCH_VIEWS
                case pb.PARCEL_KIND_EPOCH_VIEWS:
                    epochs.take_views(tx, agreement, messages)
            if answer is not None:
                self._inst.outbox.put(tx, agreement.digest, kind, answer)

    def _send_waiting(self, uplink: Uplink) -> None:
        for waiting in self._inst.outbox.waiting():
            try:
                uplink.send(waiting.agreement, waiting.kind, waiting.message)
            except PeerError as error:
                log.warning("message refused", why=str(error))
            self._inst.outbox.delivered(waiting)

    def _look(
        self, agreement: Digest, state: ModelState, look: Callable[..., tuple[float, float]]
    ) -> None:
        accuracy, macro_f1 = look(state.parameters)
        with self._inst.store.transaction() as tx:
            tx.execute(
                "insert or replace into private_metrics values (?, ?, ?, ?)",
                (agreement, self._inst.progress.get(agreement).newest, accuracy, macro_f1),
            )

    def _is_due(self, standing: Standing) -> bool:
        progress, agreement = self._inst.progress, standing.agreement
        known = progress.known(agreement.digest)
        return not (known and is_over(agreement, progress.get(agreement.digest)))

    def _accept(self, agreement: Digest, number: int, plan: Digest) -> None:
        if self._vault is None:
            raise Refusal(RefusalCode.UNAVAILABLE, "expected a vault that is ready")
        self._vault.accept_order(agreement, number, plan)
        self._vault.doing = "ordered"

    def _refused(self, refusal: Refusal) -> None:
        log.warning("order refused", code=refusal.code.value, why=str(refusal))
        with self._inst.store.transaction() as tx:
            self._inst.note_refusal(tx, refusal, Digest(""), None)

    def _status(self, question: dict[str, object]) -> dict[str, object]:
        vault = self._vault
        return {
            "id": self._inst.me,
            "doing": self._stage or (vault.doing if vault else "stopping"),
            "fraction": vault.fraction if vault else None,
            "agreement": self._agreement.digest if self._agreement else None,
        }

    def _cursor(self) -> int:
        row = self._inst.store.reading().execute("select cursor from mailbox").fetchone()
        return int(row[0])

    def _count(self, uplink: Uplink, agreement: Digest) -> None:
        sent, received = uplink.sent, uplink.received
        if (sent, received) != self._counted:
            self._inst.count_traffic(
                agreement, sent - self._counted[0], received - self._counted[1]
            )
            self._counted = (sent, received)
