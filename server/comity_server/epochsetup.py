"""When a new key epoch is needed, and how the coordinator brings it about.

An epoch is made among those who are ready: connected, with model and data loaded. Who stays silent
until a deadline, or says that it saw something else than was relayed, is left out of the next
attempt until it connects anew or speaks. Who comes later, or lost its keys, is taken in by a new
epoch between two rounds.
"""

import structlog

from comity_common.agreement import Agreement
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import RefusalCode
from comity_common.ids import InstitutionId
from comity_server.config import Deadlines
from comity_server.desk import Desk
from comity_server.epochs import EpochStep, KeyEpoch
from comity_server.mailbox import Mailbox
from comity_server.store import Store
from comity_server.waiting import Waiting

NEEDS_NEW_EPOCH = frozenset({RefusalCode.RESTORED, RefusalCode.STALE_ROUND})

log = structlog.get_logger()


class EpochSetup:
    """Key epochs of the agreement that runs."""

    def __init__(
        self,
        store: Store,
        keys: SigningKeys,
        mailbox: Mailbox,
        desk: Desk,
        deadlines: Deadlines,
        waiting: Waiting,
    ) -> None:
        self._store = store
        self._keys = keys
        self._mailbox = mailbox
        self._desk = desk
        self._deadlines = deadlines
        self._waiting = waiting
        self._silent: dict[InstitutionId, tuple[int, int]] = {}

    def is_needed(self, agreement: Agreement) -> bool:
        """Tell whether the next round needs an epoch that was not opened yet."""
        epoch = self._desk.epoch
        if epoch is None or epoch.step is EpochStep.FAILED:
            return True
        return epoch.step is EpochStep.READY and self.is_outgrown(agreement, epoch)

    def is_outgrown(self, agreement: Agreement, epoch: KeyEpoch) -> bool:
        """Tell whether somebody is here who can only take part in a new epoch."""
        if self._present(agreement) - set(epoch.opened.members):
            return True
        last = self._desk.round
        return (
            last is not None
            and last.plan.epoch == epoch.opened.epoch
            and any(code in NEEDS_NEW_EPOCH for code in last.collector.declined.values())
        )

    def open(self, agreement: Agreement) -> None:
        """Open an epoch over those who are ready.

        Raises:
            Stopped: too few are, for too long.
        """
        members = self._waiting.for_enough(
            agreement,
            self._desk.remaining(agreement),
            lambda: self._present(agreement),
            "ready",
            self._deadlines.gather_s,
        )
        with self._desk.moved:
            epoch = KeyEpoch.open(self._store, self._mailbox, self._keys, agreement, members)
            self._desk.epoch = epoch
        log.info("epoch-opened", epoch=epoch.opened.epoch, members=epoch.opened.members)
        self._desk.on_phase("epoch-opened", "", 0)

    def advance(self, agreement: Agreement, epoch: KeyEpoch) -> None:
        """Wait for one step of an epoch, or give it up when the deadline passes."""
        step, number = epoch.step, epoch.opened.epoch
        self._waiting.until(lambda: epoch.step is not step, self._deadlines.acknowledge_s)
        with self._desk.moved:
            absent = epoch.culprits
            if epoch.step is step:
                absent = epoch.missing()
                epoch.fail()
            signs = self._signs_of_life(agreement)
            self._silent |= {who: signs[who] for who in absent if who in signs}
        if epoch.step is EpochStep.READY:
            log.info("epoch-ready", epoch=number)
            self._desk.on_phase("epoch-ready", "", 0)
        if epoch.step is EpochStep.FAILED:
            log.warning("epoch-failed", epoch=number, at=step, absent=sorted(absent))

    def _present(self, agreement: Agreement) -> frozenset[InstitutionId]:
        """Return who is ready, without those of whom nothing was heard since they failed."""
        remaining = self._desk.remaining(agreement)
        return frozenset(
            institution
            for institution, sign in self._signs_of_life(agreement).items()
            if institution in remaining and sign != self._silent.get(institution)
        )

    def _signs_of_life(self, agreement: Agreement) -> dict[InstitutionId, tuple[int, int]]:
        """Return of everyone who is ready what changes when it connects anew or speaks."""
        heard, ready = self._desk.heard, self._mailbox.ready(agreement.digest)
        return {who: (stream, heard[who]) for who, stream in ready.items()}
