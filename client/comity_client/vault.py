"""The vault: one order, one walk.

    order → plan → check → reserve → witnessed → train → mask → store → witnessed → upload → reveal

Everything is decided here from what this institution signed and computed itself; the operator and
Flower can only ask. The rules of the walk:

* A plan is accepted once. Accepting it reserves its budget, takes its keys off the chains and
  closes every earlier round, in one transaction, before the first noise is drawn.
* No noise is drawn before a quorum of the others has witnessed the reserve, and no masked vector
  leaves before they have witnessed its egress (`witnesses`).
* A masked file, its header and its boxes are durable before a socket is opened, and never made
  twice. A vault that died in between has spent the budget and declines the round.
* One survivor list is answered in a round, and the answer is stored first.

What becomes of a certified round is in `releases`; who calls this when is in `daemon`.
"""

import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.agreements import Standing as Signature
from comity_client.agreements import check_expiry
from comity_client.contributions import Trains, contribution
from comity_client.forgotten import (
    is_own_header_shown,
    is_unknown_upload_counted,
    stop_until_a_new_epoch,
)
from comity_client.institution import Institution
from comity_client.refunds import UNMADE, forfeit, settle
from comity_client.reveals import read_list, reveal
from comity_client.rounds import Round, StoredUpload
from comity_client.slots import Slots
from comity_client.space import free_bytes, needed_bytes
from comity_client.uplink import Uplink
from comity_client.witnesses import Witnesses
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    NONCE_BYTES,
    BudgetCharge,
    BudgetReserve,
    Egress,
    Outcome,
    RefundReason,
    RoundJoin,
    Traffic,
)
from comity_common.ledger.controls import PURPOSE_OF_ROUND, UPLOAD
from comity_common.ledger.crossings import of_upload
from comity_common.mechanisms import schedule_event, spending_of
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import (
    Deadline,
    Decline,
    Plan,
    Receipt,
)
from comity_common.secagg.participant import Dealt, deal
from comity_common.secagg.plan import Standing, check_plan, plan_digest
from comity_common.secagg.round import Phase
from comity_host.files import is_disk_full, written_durably

log = structlog.get_logger()

LAST_SECOND = 253_402_300_799  # of the year 9999

OUTDATED = "stopped: this disk is older than what others have witnessed of this vault"

OnPhase = Callable[[str, int], None]
"""Told at every boundary of the walk, with the round's number."""


class Vault:
    """Takes part in the rounds of one agreement.

    Args:
        institution: its parts.
        signature: the agreement and its data set.
        workbench: what trains.
        uplink: the way out.
        on_phase: told at every boundary.
    """

    def __init__(
        self,
        institution: Institution,
        signature: Signature,
        workbench: Trains,
        uplink: Uplink,
        on_phase: OnPhase,
    ) -> None:
        self._inst = institution
        self._signature = signature
        self._agreement: Agreement = signature.agreement
        self._workbench = workbench
        self._uplink = uplink
        self._on_phase = on_phase
        self._slots = Slots(institution.config.slot_s)
        self._keys: dict[int, Mapping[InstitutionId, bytes]] = {}  # of the round that waits
        self._dealt: dict[int, Dealt] = {}  # in the round that waits for its slot
        self.witnesses = Witnesses(institution, self._agreement, uplink.send)
        self._is_stopped = False  # for good: others have witnessed a newer ledger
        self.doing = "waiting"
        self.fraction: float | None = None

    def rest(self, doing: str) -> None:
        """Say that nothing is going on; that an old disk was stopped stays said."""
        if not self._is_stopped:
            self.doing = doing
        self.fraction = None

    def recover(self) -> None:
        """Come back after a crash: what was reserved and not made is spent, its round declined."""
        rounds = self._inst.rounds.open(self._agreement.digest)
        for round in rounds:
            if round.phase in UNMADE:
                self._forfeit(round, RefusalCode.INTERRUPTED)
        wanted = {self._masked_file(round) for round in rounds if round.phase is Phase.MASKED}
        for file in self._inst.home.outbox.iterdir():
            if file not in wanted:
                file.unlink()

    def leave(self) -> None:
        """Give up every round that is open: this institution is out of the agreement."""
        self._give_up(RefusalCode.UNKNOWN_AGREEMENT)

    def _give_up(self, code: RefusalCode) -> None:
        inst = self._inst
        self._keys.clear()
        self._dealt.clear()
        for round in inst.rounds.open(self._agreement.digest):
            if round.phase in UNMADE:
                self._forfeit(round, code)
            else:
                with inst.store.erasing() as tx:
                    inst.rounds.close(tx, round, code.value)
            self._masked_file(round).unlink(missing_ok=True)

    def accept_order(self, agreement: Digest, number: int, plan: Digest) -> None:
        """Decide about an order that Flower brought; the same order again is the same answer.

        Raises:
            Refusal: this institution does not take part.
        """
        inst = self._inst
        signature = inst.agreements.get(agreement)
        terms = signature.agreement
        if agreement != self._agreement.digest:
            raise Refusal(RefusalCode.UNAVAILABLE, "expected the agreement that is at work")
        if self.witnesses.is_caught:
            raise Refusal(RefusalCode.RESTORED, "expected the newest ledger of this vault")
        check_expiry(terms, inst.clock().date())
        inst.check_policy(terms)
        if not 1 <= number <= terms.attempts:
            raise Refusal(RefusalCode.PLAN, f"expected at most {terms.attempts} rounds")
        known = inst.rounds.get(agreement, number)
        if known is not None and known.plan_digest == plan:
            return
        if known is not None or number <= self._newest(agreement):
            raise Refusal(RefusalCode.STALE_ROUND, f"expected a newer round than {number}")
        self._check_budget(signature)
        with inst.store.transaction() as tx:
            inst.rounds.order(tx, agreement, number, plan)
        self.doing = "ordered"

    def _check_budget(self, signature: Signature) -> None:
        """Ask whether any kind of round is still paid for; which one is ordered, the plan says.

        Raises:
            Refusal: BUDGET: none is.
        """
        budget, terms = self._inst.ledger.budget(), signature.agreement
        kinds = list(RoundKind) if terms.private_evaluation else [RoundKind.TRAIN]
        refusals = []
        for kind in kinds:
            try:
                budget.check(signature.dataset, spending_of(terms), schedule_event(terms, 1, kind))
            except Refusal as refusal:
                refusals.append(refusal)
        if len(refusals) == len(kinds):
            raise refusals[0]

    def go_on(self) -> bool:
        """Take the next step of the newest open round.

        Returns:
            whether there was one to take now; `wait_s` says whether one is due later.

        Raises:
            Unreachable: the operator is away; nothing is lost, call again.
        """
        if self.witnesses.is_caught:
            self._stop_for_good()
            return False
        self.witnesses.introduce()
        for round in reversed(self._inst.rounds.open(self._agreement.digest)):
            match round.phase:
                case Phase.ORDERED:
                    self._take_part(round)
                    return True
                case Phase.JOINED:
                    return self._is_witnessed(round.reserve_size) and self._make(round)
                case Phase.STARTED:
                    return not self._slots.wait() and self._announce(round)
                case Phase.MASKED:
                    return self._is_witnessed(round.egress_size) and self._upload(round)
        return False

    def wait_s(self) -> float:
        """Return in how many seconds a masked vector may be spoken of; 0 if none waits."""
        return self._slots.wait()

    def answer_survivors(self, messages: tuple[Signed, ...], boxes: tuple[bytes, ...]) -> None:
        """Reveal what unmasks the sum of a survivor list, if it is the first list of its round.

        Raises:
            ListRefused: the operator signed it, and it is not one that may be answered.
            PeerError: it is no list of the operator for a round that is open here.
        """
        inst, terms = self._inst, self._agreement
        survivors, evidence = read_list(terms, messages), messages[1:]
        round = self._round_of(survivors.plan)
        if round is None and is_own_header_shown(inst, terms.digest, survivors.plan, evidence):
            self._stop()
        if round is None or round.held is None:
            raise PeerError("expected survivors of a round that is open here")
        self._on_phase("before-reveal", round.number)
        reveal(inst, terms, round, survivors, evidence, boxes)
        self.rest("revealed")
        self._on_phase("revealed", round.number)

    def look_for_a_forgotten_round(self, certificate: Signed) -> None:
        """Stop if a certificate that was accepted shows that this vault was restored."""
        if is_unknown_upload_counted(self._inst, certificate):
            self._stop()

    def note_deadline(self, messages: tuple[Signed, ...]) -> None:
        """Note how long the operator waits for an upload; for people, the vault goes on as before.

        Raises:
            PeerError: it is not the operator's word about a round that is open here.
        """
        if len(messages) != 1:
            raise PeerError("expected one deadline")
        operator = self._agreement.operator.identity
        raw = verify(operator.ed25519, operator.mldsa44, Purpose.DEADLINE, messages[0])
        deadline = decode(Deadline, raw)
        round = self._round_of(deadline.plan)
        if round is None:
            raise PeerError("expected a deadline of a round that is open here")
        if not 0 < deadline.until <= LAST_SECOND:
            raise PeerError(f"expected seconds since 1970, up to {LAST_SECOND}")
        with self._inst.store.transaction() as tx:
            self._inst.rounds.extend(tx, round, deadline.until)

    def upload_until(self) -> int | None:
        """Return until when the operator waits for the upload at hand, in seconds since 1970."""
        for round in self._inst.rounds.open(self._agreement.digest):
            if round.phase in (Phase.ORDERED, *UNMADE, Phase.MASKED) and round.until:
                return round.until
        return None

    def _take_part(self, round: Round) -> None:
        """Accept a plan, reserve what it costs, and wait for witnesses; or decline it."""
        inst = self._inst
        try:
            signed = self._uplink.fetch_plan(round.agreement, round.plan_digest)
            plan = self._checked_plan(round, signed)
            with inst.store.erasing() as tx:
                reserve = self._reserve(round, plan)
                inst.ledger.append(
                    tx,
                    RoundJoin(
                        agreement=round.agreement,
                        epoch=plan.epoch,
                        round=plan.round,
                        plan=round.plan_digest,
                    ),
                )
                size = inst.ledger.append(tx, reserve).sequence + 1
                for earlier in inst.rounds.open(round.agreement):
                    settle(inst, tx, earlier, RefundReason.OVERTAKEN, round.plan_digest)
                named = bytes.fromhex(round.plan_digest)
                keys = inst.epochs.use(tx, round.agreement, plan.epoch, plan.round, named)
                inst.rounds.join(tx, round, plan, reserve.nonce, size)
        except (Refusal, PeerError) as error:
            code = error.code if isinstance(error, Refusal) else RefusalCode.PLAN
            log.warning("refused", round=round.number, code=code.value, why=str(error))
            self._decline(round, Refusal(code, str(error)))
            return
        self._keys = {round.number: keys}
        self._slots.begin()
        self.rest("waiting for witnesses")
        self._on_phase("joined", round.number)

    def _is_witnessed(self, size: int | None) -> bool:
        """Tell whether enough others know of the ledger up to an entry; ask them if not."""
        if size is None:
            raise LocalError("expected a round that was reserved")
        if self.witnesses.are_enough(size):
            return True
        self.witnesses.ask(size)
        return self.witnesses.are_enough(size)

    def _make(self, round: Round) -> bool:
        """Train and mask a round that is reserved and witnessed.

        Nothing shows yet that it is done, neither on the ledger nor to witnesses, until a slot
        begins: how long it took follows the rows.
        """
        inst, plan = self._inst, round.plan
        keys = self._keys.pop(round.number, None)
        if keys is None or plan is None or round.reserve is None:
            raise LocalError("expected the keys of the round that was joined")
        self._on_phase("witnessed", round.number)
        with inst.store.transaction() as tx:
            inst.rounds.start(tx, round)
        started = self._reread(round)
        self._on_phase("started", round.number)
        dealt = self._contribute(started, plan, keys)
        del keys
        if dealt is None:
            return True
        self._dealt = {round.number: dealt}
        self._slots.choose()
        if not self._slots.wait():
            return self._announce(started)
        self.rest("waiting for its slot to upload")
        return True

    def _announce(self, round: Round) -> bool:
        """Write down what will leave of a round that was masked: from now on it is sent."""
        inst, plan, dealt = self._inst, round.plan, self._dealt.pop(round.number, None)
        if dealt is None or plan is None or round.reserve is None:
            raise LocalError("expected what was masked in the round that was started")
        sign = inst.keys.signing.sign
        header, upload = encode(dealt.header), encode(dealt.upload)
        stored = StoredUpload(
            header=header,
            header_signature=sign(Purpose.HEADER, header).signature,
            upload=upload,
            upload_signature=sign(Purpose.UPLOAD, upload).signature,
            boxes=dealt.boxes,
            leaves=dealt.leaves,
        )
        crossing = of_upload(header, upload, stored.boxes, stored.leaves)
        charge = BudgetCharge(
            nonce=round.reserve,
            outcome=Outcome.RELEASED,
            released=Digest(dealt.header.root.hex()),
        )
        egress = Egress(
            purpose=PURPOSE_OF_ROUND[plan.kind],
            receiver=self._agreement.operator.id,
            jurisdiction=self._agreement.operator.jurisdiction,
            traffic=Traffic.MECHANISM,
            message=UPLOAD,
            size_bytes=crossing.size_bytes,
            digest=crossing.digest,
            round=round.number,
            nonce=round.reserve,
        )
        with inst.store.transaction() as tx:
            inst.ledger.append(tx, charge)
            length = inst.ledger.append(tx, egress).sequence + 1
            inst.rounds.mask(tx, round, stored, dealt.held, length)
        self.rest("masked")
        self._on_phase("masked", round.number)
        return True

    def _contribute(
        self, round: Round, plan: Plan, keys: Mapping[InstitutionId, bytes]
    ) -> Dealt | None:
        """Train or score, and write it masked; None if that failed, and is spent.

        Raises:
            OSError: the disk is full.
        """
        inst = self._inst
        doing = "training" if plan.kind is RoundKind.TRAIN else "scoring"

        def on_step(done: int, of: int) -> None:
            self.doing, self.fraction = doing, done / of
            self._on_phase(doing, round.number)

        self.doing, self.fraction = doing, 0.0
        try:
            made = contribution(inst, self._agreement, self._workbench, plan, on_step)
            self.doing, self.fraction = "masking", None
            with written_durably(self._masked_file(round)) as file:
                dealt = deal(plan, inst.me, keys, made.lanes, file.write)
        except Exception as error:  # what was reserved is spent
            if is_disk_full(error):
                raise
            log.error(f"{doing} failed", round=round.number, why=type(error).__name__)
            self._forfeit(round, RefusalCode.UNAVAILABLE)
            return None
        if made.moments is not None:
            inst.models.save_moments(round.agreement, made.moments)
        return dealt

    def _upload(self, round: Round) -> bool:
        inst = self._inst
        if round.upload is None:
            raise LocalError("expected a stored upload of a masked round")
        self._on_phase("before-upload", round.number)
        self.doing, self.fraction = "uploading", None
        try:
            receipt = self._uplink.upload(round.agreement, round.upload, self._masked_file(round))
            self._check_receipt(round, receipt)
        except PeerError as error:
            log.warning("upload refused", round=round.number, why=str(error))
            with inst.store.erasing() as tx:
                refusal = Refusal(RefusalCode.UPLOAD, str(error))
                inst.note_refusal(tx, refusal, round.agreement, round.number)
                inst.rounds.close(tx, round, "refused")
        else:
            with inst.store.transaction() as tx:
                inst.rounds.receipt(tx, round)
            self.doing = "uploaded"
            self._on_phase("uploaded", round.number)
        self._masked_file(round).unlink(missing_ok=True)
        return True

    def _checked_plan(self, round: Round, signed: Signed) -> Plan:
        terms, inst = self._agreement, self._inst
        check_expiry(terms, inst.clock().date())
        inst.check_policy(terms)
        operator = terms.operator.identity
        raw = verify(operator.ed25519, operator.mldsa44, Purpose.PLAN, signed)
        plan = decode(Plan, raw)
        if (plan.round, plan_digest(plan)) != (round.number, round.plan_digest):
            raise Refusal(RefusalCode.PLAN, "expected the plan that the order names")
        epoch, members = inst.epochs.current(terms.digest)
        progress = inst.progress.get(terms.digest)
        standing = Standing(
            me=inst.me,
            epoch=epoch,
            members=members,
            newest=progress.newest,
            certificate=progress.certificate,
            model=progress.model,
            certified=progress.certified,
            scored=progress.scored,
        )
        check_plan(terms, standing, plan)
        needed, free = needed_bytes(terms), free_bytes(inst.home.path)
        if free < needed:
            raise Refusal(
                RefusalCode.UNAVAILABLE, f"expected {needed} bytes free on the disk, got {free}"
            )
        if gone := inst.agreements.withdrawn(terms.digest) & set(plan.participants):
            raise Refusal(RefusalCode.PLAN, f"expected a plan without {', '.join(sorted(gone))}")
        return plan

    def _reserve(self, round: Round, plan: Plan) -> BudgetReserve:
        return self._inst.ledger.budget().reserve(
            self._signature.dataset,
            spending_of(self._agreement),
            schedule_event(self._agreement, 1, plan.kind),
            nonce=os.urandom(NONCE_BYTES),
            epoch=plan.epoch,
            round=plan.round,
        )

    def _decline(self, round: Round, refusal: Refusal) -> None:
        with self._inst.store.erasing() as tx:
            self._close_declined(tx, round, refusal)
        self.rest(f"refused: {refusal.code.value}")

    def _forfeit(self, round: Round, code: RefusalCode) -> None:
        if round.reserve is None:
            raise LocalError("expected a reserve of a joined round")
        refusal = Refusal(code, "expected a round that was not interrupted")
        with self._inst.store.erasing() as tx:  # charged and closed at once, or twice charged
            forfeit(self._inst, tx, round.reserve)
            self._close_declined(tx, round, refusal)
        self.rest(f"refused: {code.value}")

    def _close_declined(self, tx: sqlite3.Connection, round: Round, refusal: Refusal) -> None:
        inst = self._inst
        inst.note_refusal(tx, refusal, round.agreement, round.number)
        inst.rounds.close(tx, round, refusal.code.value)
        message = Decline(
            agreement=round.agreement,
            round=round.number,
            plan=round.plan_digest,
            institution=inst.me,
            code=refusal.code,
        )
        signed = inst.keys.signing.sign(Purpose.DECLINE, encode(message))
        inst.outbox.put(tx, round.agreement, pb.PARCEL_KIND_DECLINE, signed, round.number)

    def _check_receipt(self, round: Round, signed: Signed) -> None:
        operator = self._agreement.operator.identity
        raw = verify(operator.ed25519, operator.mldsa44, Purpose.RECEIPT, signed)
        if round.held is None or decode(Receipt, raw).header != round.held.header:
            raise PeerError("expected a receipt of the upload that was sent")

    def _stop(self) -> None:
        stop_until_a_new_epoch(self._inst, self._agreement.digest)
        self.rest("restored; waiting for a new key epoch")

    def _stop_for_good(self) -> None:
        """Let nothing leave any more: others have witnessed a newer ledger of this vault."""
        if not self._is_stopped:
            self._give_up(RefusalCode.RESTORED)
            stop_until_a_new_epoch(self._inst, self._agreement.digest)
            self.rest(OUTDATED)
            self._is_stopped = True

    def _round_of(self, plan: Digest) -> Round | None:
        for round in self._inst.rounds.open(self._agreement.digest):
            if round.plan_digest == plan:
                return round
        return None

    def _reread(self, round: Round) -> Round:
        current = self._inst.rounds.get(round.agreement, round.number)
        if current is None:
            raise LocalError("expected a round that is stored")
        return current

    def _newest(self, agreement: Digest) -> int:
        return max(self._inst.rounds.newest(agreement), self._inst.progress.get(agreement).newest)

    def _masked_file(self, round: Round) -> Path:
        return self._inst.home.outbox / f"{round.agreement[:16]}-{round.number}.masked"
