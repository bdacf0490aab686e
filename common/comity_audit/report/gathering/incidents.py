"""Refusals, void rounds, complaints, restores, remarks: everything that was not ordinary."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from comity_audit.ledgers.entries import AuditedLedger
from comity_audit.report.facts import (
    MAX_LISTED,
    IncidentFacts,
    Incidents,
    RefusalFacts,
    cut,
)
from comity_common.ledger.bodies import (
    Body,
    BudgetCharge,
    BudgetRefund,
    Egress,
    EntryKind,
    Note,
    Outcome,
    Refused,
    Restore,
    RoundComplaint,
    RoundVoid,
)
from comity_common.ledger.entries import Entry

EPOCH_KEYS = "parcel_kind_epoch_keys"


def incidents_of(ledger: AuditedLedger) -> Incidents:
    """Tell what was not ordinary."""
    bodies = [entry.body for entry in ledger.entries]
    count = Counter(entry.kind for entry in ledger.entries)
    restores = [one for one in bodies if isinstance(one, Restore)]
    incidents = [_incident(entry) for entry in ledger.entries if _is_one(entry.body)]
    return Incidents(
        refusals=tuple(_refusals(ledger)),
        voids=count[EntryKind.ROUND_VOID],
        complaints=count[EntryKind.ROUND_COMPLAINT],
        restores=len(restores),
        declared=sum(bool(one.generation) for one in restores),
        notes=count[EntryKind.NOTE],
        forfeited=sum(_is_forfeited(one) for one in bodies),
        refunded=count[EntryKind.BUDGET_REFUND],
        policies=count[EntryKind.POLICY_SET],
        key_epochs=sum(isinstance(one, Egress) and one.message == EPOCH_KEYS for one in bodies),
        key_rotations=count[EntryKind.KEY_ROTATE],
        incidents=tuple(incidents[-MAX_LISTED:]),
    )


def _refusals(ledger: AuditedLedger) -> Iterator[RefusalFacts]:
    times: dict[str, list[str]] = defaultdict(list)
    for entry in ledger.entries:
        if isinstance(entry.body, Refused):
            times[entry.body.code.value].append(entry.time)
    for code, all_ in sorted(times.items()):
        yield RefusalFacts(code=code, count=len(all_), first=all_[0], last=all_[-1])


def _is_forfeited(body: Body) -> bool:
    return isinstance(body, BudgetCharge) and body.outcome is Outcome.FORFEITED


def _is_one(body: Body) -> bool:
    wanted = (RoundVoid, RoundComplaint, Restore, Note, BudgetRefund)
    return isinstance(body, wanted) or _is_forfeited(body)


def _incident(entry: Entry) -> IncidentFacts:
    told = ""
    match entry.body:
        case RoundVoid(reason=reason):
            told = reason
        case RoundComplaint(dealers=dealers):
            told = ", ".join(dealers)
        case BudgetRefund(reason=reason):
            told = reason.value
        case Note(text=text):
            told = text
    return IncidentFacts(
        sequence=entry.sequence,
        time=entry.time,
        kind="restore.declared" if _is_declared(entry.body) else entry.kind.value,
        round=getattr(entry.body, "round", None),
        told=cut(told),
    )


def _is_declared(body: Body) -> bool:
    return isinstance(body, Restore) and bool(body.generation)
