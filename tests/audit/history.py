"""What happens to a vault, in the entries that the vault itself writes and in their order.

Enrolment, rows and their budget, an agreement refused and one signed, a self-test that passes at
its second attempt, and rounds: some with an upload, one void, one overtaken, one interrupted. Then
an agreement that goes on, with rounds of its own; before it, for some, a restore from a backup.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from comity_common.agreement import Agreement
from comity_common.dp.budget import Budget
from comity_common.dp.terms import Gate, Guarantee
from comity_common.errors import RefusalCode
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    NO_AGREEMENT,
    AgreementSign,
    Body,
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    BudgetReserve,
    DatasetId,
    DatasetRegister,
    Egress,
    Genesis,
    NamespaceId,
    Note,
    Outcome,
    PolicySet,
    RefundReason,
    Refused,
    Restore,
    RoundComplaint,
    RoundJoin,
    RoundVoid,
    SelfTest,
    Traffic,
    Verdict,
)
from comity_common.ledger.controls import CONTROLS
from comity_common.mechanisms import schedule_event, spending_of
from comity_common.secagg.kinds import RoundKind
from tests.audit.federation import Federation

TESTS = ("clipping", "noise-scale", "sampling")
WITNESSES = 2  # of the others, that ask for a cosignature at about the same time


class Written(Protocol):
    """A ledger that can be written to."""

    budget: Budget

    def write(self, body: Body) -> None:
        """Write the next entry."""


class History:
    """One vault's life.

    Args:
        book: the ledger that it is written to.
        dataset: what it trains on.
    """

    def __init__(
        self,
        book: Written,
        federation: Federation,
        chance: random.Random,
        dataset: DatasetId | None = None,
    ) -> None:
        self._book = book
        self._write: Callable[[Body], None] = book.write
        self._federation = federation
        self._chance = chance
        self._namespace = NamespaceId(self._nonce().hex())
        self._dataset = dataset or DatasetId(self._nonce().hex())
        self._rounds: dict[Digest, int] = {}
        self._unsettled: BudgetReserve | None = None

    def live(self, *, restored: bool = False) -> None:
        """Write all of it.

        Args:
            restored: whether the vault comes back from a backup before the second agreement.
        """
        self._write(Genesis(nonce=self._nonce(), software="comity 0.1.0"))
        self._write(PolicySet(policy=self._digest()))
        self.enrol()
        self.register()
        first, second = self._federation.first, self._federation.second
        refused = self._federation.refused.digest
        self._write(Refused(code=RefusalCode.POLICY, agreement=refused, round=None))
        self.sign(first)
        self.begin(first)
        self.upload(first)
        self.void(first)
        self.upload(first)
        self.overtaken(first)
        self.upload(first, RoundKind.EVALUATE)
        self.interrupted(first)
        self._write(Refused(code=RefusalCode.STALE_ROUND, agreement=first.digest, round=1))
        self._write(Note(text="the vault was moved to another room", about=None))
        if restored:
            self.restore(first)
        self.sign(second)
        self.begin(second)
        self.upload(second)
        self.complain(second)
        self.upload(second)

    def enrol(self) -> None:
        """Join an operator."""
        for message in ("greet", "enrol", "ask", "probe", "fetch-agreements"):
            self.control(message)

    def register(self) -> None:
        """Register rows twice, with one budget, of which two parts are granted."""
        first, second = self._federation.first.privacy, self._federation.second.privacy
        ceiling = Guarantee(
            epsilon=first.epsilon + second.epsilon, delta=first.delta + second.delta
        )
        rows = DatasetRegister(
            dataset=self._dataset,
            namespace=self._namespace,
            commitment=self._digest(),
            schema=self._digest(),
            unit=first.unit,
            ceiling=ceiling,
            parent=DatasetId(""),
        )
        self._write(rows)
        newer = DatasetId(self._nonce().hex())
        self._write(replace(rows, dataset=newer, commitment=self._digest(), parent=rows.dataset))
        grant = BudgetGrant(
            grant=self._nonce(),
            namespace=self._namespace,
            guarantee=Guarantee(epsilon=first.epsilon - 1, delta=first.delta),
            gate=Gate.RENYI,
            order=first.order,
        )
        self._write(grant)
        self._write(replace(grant, guarantee=Guarantee(epsilon=first.epsilon, delta=first.delta)))
        self._write(
            replace(
                grant,
                grant=self._nonce(),
                guarantee=Guarantee(epsilon=second.epsilon, delta=second.delta),
                gate=Gate.FIXED_SCHEDULE,
                order=0,
            )
        )

    def sign(self, agreement: Agreement) -> None:
        """Sign an agreement."""
        self._write(AgreementSign(agreement=agreement.digest))
        self.control("parcel_kind_signature")

    def begin(self, agreement: Agreement) -> None:
        """Try the machinery out and set up keys."""
        for attempt, failed in ((1, TESTS[1:2]), (2, ())):
            self._write(
                SelfTest(
                    verdict=Verdict.FAIL if failed else Verdict.PASS,
                    tests=TESTS,
                    failed=failed,
                    attempt=attempt,
                    agreement=agreement.digest,
                )
            )
        self.control("follow")
        self.be_witnessed()
        for message in ("keys", "halves", "views"):
            self.control(f"parcel_kind_epoch_{message}")

    def be_witnessed(self) -> None:
        """Ask for cosignatures, and give some."""
        self.control("parcel_kind_head")
        for _ in range(self._chance.randint(1, WITNESSES)):
            self.control("parcel_kind_cosignature")

    def upload(self, agreement: Agreement, kind: RoundKind = RoundKind.TRAIN) -> None:
        """Take part in a whole round."""
        reserve = self._join(agreement, kind)
        self._leave(agreement, reserve)
        self.be_witnessed()
        for message in ("parcel_kind_reveal", "fetch-total", "parcel_kind_endorsement"):
            self.control(message)

    def void(self, agreement: Agreement) -> None:
        """Join a round that ends before noise is drawn: what was reserved is given back."""
        reserve = self._join(agreement)
        self._refund(reserve, RefundReason.ROUND_VOID, self._digest())
        self._write(
            RoundVoid(
                agreement=agreement.digest,
                epoch=reserve.epoch,
                round=reserve.round,
                plan=self._plan,
                reason="2 of 4 uploads arrived",
            )
        )
        self.control("parcel_kind_endorsement")

    def overtaken(self, agreement: Agreement) -> None:
        """Join a round that a later one overtakes."""
        self._unsettled = self._join(agreement)

    def interrupted(self, agreement: Agreement) -> None:
        """Die with noise drawn and nothing masked: it is spent."""
        reserve = self._join(agreement)
        self._forfeit(reserve.nonce)
        self._write(
            Refused(code=RefusalCode.INTERRUPTED, agreement=agreement.digest, round=reserve.round)
        )
        self.control("parcel_kind_decline")

    def complain(self, agreement: Agreement) -> None:
        """Find a false share after the upload."""
        reserve = self._join(agreement)
        self._leave(agreement, reserve)
        self._write(
            RoundComplaint(
                agreement=agreement.digest,
                epoch=reserve.epoch,
                round=reserve.round,
                plan=self._plan,
                dealers=(agreement.roster[2],),
            )
        )
        self.control("parcel_kind_reveal")

    def restore(self, agreement: Agreement) -> None:
        """Come back from a backup: all that an agreement may still have spent is forfeited."""
        round = self._rounds[agreement.digest]
        self._write(Restore(agreement=agreement.digest, epoch=1, round=round))
        terms, budget = spending_of(agreement), self._book.budget
        for event in budget.unreserved(self._dataset, terms):
            reserve = budget.reserve(
                self._dataset, terms, event, nonce=self._nonce(), epoch=1, round=round
            )
            self._write(reserve)
            self._forfeit(reserve.nonce)
        self._write(Restore(agreement=NO_AGREEMENT, epoch=0, round=0, generation=self._nonce()))

    def control(self, message: str) -> None:
        """Let a control message leave."""
        most = CONTROLS[message].limit(len(self._federation.keys))
        operator = self._federation.first.operator
        self._write(
            Egress(
                purpose="federated-training",
                receiver=operator.id,
                jurisdiction=operator.jurisdiction,
                traffic=Traffic.CONTROL,
                message=message,
                size_bytes=self._chance.randint(most // 4, most // 2),
                digest=self._digest(),
                round=None,
                nonce=b"",
            )
        )

    def _join(self, agreement: Agreement, kind: RoundKind = RoundKind.TRAIN) -> BudgetReserve:
        """Accept a plan and reserve what it costs; the round before is closed."""
        round = self._rounds[agreement.digest] = self._rounds.get(agreement.digest, 0) + 1
        self._plan = self._digest()
        self.control("fetch-plan")
        self._write(RoundJoin(agreement=agreement.digest, epoch=1, round=round, plan=self._plan))
        reserve = self._book.budget.reserve(
            self._dataset,
            spending_of(agreement),
            schedule_event(agreement, 1, kind),
            nonce=self._nonce(),
            epoch=1,
            round=round,
        )
        self._write(reserve)
        if self._unsettled is not None:
            self._refund(self._unsettled, RefundReason.OVERTAKEN, self._plan)
            self._unsettled = None
        self.be_witnessed()
        return reserve

    def _leave(self, agreement: Agreement, reserve: BudgetReserve) -> None:
        """Charge a reserve, and let a masked vector leave."""
        self._write(
            BudgetCharge(nonce=reserve.nonce, outcome=Outcome.RELEASED, released=self._digest())
        )
        self._write(
            Egress(
                purpose="federated-training",
                receiver=agreement.operator.id,
                jurisdiction=agreement.operator.jurisdiction,
                traffic=Traffic.MECHANISM,
                message="upload",
                size_bytes=self._chance.randint(1_000, 2_000),
                digest=self._digest(),
                round=reserve.round,
                nonce=reserve.nonce,
            )
        )

    def _refund(self, reserve: BudgetReserve, reason: RefundReason, evidence: Digest) -> None:
        self._write(BudgetRefund(nonce=reserve.nonce, reason=reason, evidence=evidence))

    def _forfeit(self, nonce: bytes) -> None:
        self._write(BudgetCharge(nonce=nonce, outcome=Outcome.FORFEITED, released=Digest("")))

    def _nonce(self) -> bytes:
        return self._chance.randbytes(16)

    def _digest(self) -> Digest:
        return Digest(self._chance.randbytes(32).hex())
