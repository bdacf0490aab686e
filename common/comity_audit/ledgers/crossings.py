"""Two sides of a border compared: what left an institution is what arrived at the operator.

Both ledgers were verified, each on its own keys. A message is the same on both sides if its name,
purpose, round, size and digest are, and each is counted as often as it was sent. What arrived and
is not among what left is a finding: something crossed that the institution did not write down. What
left and did not arrive is told: a connection that breaks looks the same as an operator who keeps
silent.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from comity_audit.ledgers.entries import AuditedLedger
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Egress, Ingress, RoundJoin, Traffic
from comity_common.ledger.controls import HEAD, is_greeting
from comity_common.ledger.operatorbodies import Head, RoundPlan
from comity_common.ledger.tree import Tree

IN_FLIGHT = 8  # messages of one vault that are on their way at the same time, less uploads


class Message(NamedTuple):
    """What both sides say of a message."""

    name: str
    traffic: Traffic
    purpose: str
    round: int | None
    size_bytes: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """What both sides say.

    Attributes:
        matched, matched_bytes: messages that left and arrived, and their size.
        uploads: how many of them the budget covered.
        only_left: entries of the institution that did not arrive, by their number.
        only_arrived: entries of the operator that did not leave, by their number.
        newer: how many arrived after the institution's package ends.
        findings: each in a sentence.
    """

    matched: int
    matched_bytes: int
    uploads: int
    only_left: tuple[int, ...]
    only_arrived: tuple[int, ...]
    newer: int
    findings: tuple[str, ...]


def compare(institution: AuditedLedger, tree: Tree, operator: AuditedLedger) -> Crossings:
    """Compare an institution's ledger with that of the operator of one of its agreements.

    Args:
        tree: over the institution's entries.

    Raises:
        PeerError: it is no operator that this institution has an agreement with; one for which
            somebody vouches, if there is any.
    """
    owner, other = institution.parties.owner, operator.parties.owner
    operators = [one.operator for one in institution.parties.witnessing]
    if other not in operators:
        raise PeerError(f"expected the operator of an agreement of {owner.id}, got {other.id}")
    left = [
        (entry.sequence, _message(entry.body))
        for entry in institution.entries
        if isinstance(entry.body, Egress) and _goes_to(other.id, entry.body)
    ]
    arrived = [
        (entry.sequence, _message(entry.body))
        for entry in operator.entries
        if isinstance(entry.body, Ingress) and entry.body.sender == owner.id
    ]
    sent, came = Counter(one for _, one in left), Counter(one for _, one in arrived)
    both = sent & came
    only_left = _beyond(left, came)
    only_arrived = _beyond(arrived, sent)
    unmatched = _within_package(arrived, only_arrived)
    findings = [
        f"entry {place} of {other.id}: a message of {owner.id} that its own ledger does not have"
        for place in unmatched
    ]
    findings += _foreign_rounds(institution, operator)
    findings += _other_heads(owner.id, institution, tree, operator)
    asked = sum(count for one, count in both.items() if one.name == HEAD)
    findings += _unasked_heads(owner.id, asked, tree, operator)
    return Crossings(
        matched=both.total(),
        matched_bytes=sum(one.size_bytes * count for one, count in both.items()),
        uploads=sum(count for one, count in both.items() if one.traffic is Traffic.MECHANISM),
        only_left=only_left,
        only_arrived=unmatched,
        newer=len(only_arrived) - len(unmatched),
        findings=tuple(findings),
    )


def _goes_to(operator: InstitutionId, body: Egress) -> bool:
    return body.receiver == operator or is_greeting(body.message, body.receiver)


def _message(body: Egress | Ingress) -> Message:
    return Message(
        name=body.message,
        traffic=body.traffic,
        purpose=body.purpose,
        round=body.round,
        size_bytes=body.size_bytes,
        digest=body.digest,
    )


def _beyond(messages: Sequence[tuple[int, Message]], others: Counter[Message]) -> tuple[int, ...]:
    """Return the places of messages that are here more often than there: of the same, the last."""
    rest, found = Counter(others), []
    for place, one in messages:
        if rest[one] > 0:
            rest[one] -= 1
        else:
            found.append(place)
    return tuple(found)


def _within_package(
    arrived: Sequence[tuple[int, Message]], unmatched: Sequence[int]
) -> tuple[int, ...]:
    """Leave out what may have left after the institution's package ends.

    A message that left after it can only have overtaken those that were on their way by then; an
    upload may be on its way for long, others are few. So what came before more than so many others
    that are in the package is not newer than the package.
    """
    beside = set(unmatched)
    quick = [
        place for place, one in arrived if one.traffic is Traffic.CONTROL and place not in beside
    ]
    last = quick[-IN_FLIGHT - 1] if len(quick) > IN_FLIGHT else -1
    return tuple(place for place in unmatched if place < last)


def _foreign_rounds(institution: AuditedLedger, operator: AuditedLedger) -> Iterator[str]:
    """Go through rounds that the institution joined and the operator's ledger leaves out."""
    plans = [entry.body for entry in operator.entries if isinstance(entry.body, RoundPlan)]
    known = {(plan.agreement, plan.epoch, plan.round, plan.plan) for plan in plans}
    newest: dict[Digest, int] = {}
    for plan in plans:
        newest[plan.agreement] = max(plan.round, newest.get(plan.agreement, 0))
    for entry in institution.entries:
        body = entry.body
        if not isinstance(body, RoundJoin):
            continue
        if (body.agreement, body.epoch, body.round, body.plan) in known:
            continue
        if body.round <= newest.get(body.agreement, 0):
            yield f"entry {entry.sequence}: round {body.round} is not on the operator's ledger"


def _other_heads(
    owner: InstitutionId, institution: AuditedLedger, tree: Tree, operator: AuditedLedger
) -> Iterator[str]:
    """Go through heads that the operator witnessed and that are not in this ledger's past."""
    generations = {entry.generation for entry in institution.entries}
    for entry in operator.entries:
        body = entry.body
        if not isinstance(body, Head) or body.institution != owner:
            continue
        if body.size > len(tree):
            continue  # newer than the package
        if body.generation not in generations or tree.root(body.size).hex() != body.root:
            yield (
                f"entry {entry.sequence} of the operator: it witnessed another ledger of {owner} "
                f"with {body.size} entries"
            )


def _unasked_heads(
    owner: InstitutionId, asked: int, tree: Tree, operator: AuditedLedger
) -> Iterator[str]:
    """Count the heads of this ledger that were witnessed and for which it never asked.

    Each is asked for in a message of its own, so who leaves its messages out is short of these.
    """
    heads = [entry.body for entry in operator.entries if isinstance(entry.body, Head)]
    witnessed = sum(
        one.institution == owner and one.size <= len(tree) and tree.root(one.size).hex() == one.root
        for one in heads
    )
    if witnessed - asked > IN_FLIGHT:
        yield (
            f"the operator witnessed {witnessed} heads of {owner}, which sent {asked} of the "
            "messages that ask for one"
        )
