"""The story of a run, told by one thread: key epoch, round, round, … until the schedule is done.

Every step looks at what the store knows and does the next thing, so a kill -9 anywhere leads back
to the same step:

    choose participants → plan → (orders, uploads) → survivor list → (reveals) → sum → certificate
         ↑     ↑                                                                        │
    key epoch  └────────────── endorsements → certificate to all ←──────────────────────┘

The gRPC threads bring what it waits for to the desk. A deadline counts from when this process began
to wait. What goes wrong for want of institutions stops the run, with a reason, and it can be
resumed; what goes wrong with the disk is tried again.
"""

import os
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime

import structlog

from comity_common.agreement import Agreement
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import LocalError, PeerError, RefusalCode
from comity_common.ids import InstitutionId
from comity_common.secagg.plan import NONCE_BYTES, make_plan
from comity_common.secagg.round import Stage
from comity_common.secagg.thresholds import thresholds
from comity_server.aggregator import write_total
from comity_server.agreements import Agreements, AgreementState
from comity_server.config import Deadlines
from comity_server.desk import Desk
from comity_server.epochs import EpochStep, KeyEpoch
from comity_server.history import Head, History
from comity_server.mailbox import Mailbox
from comity_server.models import Models
from comity_server.registry import Registry
from comity_server.rounds import Round
from comity_server.store import Store
from comity_server.uploads import Uploads

LOOK_EVERY_S = 1.0
TRY_AGAIN_S = 2.0  # after an error of the disk
NEEDS_NEW_EPOCH = frozenset({RefusalCode.RESTORED, RefusalCode.STALE_ROUND})

log = structlog.get_logger()


class Closing(Exception):
    """The daemon ends."""


class Stopped(Exception):
    """The run cannot go on now; the message says why."""


class Coordinator:
    """The thread that moves an agreement from round to round.

    Args:
        clock: seconds, never going back.
    """

    def __init__(
        self,
        *,
        store: Store,
        keys: SigningKeys,
        registry: Registry,
        agreements: Agreements,
        history: History,
        mailbox: Mailbox,
        uploads: Uploads,
        models: Models,
        desk: Desk,
        deadlines: Deadlines,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._keys = keys
        self._registry = registry
        self._agreements = agreements
        self._history = history
        self._mailbox = mailbox
        self._uploads = uploads
        self._models = models
        self._desk = desk
        self._deadlines = deadlines
        self._clock = clock
        self._closing = False
        self._silent: dict[InstitutionId, int] = {}
        self._thread = threading.Thread(target=self._run, name="coordinator", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def close(self) -> None:
        """End after the step at hand."""
        with self._desk.moved:
            self._closing = True
            self._desk.moved.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._look_for_work()
            except Closing:
                return
            except Exception:
                log.exception("step-failed")
                self._pause(TRY_AGAIN_S)

    def _look_for_work(self) -> None:
        agreement = self._agreements.running()
        if agreement is None:
            with self._desk.moved:
                self._desk.agreement = None
                self._desk.moved.notify_all()
            self._until(lambda: False, LOOK_EVERY_S)
            return
        self.resume(agreement)
        try:
            while self.step(agreement):
                pass
        except Stopped as stopped:
            log.warning("stopped", agreement=agreement.digest, reason=str(stopped))
            self._agreements.end(agreement.digest, AgreementState.STOPPED, str(stopped))

    def resume(self, agreement: Agreement) -> None:
        """Put an agreement with its newest key epoch and round on the desk."""
        with self._desk.moved:
            last = self._history.last(agreement.digest)
            self._desk.epoch = KeyEpoch.newest(self._store, self._mailbox, agreement)
            self._desk.round = (
                None if last is None else Round(self._store, self._uploads, agreement, last.number)
            )
            self._desk.agreement = agreement

    def step(self, agreement: Agreement) -> bool:
        """Do the next thing.

        Returns:
            False when the schedule is done.

        Raises:
            Stopped: too few institutions for too long, or the agreement is over.
        """
        round = self._desk.round
        if round is None or round.published:
            return self._go_on(agreement)
        match round.stage:
            case Stage.COLLECTING:
                self._collect(round)
            case Stage.REVEALING:
                self._reveal(round)
            case Stage.SUMMING:
                self._sum(round)
            case Stage.VOID:
                self._end_void(round)
            case Stage.CERTIFIED:
                self._endorse(round)
        return True

    def _go_on(self, agreement: Agreement) -> bool:
        head = self._history.head(agreement)
        schedule = agreement.schedule
        if head.certified >= schedule.rounds:
            self._agreements.end(agreement.digest, AgreementState.FINISHED)
            log.info("finished", agreement=agreement.digest, rounds=head.certified)
            self._desk.on_phase("finished", "", head.begun)
            return False
        if head.begun >= schedule.attempts:
            raise Stopped(
                f"{head.certified} of {schedule.rounds} rounds are certified "
                f"and all {schedule.attempts} attempts are used"
            )
        if datetime.now(UTC).date() > date.fromisoformat(schedule.expires):
            raise Stopped(f"the agreement expired on {schedule.expires}")
        epoch = self._desk.epoch
        if epoch is None or epoch.step is EpochStep.FAILED or self._is_outgrown(agreement, epoch):
            self._open_epoch(agreement)
        elif epoch.step is not EpochStep.READY:
            self._set_up(epoch)
        else:
            self._begin_round(agreement, epoch, head)
        return True

    # Key epochs

    def _open_epoch(self, agreement: Agreement) -> None:
        members = self._gather(agreement)
        with self._desk.moved:
            self._desk.epoch = KeyEpoch.open(
                self._store, self._mailbox, self._keys, agreement, members
            )
        log.info("epoch-opened", epoch=self._desk.epoch.opened.epoch, members=sorted(members))
        self._desk.on_phase("epoch-opened", "", 0)

    def _set_up(self, epoch: KeyEpoch) -> None:
        step, number = epoch.step, epoch.opened.epoch
        moved = self._until(lambda: epoch.step is not step, self._deadlines.acknowledge_s)
        with self._desk.moved:
            absent = epoch.culprits
            if not moved and epoch.step is step:
                absent = epoch.missing()
                epoch.fail()
            streams = self._mailbox.connected()
            self._silent |= {who: streams[who] for who in absent if who in streams}
        if epoch.step is EpochStep.READY:
            log.info("epoch-ready", epoch=number)
            self._desk.on_phase("epoch-ready", "", 0)
        if epoch.step is EpochStep.FAILED:
            log.warning("epoch-failed", epoch=number, at=step, absent=sorted(absent))

    def _gather(self, agreement: Agreement) -> frozenset[InstitutionId]:
        """Wait for the members of a key epoch."""
        return self._wait_for_enough(
            agreement,
            lambda: self._present(agreement),
            lambda: frozenset(agreement.roster),
            "connected",
        )

    def _present(self, agreement: Agreement) -> frozenset[InstitutionId]:
        """Return who is connected, without those who stayed silent since they connected."""
        streams = self._mailbox.connected()
        return frozenset(
            institution
            for institution in agreement.roster
            if institution in streams and streams[institution] != self._silent.get(institution)
        )

    def _is_outgrown(self, agreement: Agreement, epoch: KeyEpoch) -> bool:
        """Tell whether somebody is here who can only take part in a new key epoch."""
        if epoch.step is not EpochStep.READY:
            return False
        if self._present(agreement) - set(epoch.opened.members):
            return True
        last = self._desk.round
        return (
            last is not None
            and last.plan.epoch == epoch.opened.epoch
            and any(code in NEEDS_NEW_EPOCH for code in last.collector.declined.values())
        )

    # Rounds

    def _begin_round(self, agreement: Agreement, epoch: KeyEpoch, head: Head) -> None:
        members = frozenset(epoch.opened.members)
        participants = self._wait_for_enough(
            agreement,
            lambda: self._ready(agreement, members, head),
            lambda: members,
            "connected, up to date and online at Flower",
            lambda: self._is_outgrown(agreement, epoch),
        )
        if not participants:
            return
        plan = make_plan(
            agreement,
            epoch=epoch.opened.epoch,
            round=head.begun + 1,
            participants=sorted(participants),
            previous=head.previous,
            model=head.model,
            nonce=os.urandom(NONCE_BYTES),
        )
        with self._desk.moved:
            self._desk.round = Round.begin(self._store, self._uploads, self._keys, agreement, plan)
            self._desk.moved.notify_all()
        log.info("round-begun", round=plan.round, participants=plan.participants)
        self._desk.on_phase("round-begun", "", plan.round)

    def _ready(
        self, agreement: Agreement, members: frozenset[InstitutionId], head: Head
    ) -> frozenset[InstitutionId]:
        ready = members & self._mailbox.connected().keys()
        if head.model_round is not None:
            ready &= self._history.endorsers(agreement.digest, head.model_round)
        online = self._desk.orders.online
        nodes = self._registry.nodes()
        return frozenset(institution for institution in ready if nodes.get(institution) in online)

    def _collect(self, round: Round) -> None:
        deadline = self._clock() + self._deadlines.upload_s
        while round.stage is Stage.COLLECTING:
            left = deadline - self._clock()
            if left <= 0:
                with self._desk.moved:
                    round.expire()
                log.warning("upload-deadline", round=round.plan.round)
                break
            self._until(
                lambda: round.stage is not Stage.COLLECTING or self._is_overdue(round),
                left,
            )
            self._excuse_overdue(round)
        self._uploads.abandon(round.digest)

    def _is_overdue(self, round: Round) -> bool:
        waited = self._desk.orders.waited(round.digest)
        return waited > self._deadlines.acknowledge_s and bool(self._desk.unanswered())

    def _excuse_overdue(self, round: Round) -> None:
        with self._desk.moved:
            if self._is_overdue(round):
                for institution in sorted(self._desk.unanswered()):
                    log.warning("no-answer", round=round.plan.round, institution=institution)
                    round.excuse(institution, RefusalCode.UNAVAILABLE)

    def _reveal(self, round: Round) -> None:
        with self._desk.moved:
            round.list_survivors(self._mailbox, self._keys)
            listed = round.collector.survivors
        assert listed is not None
        log.info("survivors-posted", round=round.plan.round, survivors=listed.survivors)
        self._desk.on_phase("survivors-posted", "", round.plan.round)
        if not self._until(lambda: round.stage is not Stage.REVEALING, self._deadlines.reveal_s):
            with self._desk.moved:
                round.expire()

    def _sum(self, round: Round) -> None:
        collector, plan = round.collector, round.plan
        assert collector.survivors is not None
        assert collector.residue is not None
        agreement, survivors = round.agreement, collector.survivors.survivors
        vectors = [self._uploads.path(header) for header in collector.survivors.headers]
        total = self._desk.total_path(agreement.digest, plan.round)
        try:
            root = write_total(plan, vectors, collector.residue, total)
            model = self._models.advance(agreement, plan, len(survivors), total)
        except PeerError as error:
            with self._desk.moved:
                collector.fail(str(error))
            return
        self._desk.on_phase("sum-written", "", plan.round)
        with self._desk.moved:
            collector.summed()
            round.end(self._mailbox, self._keys, collector.certificate(root), model)
            self._desk.moved.notify_all()
        log.info("certified", round=plan.round, survivors=survivors, model=model)
        self._desk.on_phase("certified", "", plan.round)

    def _end_void(self, round: Round) -> None:
        with self._desk.moved:
            body = round.collector.certificate(b"")
            round.end(self._mailbox, self._keys, body, None)
            self._desk.moved.notify_all()
        log.warning("void", round=round.plan.round, reason=body.reason)
        self._desk.on_phase("void", "", round.plan.round)

    def _endorse(self, round: Round) -> None:
        """Wait until enough participants signed the same next model, then tell all."""
        needed = round.plan.threshold
        if not self._until(lambda: len(round.endorsements()) >= needed, self._deadlines.patience_s):
            raise Stopped(
                f"{len(round.endorsements())} of {needed} institutions endorsed "
                f"the model of round {round.plan.round}"
            )
        with self._desk.moved:
            round.publish(self._mailbox, round.endorsements())
        log.info("published", round=round.plan.round)
        self._desk.on_phase("published", "", round.plan.round)

    # Waiting

    def _wait_for_enough(
        self,
        agreement: Agreement,
        here: Callable[[], frozenset[InstitutionId]],
        all: Callable[[], frozenset[InstitutionId]],
        how: str,
        give_up: Callable[[], bool] = lambda: False,
    ) -> frozenset[InstitutionId]:
        """Wait for all; after the settle time, for enough; after the patience, give up.

        Returns:
            who is here; nobody if `give_up` came true.

        Raises:
            Stopped: too few for too long.
        """
        settled = self._clock() + self._deadlines.settle_s
        patience = self._clock() + self._deadlines.patience_s

        def decided() -> bool:
            present = here()
            if give_up() or present == all():
                return True
            return self._clock() >= settled and _is_enough(agreement, len(present))

        self._until(decided, max(patience - self._clock(), 0.0))
        if give_up():
            return frozenset()
        present = here()
        if not _is_enough(agreement, len(present)):
            raise Stopped(
                f"{len(present)} institutions are {how}, "
                f"{agreement.aggregation.min_participants} are needed"
            )
        return present

    def _until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is true, for so many seconds at most.

        Raises:
            Closing: the daemon ends.
        """
        end = self._clock() + seconds
        with self._desk.moved:
            while True:
                if self._closing:
                    raise Closing
                if true():
                    return True
                left = end - self._clock()
                if left <= 0:
                    return False
                self._desk.moved.wait(min(left, LOOK_EVERY_S))

    def _pause(self, seconds: float) -> None:
        with self._desk.moved:
            if not self._closing:
                self._desk.moved.wait(seconds)


def _is_enough(agreement: Agreement, present: int) -> bool:
    try:
        thresholds(present, agreement.aggregation.collusion)
    except LocalError:
        return False
    return present >= agreement.aggregation.min_participants
