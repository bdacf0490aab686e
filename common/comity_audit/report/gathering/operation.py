"""What an operator ran: members, rounds, models, and the heads that it witnessed."""

from collections import Counter
from collections.abc import Iterator

from comity_audit.ledgers.entries import AuditedLedger
from comity_audit.report.facts import OperatedRun, Operation
from comity_common.ledger.bodies import EntryKind
from comity_common.ledger.operatorbodies import ModelRelease, RoundCertificate, RoundPlan


def operation_of(ledger: AuditedLedger) -> Operation:
    """Tell it; all zero for an institution."""
    count = Counter(entry.kind for entry in ledger.entries)
    return Operation(
        approved=count[EntryKind.MEMBER_APPROVE],
        revoked=count[EntryKind.MEMBER_REVOKE],
        heads=count[EntryKind.HEAD],
        runs=tuple(_runs(ledger)),
    )


def _runs(ledger: AuditedLedger) -> Iterator[OperatedRun]:
    bodies = [entry.body for entry in ledger.entries]
    kinds = (RoundPlan, RoundCertificate, ModelRelease)
    told = [one for one in bodies if isinstance(one, kinds)]
    for agreement in dict.fromkeys(one.agreement for one in told):
        under = [one for one in told if one.agreement == agreement]
        ends = [one for one in under if isinstance(one, RoundCertificate)]
        void = sum(one.is_void for one in ends)
        yield OperatedRun(
            agreement=agreement,
            planned=sum(isinstance(one, RoundPlan) for one in under),
            certified=len(ends) - void,
            void=void,
            released=sum(isinstance(one, ModelRelease) for one in under),
        )
