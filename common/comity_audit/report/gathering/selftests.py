"""The self-tests of the machinery, which are on made-up rows alone."""

from comity_audit.ledgers.entries import AuditedLedger
from comity_audit.report.facts import MAX_LISTED, SelfTestFacts, SelfTests
from comity_common.ledger.bodies import SelfTest, Verdict


def self_tests_of(ledger: AuditedLedger) -> SelfTests:
    """Tell all self-tests."""
    tests = [
        SelfTestFacts(
            sequence=entry.sequence,
            time=entry.time,
            agreement=entry.body.agreement,
            passed=entry.body.verdict is Verdict.PASS,
            attempt=entry.body.attempt,
            tests=entry.body.tests,
            failed=entry.body.failed,
        )
        for entry in ledger.entries
        if isinstance(entry.body, SelfTest)
    ]
    passed = sum(one.passed for one in tests)
    return SelfTests(
        passed=passed,
        failed=len(tests) - passed,
        lower_bound="",
        tests=tuple(tests[-MAX_LISTED:]),
    )
