"""The vault's process: sockets in, one worker, one connection out.

Flower's ClientApp and the institution's tools ask on unix sockets; the operator's mailbox is
followed in a thread of its own. Both only put work in front of the worker, which does one thing at
a time and may be killed at any point.
"""

import os
import queue
import signal
import threading
from pathlib import Path

import structlog

from comity_client.agreements import Standing
from comity_client.institution import Institution
from comity_client.intake import LineSocket, order_answer
from comity_client.mailroom import Mailroom
from comity_client.releases import is_over
from comity_client.uplink import Delivery, Unreachable, Uplink
from comity_client.vault import OnPhase, Vault
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.ids import Digest

log = structlog.get_logger()

IDLE_S = 0.5
AGAIN_S = 30.0
JOIN_S = 10.0
BACKOFF_S = (0.5, 1.0, 2.0, 5.0)


def serve(home: Path, on_phase: OnPhase = lambda name, round: None) -> None:
    """Run the vault of one institution until SIGTERM or SIGINT.

    Args:
        on_phase: told at every boundary of the walk; what it does happens in the worker.
    """
    os.umask(0o077)  # what the vault writes is for its own user alone
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    daemon = Daemon(Institution(home), on_phase)
    try:
        daemon.run(stop)
    finally:
        daemon.close()


class Daemon:
    """One vault at work on the agreement that is in force."""

    def __init__(self, institution: Institution, on_phase: OnPhase) -> None:
        self._inst = institution
        self._on_phase = on_phase
        self._inbox: queue.Queue[Delivery] = queue.Queue(maxsize=256)
        self._vault: Vault | None = None
        self._stage = "starting"
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
        while not stop.is_set():
            standing = next(filter(self._is_due, self._inst.agreements.active()), None)
            if standing is None:
                self._stage = "no agreement in force"
                stop.wait(IDLE_S)
            else:
                self._work_on(standing, stop)

    def _work_on(self, standing: Standing, stop: threading.Event) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the uplink alone opens a socket
        from comity_client.workbench import Workbench  # torch takes seconds to import

        inst, agreement = self._inst, standing.agreement
        self._stage = "loading model and data"
        try:
            data = inst.data.file(standing.dataset)
            workbench = Workbench(agreement, data, inst.config.threads)
        except LocalError as error:
            log.error("cannot train", why=str(error))
            self._stage = f"cannot train: {error}"
            stop.wait(AGAIN_S)
            return
        with inst.store.transaction() as tx:
            inst.progress.begin(tx, agreement)
        if inst.progress.get(agreement.digest).certified == 0:
            inst.models.save(agreement.digest, workbench.first_state)
        uplink = Uplink(inst.config.server, inst.keys.tls(), inst.recorder(agreement))
        vault = Vault(inst, standing, workbench, uplink, self._on_phase)
        vault.recover()
        mailroom = Mailroom(inst, agreement, vault, uplink, workbench)
        self._vault, self._stage = vault, ""
        follower = threading.Thread(target=self._follow, args=(uplink, mailroom, stop), daemon=True)
        follower.start()
        try:
            self._work(vault, mailroom, uplink, agreement.digest, stop)
        finally:
            self._vault = None
            uplink.close()
            follower.join(timeout=JOIN_S)  # an interpreter must not end under a call of gRPC

    def _work(
        self,
        vault: Vault,
        mailroom: Mailroom,
        uplink: Uplink,
        agreement: Digest,
        stop: threading.Event,
    ) -> None:
        """Do whatever is due, one thing at a time, until told to stop."""
        tries = 0
        pending: Delivery | None = None
        while not stop.is_set():
            try:
                mailroom.send_waiting()
                if pending is not None:
                    mailroom.deliver(pending)
                    pending = None
                while vault.go_on():
                    mailroom.send_waiting()
                tries = 0
            except Unreachable as error:
                log.warning("operator unreachable", why=str(error))
                stop.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
                tries += 1
            self._count(uplink, agreement)
            if pending is None:
                try:
                    pending = self._inbox.get(timeout=IDLE_S)
                except queue.Empty:
                    continue

    def _follow(self, uplink: Uplink, mailroom: Mailroom, stop: threading.Event) -> None:
        tries = 0
        while not stop.is_set():
            try:
                for delivery in uplink.follow(mailroom.cursor()):
                    tries = 0
                    if not self._put(delivery, stop):
                        return
            except (Unreachable, PeerError) as error:
                log.info("mailbox closed", why=str(error))
            stop.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
            tries += 1

    def _put(self, delivery: Delivery, stop: threading.Event) -> bool:
        """Queue a parcel when there is room; False if the daemon ends meanwhile."""
        while not stop.is_set():
            try:
                self._inbox.put(delivery, timeout=IDLE_S)
                return True
            except queue.Full:
                continue
        return False

    def _is_due(self, standing: Standing) -> bool:
        progress, agreement = self._inst.progress, standing.agreement
        known = progress.known(agreement.digest)
        return not (known and is_over(agreement, progress.get(agreement.digest)))

    def _accept(self, agreement: Digest, number: int, plan: Digest) -> None:
        if self._vault is None:
            raise Refusal(RefusalCode.UNAVAILABLE, "expected a vault that is ready")
        self._vault.accept_order(agreement, number, plan)

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
        }

    def _count(self, uplink: Uplink, agreement: Digest) -> None:
        now = uplink.sent, uplink.received
        if now != self._counted:
            more = (now[0] - self._counted[0], now[1] - self._counted[1])
            self._inst.count_traffic(agreement, *more)
            self._counted = now
