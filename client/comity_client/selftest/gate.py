"""Nothing trains whose self-test failed twice: the attempts on the ledger, and what follows.

An alarm is repeated once, for a clean vault has one in a thousand by chance. Both attempts go onto
the ledger. After the second failure the agreement is barred, also after a restart, until a person
has had a self-test pass: `comity client selftest`. Knows nothing of PyTorch.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import structlog

from comity_client.institution import Institution
from comity_client.ledger import Ledger
from comity_common.ids import Digest
from comity_common.ledger.bodies import EntryKind, SelfTest, Verdict
from comity_host.files import is_disk_full

log = structlog.get_logger()

ATTEMPTS = 2
BARRED = "the self-test failed twice, nothing is trained; comity client selftest shows more"
UNFINISHED = "finished"  # the test that fails when an examination breaks off


class Examined(Protocol):
    """One attempt, as far as the ledger knows it; see `Examination`."""

    @property
    def tests(self) -> tuple[str, ...]:
        """The ids of all tests."""

    @property
    def failed(self) -> tuple[str, ...]:
        """The ids of those that failed."""


E = TypeVar("E", bound=Examined)


def passes(inst: Institution, agreement: Digest, examine: Callable[[], Examined]) -> bool:
    """Examine, once more on an alarm, and tell whether training may begin."""
    return any(
        examined is not None and not examined.failed
        for examined in attempts(inst, agreement, examine)
    )


def attempts(inst: Institution, agreement: Digest, examine: Callable[[], E]) -> Iterator[E | None]:
    """Examine until an attempt passes, twice at most; each is on the ledger before it is told.

    Args:
        agreement: whose machinery it is; empty for standard terms.

    Yields:
        what each attempt found; None if it broke off, which is a failure.
    """
    for attempt in range(1, ATTEMPTS + 1):
        examined = _examined(examine)
        tests = (UNFINISHED,) if examined is None else examined.tests
        failed = (UNFINISHED,) if examined is None else examined.failed
        entry = SelfTest(
            verdict=Verdict.FAIL if failed else Verdict.PASS,
            tests=tests,
            failed=failed,
            attempt=attempt,
            agreement=agreement,
        )
        with inst.store.transaction() as tx:
            inst.ledger.append(tx, entry)
        if failed:
            log.error("self-test failed", attempt=attempt, failed=list(failed))
        yield examined
        if not failed:
            return


def is_barred(ledger: Ledger, agreement: Digest) -> bool:
    """Tell whether the last self-test under an agreement was a second failure."""
    barred = False
    for entry in ledger.entries():
        if entry.kind is EntryKind.SELFTEST:
            body = entry.body
            if isinstance(body, SelfTest) and body.agreement == agreement:
                barred = body.verdict is Verdict.FAIL and body.attempt == ATTEMPTS
    return barred


def _examined(examine: Callable[[], E]) -> E | None:
    try:
        return examine()
    except Exception as error:  # what breaks here would break a round
        if is_disk_full(error):
            raise
        log.error("self-test broke off", why=type(error).__name__)
        return None
