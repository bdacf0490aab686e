"""What crossed the border of the vault, added up by country, purpose and kind of message."""

from collections import defaultdict
from dataclasses import replace

from comity_audit.ledgers.crossings import Crossings
from comity_audit.ledgers.entries import AuditedLedger
from comity_audit.report.facts import MAX_LISTED, CrossingFacts, Traffic, TrafficFacts, cut
from comity_common.canonical import MAX_INTEGER
from comity_common.ledger.bodies import Egress, Ingress
from comity_common.ledger.bodies import Traffic as Cover


def traffic_of(ledger: AuditedLedger, crossings: Crossings | None) -> Traffic:
    """Tell all messages, and what they were held against."""
    sums: dict[TrafficFacts, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for entry in ledger.entries:
        body = entry.body
        if isinstance(body, Egress | Ingress):
            kind = _kind(body)
            messages, size = sums[kind]
            sums[kind] = messages + 1, size + body.size_bytes
    if len(sums) > MAX_LISTED:
        sums = _fewer(sums)
    kinds = [
        replace(kind, messages=messages, bytes=min(size, MAX_INTEGER))
        for kind, (messages, size) in sums.items()
    ]
    kinds.sort(
        key=lambda one: (
            not one.is_egress,
            one.country,
            one.peer,
            one.purpose,
            not one.is_mechanism,
            one.message,
        )
    )
    return Traffic(kinds=tuple(kinds), crossings=_compared(crossings))


def _compared(crossings: Crossings | None) -> CrossingFacts | None:
    if crossings is None:
        return None
    return CrossingFacts(
        matched=crossings.matched,
        matched_bytes=min(crossings.matched_bytes, MAX_INTEGER),
        only_left=len(crossings.only_left),
        only_arrived=len(crossings.only_arrived),
        newer=crossings.newer,
    )


def _kind(body: Egress | Ingress) -> TrafficFacts:
    return TrafficFacts(
        is_egress=isinstance(body, Egress),
        country=body.jurisdiction,
        peer=cut(body.receiver if isinstance(body, Egress) else body.sender),
        purpose=cut(body.purpose),
        message=cut(body.message),
        is_mechanism=body.traffic is Cover.MECHANISM,
        messages=0,
        bytes=0,
    )


def _fewer(sums: dict[TrafficFacts, tuple[int, int]]) -> dict[TrafficFacts, tuple[int, int]]:
    """Keep the largest kinds; the others are added up by country, without their names."""
    ordered = sorted(sums.items(), key=lambda one: -one[1][1])
    fewer: dict[TrafficFacts, tuple[int, int]] = defaultdict(lambda: (0, 0))
    fewer.update(ordered[:MAX_LISTED])
    for kind, (messages, size) in ordered[MAX_LISTED:]:
        nameless = replace(kind, peer="", purpose="", message="")
        fewer[nameless] = fewer[nameless][0] + messages, fewer[nameless][1] + size
    return fewer
