"""Finds what a report says in a verified ledger; one module for each section."""

from collections.abc import Sequence

from comity_audit.ledgers.epsilons import NamespaceEpsilon
from comity_audit.ledgers.verification import Verification
from comity_audit.report.evidence import evidence_for, limits
from comity_audit.report.facts import VERSION, PackageFacts, Report
from comity_audit.report.gathering.amounts import recomputation_of
from comity_audit.report.gathering.budgets import histories
from comity_audit.report.gathering.claims import claims_of
from comity_audit.report.gathering.incidents import incidents_of
from comity_audit.report.gathering.integrity import integrity_of
from comity_audit.report.gathering.operation import operation_of
from comity_audit.report.gathering.parties import parties_of
from comity_audit.report.gathering.runs import runs_of
from comity_audit.report.gathering.selftests import self_tests_of
from comity_audit.report.gathering.summary import summary_of
from comity_audit.report.gathering.traffic import traffic_of
from comity_audit.steps import Step
from comity_common.errors import LocalError


def gather(
    verification: Verification,
    steps: Sequence[Step],
    recomputed: Sequence[NamespaceEpsilon] | None,
    *,
    package: PackageFacts,
    made: str = "",
    software: str = "",
) -> Report:
    """Put a report together.

    Args:
        verification: finished, and founded.
        steps: that it gave.
        recomputed: None if the ledger's entries do not fit each other.
        made: now, `YYYY-MM-DDTHH:MM:SSZ`; empty for no date.
        software: name and version of what makes the report.

    Raises:
        LocalError: the verification did not come so far that there is a ledger.
    """
    if not verification.is_founded:
        raise LocalError("expected a verified ledger, got one whose foundations do not hold")
    ledger = verification.ledger
    findings = [
        *verification.findings,
        *(one for space in recomputed or () for one in space.findings),
    ]
    recomputation, self_tests = recomputation_of(recomputed), self_tests_of(ledger)
    summary = summary_of(
        verification,
        steps,
        findings,
        made=made,
        software=software,
        recomputation=recomputation,
        self_tests=self_tests,
    )
    parties, budgets = parties_of(ledger.parties), histories(ledger)
    claims, traffic = tuple(claims_of(ledger)), traffic_of(ledger, verification.crossings)
    return Report(
        version=VERSION,
        summary=summary,
        parties=parties,
        claims=claims,
        budgets=budgets,
        runs=runs_of(ledger),
        operation=operation_of(ledger),
        recomputation=recomputation,
        self_tests=self_tests,
        traffic=traffic,
        incidents=incidents_of(ledger),
        integrity=integrity_of(verification, steps, package),
        evidence=evidence_for(summary, parties, claims, budgets, recomputation, traffic),
        limits=limits(),
    )
