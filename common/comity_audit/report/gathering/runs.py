"""All rounds that were joined, and how each ended for the budget."""

from collections.abc import Iterable
from dataclasses import dataclass

from comity_audit.ledgers.entries import AuditedLedger
from comity_audit.report.facts import MAX_LISTED, RoundFacts, RoundOutcome, Run
from comity_common.dp.terms import DISCRETE_GAUSSIAN
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetRefund,
    BudgetReserve,
    Egress,
    RoundJoin,
    RoundVoid,
)


@dataclass(slots=True, kw_only=True)
class _Round:
    """A round as far as the ledger has come."""

    agreement: Digest
    epoch: int
    round: int
    time: str
    is_score: bool = False
    outcome: RoundOutcome = RoundOutcome.NOTHING
    is_void: bool = False
    bytes: int = 0
    digest: str = ""

    def facts(self) -> RoundFacts:
        return RoundFacts(
            epoch=self.epoch,
            round=self.round,
            is_score=self.is_score,
            time=self.time,
            outcome=self.outcome,
            is_void=self.is_void,
            bytes=self.bytes,
            digest=self.digest,
        )


def runs_of(ledger: AuditedLedger) -> tuple[Run, ...]:
    """Tell the rounds under each agreement, in the order of their first."""
    rounds: dict[tuple[Digest, int, int], _Round] = {}
    reserved: dict[bytes, _Round] = {}
    for entry in ledger.entries:
        match entry.body:
            case RoundJoin() | RoundVoid() | BudgetReserve() as body:
                key = (body.agreement, body.epoch, body.round)
                known = rounds.setdefault(
                    key,
                    _Round(
                        agreement=body.agreement,
                        epoch=body.epoch,
                        round=body.round,
                        time=entry.time,
                    ),
                )
                if isinstance(body, RoundVoid):
                    known.is_void = True
                elif isinstance(body, BudgetReserve):
                    reserved[body.nonce] = known
                    known.outcome = RoundOutcome.OPEN
                    known.is_score = body.event.mechanism == DISCRETE_GAUSSIAN
            case BudgetCharge(nonce=nonce, outcome=outcome) if nonce in reserved:
                reserved[nonce].outcome = RoundOutcome(outcome.value)
            case BudgetRefund(nonce=nonce) if nonce in reserved:
                reserved[nonce].outcome = RoundOutcome.REFUNDED
            case Egress(nonce=nonce) as left if nonce in reserved:
                reserved[nonce].bytes, reserved[nonce].digest = left.size_bytes, left.digest
    names = dict.fromkeys(agreement for agreement, _, _ in rounds)
    return tuple(
        _run(name, [one for one in rounds.values() if one.agreement == name]) for name in names
    )


def _run(agreement: Digest, rounds: list[_Round]) -> Run:
    def ended(outcome: RoundOutcome) -> int:
        return _count(one.outcome is outcome for one in rounds)

    return Run(
        agreement=agreement,
        joined=len(rounds),
        released=ended(RoundOutcome.RELEASED),
        forfeited=ended(RoundOutcome.FORFEITED),
        refunded=ended(RoundOutcome.REFUNDED),
        open=ended(RoundOutcome.OPEN),
        void=_count(one.is_void for one in rounds),
        rounds=tuple(one.facts() for one in rounds[-MAX_LISTED:]),
    )


def _count(which: Iterable[bool]) -> int:
    return sum(which)
