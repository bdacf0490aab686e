"""Rules about the budget: what was reserved was agreed, granted, and within the ceiling.

The budget is a view over the ledger; here it is replayed from the first entry, and every reserve
asked for once more by the rules that the vault itself has. A reserve that was only ever counted as
spent, after a backup, needs no agreement: it makes nothing leave.
"""

from collections.abc import Iterator

from comity_audit.ledgers.entries import AuditedLedger
from comity_common.agreement import Agreement
from comity_common.dp.budget import Budget
from comity_common.dp.tally import is_within
from comity_common.errors import LocalError, Refusal
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    NO_AGREEMENT,
    AgreementSign,
    BudgetGrant,
    BudgetReserve,
    DatasetId,
    Egress,
    Restore,
    RoundJoin,
    agreement_of,
)
from comity_common.ledger.entries import Entry
from comity_common.ledger.signers import signers
from comity_common.mechanisms import kinds_of, schedule_event, spending_of


def signing(ledger: AuditedLedger) -> Iterator[str]:
    """Every agreement that an entry names is here and no other, with its signatures and no more."""
    parties = ledger.parties
    named: set[Digest] = {NO_AGREEMENT, Digest("")}
    for entry in ledger.entries:
        digest = agreement_of(entry.body)
        if digest not in parties.agreements and digest not in named:
            yield f"entry {entry.sequence}: the agreement {digest[:16]}… is not in the package"
        named.add(digest)
    for digest in sorted(parties.agreements.keys() - named):
        yield f"the agreement {digest[:16]}… is in the package, and no entry names it"
    bodies = (entry.body for entry in ledger.entries)
    due = signers(parties.owner.id, bodies, parties.agreements)
    for digest, given in sorted(parties.signers.items()):
        if missing := due[digest] - given:
            yield f"under the agreement {digest[:16]}… {_all(missing)} must have signed"
        if more := given - due[digest]:
            yield f"no entry tells why {_all(more)} signed the agreement {digest[:16]}…"


def _all(parties: frozenset[InstitutionId]) -> str:
    return ", ".join(sorted(parties))


def spending(ledger: AuditedLedger) -> Iterator[str]:
    """Every reserve is a mechanism of a signed agreement, was granted, and fitted in its grant.

    An agreement is signed for one data set, so its steps are counted in one namespace.
    Where a person declared that the ledger goes on from a backup, what was signed before is over.
    """
    budget = Budget()
    forfeited = ledger.forfeited
    grants: dict[bytes, BudgetGrant] = {}
    terms = {digest: _Terms(one) for digest, one in ledger.parties.agreements.items()}
    signed: set[Digest] = set()
    datasets: dict[Digest, DatasetId] = {}
    for entry in ledger.entries:
        body = entry.body
        where = f"entry {entry.sequence}"
        if isinstance(body, AgreementSign):
            signed.add(body.agreement)
        if isinstance(body, Restore) and body.generation:
            signed.clear()
            if budget.open_reserves():
                yield f"{where}: a reserve was left open where the ledger goes on from a backup"
        if isinstance(body, BudgetReserve) and body.nonce not in forfeited:
            if body.agreement not in terms or body.agreement not in signed:
                yield f"{where}: a reserve under an agreement that was not signed before"
            else:
                not_agreed = _not_agreed(budget, terms[body.agreement], entry, body)
                yield from (f"{where}: {why}" for why in not_agreed)
            if datasets.setdefault(body.agreement, body.dataset) != body.dataset:
                yield f"{where}: a second data set under one agreement"
        try:
            budget.apply(entry)
        except LocalError as error:
            yield f"{where}: {error}"
            continue
        if isinstance(body, BudgetGrant):
            grants[body.grant] = body
        if isinstance(body, BudgetReserve) and not is_within(
            grants[body.grant], budget.summed(body.grant)
        ):
            yield f"{where}: more is reserved than was granted"


def rounds(ledger: AuditedLedger) -> Iterator[str]:
    """A reserve and what leaves under it are for the round that was joined last; none goes back."""
    forfeited = ledger.forfeited
    reserves: dict[bytes, BudgetReserve] = {}
    joined: dict[Digest, RoundJoin] = {}
    reserved: set[tuple[Digest, int]] = set()
    for entry in ledger.entries:
        body = entry.body
        if isinstance(body, RoundJoin):
            last = joined.get(body.agreement)
            if last is not None and body.round <= last.round:
                yield f"entry {entry.sequence}: round {body.round} was joined after {last.round}"
            if last is not None and body.epoch < last.epoch:
                yield f"entry {entry.sequence}: a key epoch that was over"
            joined[body.agreement] = body
        if isinstance(body, BudgetReserve) and body.nonce not in forfeited:
            join = joined.get(body.agreement)
            if join is None or (join.epoch, join.round) != (body.epoch, body.round):
                yield f"entry {entry.sequence}: a reserve for a round that was not joined"
            if (body.agreement, body.round) in reserved:
                yield f"entry {entry.sequence}: a second reserve for round {body.round}"
            reserved.add((body.agreement, body.round))
            reserves[body.nonce] = body
        if isinstance(body, Egress) and (of := reserves.get(body.nonce)) is not None:
            last = joined.get(of.agreement)
            if last is not None and last.round > of.round:
                yield f"entry {entry.sequence}: round {of.round} left after {last.round} was joined"


class _Terms:
    """What an agreement may reserve."""

    def __init__(self, agreement: Agreement) -> None:
        self.expires = agreement.schedule.expires
        self.spending = spending_of(agreement)
        self.of_a_round = [schedule_event(agreement, 1, kind) for kind in kinds_of(agreement)]


def _not_agreed(budget: Budget, agreed: _Terms, entry: Entry, body: BudgetReserve) -> Iterator[str]:
    terms = agreed.spending
    if (body.unit, body.schedule, body.guarantee) != (terms.unit, terms.schedule, terms.guarantee):
        yield "unit, schedule and guarantee are not those of the agreement"
        return
    if body.event not in agreed.of_a_round:
        yield "the mechanism is not that of one round of the agreement"
    if entry.time[:10] > agreed.expires:
        yield f"the agreement was over on {agreed.expires}"
    try:
        grant = budget.check(body.dataset, terms, body.event)
    except Refusal as refusal:
        yield f"the budget did not allow it: {refusal}"
        return
    if grant.grant != body.grant:
        yield "it counts against another grant than the budget's rules say"
