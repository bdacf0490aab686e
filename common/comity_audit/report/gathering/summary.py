"""The summary: what can be said in a sentence each, and what became of it."""

from collections.abc import Sequence

from comity_audit.ledgers.parties import Side
from comity_audit.ledgers.verification import Verification
from comity_audit.report.facts import (
    MAX_LISTED,
    CheckedClaim,
    ClaimId,
    Conclusion,
    Recomputation,
    SelfTests,
    Summary,
    cut,
)
from comity_audit.report.gathering.integrity import time_of
from comity_audit.steps import Outcome, Step

OF_STEPS: dict[ClaimId, tuple[str, ...]] = {
    ClaimId.WHOLE: ("agreements", "entries", "head", "signatures"),
    ClaimId.WITNESSED: ("witnesses",),
    ClaimId.VOUCHED: ("anchor",),
    ClaimId.CONTINUES: ("older head",),
    ClaimId.OVERSEEN: ("outsiders",),
    ClaimId.NEVER_RESTORED: ("restores",),
    ClaimId.COVERED: ("traffic",),
    ClaimId.BUDGET: ("budget", "rounds"),
    ClaimId.TESTED: ("self-tests",),
    ClaimId.OPERATED: ("arrivals", "runs", "heads"),
    ClaimId.MATCHED: ("crossings",),
}
"""Which steps of the verification a claim rests on."""

OF_INSTITUTIONS = frozenset(
    {
        ClaimId.COVERED,
        ClaimId.BUDGET,
        ClaimId.EPSILON,
        ClaimId.EPSILON_ONCE,
        ClaimId.TESTED,
        ClaimId.MATCHED,
    }
)
"""Claims that say nothing of an operator's ledger, as `OPERATED` says nothing of others."""

_MEANING = {  # an inapplicable step means nothing
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
) -> Summary:
    """Sum up.

    Args:
        findings: of everything that was checked.
    """
    ledger, witnessed = verification.ledger, verification.witnessed
    owner = ledger.parties.owner
    is_operator = Side.OPERATOR in ledger.parties.sides
    conclusions = _conclusions(steps)
    if not self_tests.tests and conclusions.get(ClaimId.TESTED) is Conclusion.HOLDS:
        conclusions[ClaimId.TESTED] = Conclusion.OPEN
    conclusions[_claimed(recomputation)] = _epsilon(recomputation)
    return Summary(
        made=made,
        software=software,
        owner=owner.id,
        name=cut(owner.name),
        country=owner.jurisdiction,
        is_operator=is_operator,
        first=ledger.entries[0].time,
        last=ledger.entries[-1].time,
        entries=len(ledger.entries),
        is_anchored=bool(ledger.parties.vouched),
        complete="" if witnessed.complete is None else time_of(witnessed.complete),
        findings=tuple(map(cut, findings[:MAX_LISTED])),
        findings_count=len(findings),
        claims=tuple(
            CheckedClaim(id=id, conclusion=conclusions[id])
            for id in ClaimId
            if id in conclusions
            and (_is_about(id, is_operator) or conclusions[id] is Conclusion.FAILS)
        ),
    )


def _is_about(id: ClaimId, is_operator: bool) -> bool:
    return id not in OF_INSTITUTIONS if is_operator else id is not ClaimId.OPERATED


def _conclusions(steps: Sequence[Step]) -> dict[ClaimId, Conclusion]:
    """Take the worst of the steps that a claim rests on; no claim rests on inapplicable ones."""
    inapplicable = {step.name for step in steps if step.outcome is Outcome.INAPPLICABLE}
    by_name = {step.name: _MEANING[step.outcome] for step in steps if step.name not in inapplicable}
    found = {}
    for id, names in OF_STEPS.items():
        if resting := [name for name in names if name not in inapplicable]:
            outcomes = [by_name.get(name, Conclusion.OPEN) for name in resting]
            found[id] = min(outcomes, key=_WORST.index)
    return found


def _claimed(recomputation: Recomputation) -> ClaimId:
    return ClaimId.EPSILON if recomputation.has_second else ClaimId.EPSILON_ONCE


def _epsilon(recomputation: Recomputation) -> Conclusion:
    amounts = recomputation.amounts
    if any(one.agree is False or not one.is_kept for one in amounts):
        return Conclusion.FAILS
    return Conclusion.HOLDS if amounts else Conclusion.OPEN
