"""That the log is whole, who says so, and what was looked at."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from comity_audit.ledgers.heads import Witnessed
from comity_audit.ledgers.verification import Verification
from comity_audit.report.facts import Integrity, PackageFacts, StepFacts, WitnessFacts, cut
from comity_audit.steps import Step


def integrity_of(
    verification: Verification, steps: Sequence[Step], package: PackageFacts
) -> Integrity:
    """Tell the head, its witnesses, and every step."""
    checkpoint, entries = verification.checkpoint, verification.ledger.entries
    return Integrity(
        package=package,
        origin=cut(checkpoint.origin),
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        generations=len({entry.generation for entry in entries}),
        needed=verification.witnessed.needed,
        witnesses=tuple(_witnesses(verification.witnessed)),
        steps=tuple(
            StepFacts(
                number=step.number,
                name=step.name,
                outcome=step.outcome,
                detail=cut(step.detail),
            )
            for step in steps
        ),
    )


def time_of(seconds: int) -> str:
    """Write POSIX seconds as an entry's time; empty for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return ""


def _witnesses(witnessed: Witnessed) -> Iterator[WitnessFacts]:
    for counts, those in ((True, witnessed.institutions), (False, witnessed.others)):
        for one in those:
            yield WitnessFacts(name=cut(one.name), time=time_of(one.time), counts=counts)
