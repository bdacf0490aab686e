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
from datetime import UTC, datetime

import structlog

from comity_common.agreement import Agreement
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import InstitutionId
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.plan import NONCE_BYTES, make_plan
from comity_common.secagg.round import Stage
from comity_server.agenda import next_kind
from comity_server.aggregator import write_total
from comity_server.agreements import Agreements, AgreementState
from comity_server.config import Deadlines
from comity_server.desk import Desk
from comity_server.epochs import EpochStep, KeyEpoch
from comity_server.epochsetup import EpochSetup
from comity_server.heads import Heads
from comity_server.history import Head, History
from comity_server.mailbox import Mailbox
from comity_server.models import Models
from comity_server.registry import Registry
from comity_server.rounds import Round
from comity_server.store import Store
from comity_server.uploads import Uploads
from comity_server.waiting import Closing, Stopped, Waiting

LOOK_EVERY_S = 1.0
TRY_AGAIN_S = 2.0  # after an error of the disk

log = structlog.get_logger()


class Coordinator:
    """The thread that moves an agreement from round to round.

    Args:
        clock: seconds, never going back.
        now: seconds since 1970.
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
        heads: Heads,
        desk: Desk,
        deadlines: Deadlines,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._keys = keys
        self._registry = registry
        self._agreements = agreements
        self._history = history
        self._mailbox = mailbox
        self._uploads = uploads
        self._models = models
        self._heads = heads
        self._desk = desk
        self._deadlines = deadlines
        self._clock = clock
        self._now = now
        self._waiting = Waiting(desk, deadlines, clock, self._check_on)
        self._epochs = EpochSetup(store, keys, mailbox, desk, deadlines, self._waiting)
        self._thread = threading.Thread(target=self._run, name="coordinator", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def close(self) -> None:
        """End after the step at hand."""
        self._waiting.close()
        if self._thread.is_alive():
            self._thread.join()

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
            Closing: the daemon ends.
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
                self._publish(round)
        return True

    def _run(self) -> None:
        try:
            while True:
                self._look_for_work()
        except Closing:
            return

    def _look_for_work(self) -> None:
        try:
            agreement = self._agreements.running()
            if agreement is None:
                with self._desk.moved:
                    self._desk.agreement = None
                    self._desk.moved.notify_all()
                self._waiting.pause(LOOK_EVERY_S)
            else:
                self._pursue(agreement)
        except Closing:
            raise
        except Exception:
            log.exception("step-failed")
            self._waiting.pause(TRY_AGAIN_S)

    def _pursue(self, agreement: Agreement) -> None:
        self.resume(agreement)
        try:
            while self.step(agreement):
                self._check_runs(agreement)
        except Stopped as stopped:
            log.warning("stopped", agreement=agreement.digest, reason=str(stopped))
            if self._agreements.running() == agreement:
                self._agreements.end(agreement.digest, AgreementState.STOPPED, str(stopped))

    def _check_on(self) -> None:
        if (agreement := self._desk.agreement) is not None:
            self._check_runs(agreement)

    def _check_runs(self, agreement: Agreement) -> None:
        """Notice that the operator's own tools ended the run.

        Raises:
            Stopped: they did.
        """
        if self._agreements.running() != agreement:
            raise Stopped("the operator ended the run")

    def _go_on(self, agreement: Agreement) -> bool:
        head = self._history.head(agreement)
        kind = next_kind(agreement, head, datetime.now(UTC).date())
        if kind is None:
            self._agreements.end(agreement.digest, AgreementState.FINISHED)
            self._heads.ask(agreement)
            log.info(
                "finished", agreement=agreement.digest, rounds=head.certified, scores=head.scored
            )
            self._desk.on_phase("finished", "", head.begun)
            return False
        epoch = self._desk.epoch
        if epoch is None or self._epochs.is_needed(agreement):
            self._epochs.open(agreement)
        elif epoch.step is not EpochStep.READY:
            self._epochs.advance(agreement, epoch)
        else:
            self._begin(agreement, epoch, head, kind)
        return True

    def _begin(self, agreement: Agreement, epoch: KeyEpoch, head: Head, kind: RoundKind) -> None:
        """Choose the participants and write the plan."""
        members = frozenset(epoch.opened.members) & self._desk.remaining(agreement)
        participants = self._waiting.for_enough(
            agreement,
            members,
            lambda: self._ready(agreement, members, head),
            "ready, up to date and online at Flower",
            self._deadlines.settle_s,
            give_up=lambda: self._epochs.is_outgrown(agreement, epoch),
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
            kind=kind,
        )
        with self._desk.moved:
            self._desk.round = Round.begin(self._store, self._uploads, self._keys, agreement, plan)
            self._desk.moved.notify_all()
        log.info(
            "round-begun", round=plan.round, kind=plan.kind.value, participants=plan.participants
        )
        if kind is RoundKind.TRAIN and agreement.owes_score(head.certified, head.scored):
            log.warning("score-missing", round=plan.round, scored=head.scored)
        self._desk.on_phase("round-begun", "", plan.round)

    def _ready(
        self, agreement: Agreement, members: frozenset[InstitutionId], head: Head
    ) -> frozenset[InstitutionId]:
        ready = members & self._mailbox.ready(agreement.digest).keys()
        if head.begun:
            ready &= self._history.endorsers(agreement.digest, head.begun)
        nodes, online = self._registry.nodes(), self._desk.orders.online
        return frozenset(institution for institution in ready if nodes.get(institution) in online)

    def _collect(self, round: Round) -> None:
        """Wait for every participant's upload or refusal."""
        deadline = self._clock() + self._deadlines.upload_s
        while round.stage is Stage.COLLECTING:
            self._waiting.until(
                lambda: round.stage is not Stage.COLLECTING or self._is_overdue(round),
                self._left(round, deadline),
            )
            self._excuse_overdue(round)
            with self._desk.moved:  # so that nobody extends what has just expired
                if round.stage is Stage.COLLECTING and self._left(round, deadline) <= 0:
                    log.warning("upload-deadline", round=round.plan.round)
                    round.expire()
        self._uploads.abandon(round.digest)

    def _left(self, round: Round, deadline: float) -> float:
        """Return for how many seconds uploads are still waited for."""
        return max(deadline - self._clock(), round.until - self._now())

    def _is_overdue(self, round: Round) -> bool:
        waited = self._desk.orders.waited(round.digest)
        return waited > self._deadlines.acknowledge_s and bool(self._desk.unanswered())

    def _excuse_overdue(self, round: Round) -> None:
        """Stop waiting for those who were ordered and answered nothing."""
        with self._desk.moved:
            if self._is_overdue(round):
                for institution in sorted(self._desk.unanswered()):
                    log.warning("no-answer", round=round.plan.round, institution=institution)
                    round.excuse(institution, RefusalCode.UNAVAILABLE)

    def _reveal(self, round: Round) -> None:
        """Send the survivor list and wait for shares."""
        with self._desk.moved:
            round.list_survivors(self._mailbox, self._keys)
            listed = round.collector.survivors
        assert listed is not None
        log.info("survivors-posted", round=round.plan.round, survivors=listed.survivors)
        self._desk.on_phase("survivors-posted", "", round.plan.round)
        if not self._waiting.until(
            lambda: round.stage is not Stage.REVEALING, self._deadlines.reveal_s
        ):
            with self._desk.moved:
                round.expire()

    def _sum(self, round: Round) -> None:
        """Write the sum and the model that follows from it, then certify; or void the round.

        A score leaves the model as it is.
        """
        collector, plan, agreement = round.collector, round.plan, round.agreement
        assert collector.survivors is not None
        assert collector.residue is not None
        survivors = collector.survivors.survivors
        vectors = [self._uploads.path(header) for header in collector.survivors.headers]
        total = self._desk.total_path(agreement.digest, plan.round)
        try:
            root = write_total(plan, vectors, collector.residue, total)
            model = plan.model
            if plan.kind is RoundKind.TRAIN:
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
            round.end(self._mailbox, self._keys, body, round.plan.model)
            self._desk.moved.notify_all()
        self._heads.ask(round.agreement)
        log.warning("void", round=round.plan.round, reason=body.reason)
        self._desk.on_phase("void", "", round.plan.round)

    def _publish(self, round: Round) -> None:
        """Wait until enough participants signed the same next model, then tell the absent."""
        needed = round.plan.threshold if round.absent() else 0
        if not self._waiting.until(
            lambda: len(round.endorsements()) >= needed, self._deadlines.patience_s
        ):
            raise Stopped(
                f"{len(round.endorsements())} of {needed} institutions endorsed "
                f"the model of round {round.plan.round}"
            )
        with self._desk.moved:
            round.publish(self._mailbox, round.endorsements())
        self._heads.ask(round.agreement)
        log.info("published", round=round.plan.round)
        self._desk.on_phase("published", "", round.plan.round)
