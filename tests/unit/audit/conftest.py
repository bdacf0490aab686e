"""One report for all tests that only look at it."""

import pytest
from tests.unit.audit.reported import full, operators

from comity_audit.report.writing import Written


@pytest.fixture(scope="session")
def written() -> Written:
    """The report of a ledger with something of everything, held against the operator's."""
    ledger = full()
    return ledger.written(operator=operators(ledger), recomputing=True)
