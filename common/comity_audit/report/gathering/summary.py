"""The summary: what can be said in a sentence each, and what became of it."""

from collections.abc import Sequence

from comity_audit.ledgers.verification import Verification
from comity_audit.report.facts import (
    MAX_LISTED,
    CheckedClaim,
    ClaimId,
    Conclusion,
    Crossings,
    Recomputation,
    SelfTests,
    Summary,
    cut,
)
from comity_audit.report.gathering.integrity import time_of
from comity_audit.steps import Outcome, Step
from comity_common.agreement import Agreement

OF_STEPS: dict[ClaimId, tuple[str, ...]] = {
    ClaimId.WHOLE: ("agreements", "entries", "head", "signatures"),
    ClaimId.WITNESSED: ("witnesses",),
    ClaimId.VOUCHED: ("anchor",),
    ClaimId.CONTINUES: ("older head",),
    ClaimId.NEVER_RESTORED: ("restores",),
    ClaimId.COVERED: ("traffic",),
    ClaimId.BUDGET: ("budget", "rounds"),
    ClaimId.TESTED: ("self-tests",),
}
"""Which steps of the verification a claim rests on."""

_MEANING = {
    Outcome.HOLDS: Conclusion.HOLDS,
    Outcome.FAILS: Conclusion.FAILS,
    Outcome.WORD: Conclusion.PARTLY,
    Outcome.ABSENT: Conclusion.OPEN,
    Outcome.UNANCHORED: Conclusion.OPEN,
}
_WORST = (Conclusion.FAILS, Conclusion.OPEN, Conclusion.PARTLY, Conclusion.HOLDS)


def summary_of(
    verification: Verification,
    steps: Sequence[Step],
    findings: Sequence[str],
    *,
    made: str,
    software: str,
    recomputation: Recomputation,
    self_tests: SelfTests,
    crossings: Crossings | None,
) -> Summary:
    """Sum up.

    Args:
        findings: of everything but the crossings.
    """
    ledger, witnessed = verification.ledger, verification.witnessed
    owner = ledger.parties.owner
    unmatched = () if crossings is None else crossings.unmatched
    count = len(findings) + (0 if crossings is None else crossings.unmatched_count)
    conclusions = _conclusions(steps)
    if not self_tests.tests and conclusions[ClaimId.TESTED] is Conclusion.HOLDS:
        conclusions[ClaimId.TESTED] = Conclusion.OPEN
    conclusions[ClaimId.EPSILON] = _epsilon(recomputation)
    conclusions[ClaimId.MATCHED] = _matched(crossings)
    return Summary(
        made=made,
        software=software,
        owner=owner.id,
        name=cut(owner.name),
        country=owner.jurisdiction,
        is_operator=any(_operates(one, owner.id) for one in ledger.parties.agreements.values()),
        first=ledger.entries[0].time,
        last=ledger.entries[-1].time,
        entries=len(ledger.entries),
        is_anchored=bool(ledger.parties.vouched),
        complete="" if witnessed.complete is None else time_of(witnessed.complete),
        findings=tuple(map(cut, (*findings, *unmatched)[:MAX_LISTED])),
        findings_count=count,
        claims=tuple(CheckedClaim(id=id, conclusion=conclusions[id]) for id in ClaimId),
    )


def _operates(agreement: Agreement, owner: str) -> bool:
    return agreement.operator.id == owner


def _conclusions(steps: Sequence[Step]) -> dict[ClaimId, Conclusion]:
    by_name = {step.name: _MEANING[step.outcome] for step in steps}
    found = {}
    for id, names in OF_STEPS.items():
        outcomes = [by_name.get(name, Conclusion.OPEN) for name in names]
        found[id] = min(outcomes, key=_WORST.index)
    return found


def _epsilon(recomputation: Recomputation) -> Conclusion:
    amounts = recomputation.amounts
    if not all(one.agree and one.is_kept for one in amounts):
        return Conclusion.FAILS
    if not amounts:
        return Conclusion.OPEN
    return Conclusion.HOLDS if recomputation.has_second else Conclusion.PARTLY


def _matched(crossings: Crossings | None) -> Conclusion:
    if crossings is None:
        return Conclusion.OPEN
    return Conclusion.FAILS if crossings.unmatched_count else Conclusion.HOLDS
