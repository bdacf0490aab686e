"""How much a ledger may name: more than a vault ever writes, and no more than can be checked.

Every bound is far above what an honest vault can come to: it knows at most a thousand agreements,
each of which has two mechanisms at most, and writes a dozen entries for each round. A package that
goes beyond one was made up to keep an auditor's machine busy.
"""

from collections.abc import Hashable, Iterable, Sized

from comity_common.dp.spending import mechanism_of
from comity_common.errors import PeerError
from comity_common.ids import Digest
from comity_common.ledger.bodies import (
    NO_AGREEMENT,
    BudgetGrant,
    BudgetReserve,
    DatasetRegister,
    agreement_of,
)
from comity_common.ledger.entries import Entry
from comity_common.ledger.package import MAX_AGREEMENTS

MAX_NAMESPACES = 1_000
MAX_GRANTS = 1_000
MAX_RESERVES = 60_000
MAX_SCHEDULES = 1_000  # different ones; the loss distribution of each takes a second
MAX_IN_SCHEDULE = 8  # mechanisms
MAX_TERMS = 2_500  # different terms of reserves


def check_bounds(entries: Iterable[Entry]) -> None:
    """Count what takes time to check.

    Raises:
        PeerError: there is more than an honest vault can have written.
    """
    named: set[Hashable] = {NO_AGREEMENT, Digest("")}  # the two names for none
    namespaces: set[Hashable] = set()
    grants: set[Hashable] = set()
    schedules: set[Hashable] = set()
    terms: set[Hashable] = set()
    reserves = 0
    for entry in entries:
        named.add(agreement_of(entry.body))
        match entry.body:
            case DatasetRegister(namespace=namespace):
                namespaces.add(namespace)
            case BudgetGrant(grant=grant):
                grants.add(grant)
            case BudgetReserve() as one:
                if len(one.schedule) > MAX_IN_SCHEDULE:
                    raise PeerError(f"expected at most {MAX_IN_SCHEDULE} mechanisms in a schedule")
                claim = (one.schedule, one.guarantee)
                schedules.add(claim)
                terms.add((one.grant, one.agreement, one.unit, *claim, *mechanism_of(one.event)))
                reserves += 1
    _check("agreements", named, MAX_AGREEMENTS + 2)
    _check("namespaces", namespaces, MAX_NAMESPACES)
    _check("grants", grants, MAX_GRANTS)
    _check("reserves", range(reserves), MAX_RESERVES)
    _check("different schedules", schedules, MAX_SCHEDULES)
    _check("different terms of reserves", terms, MAX_TERMS)


def _check(what: str, found: Sized, most: int) -> None:
    if len(found) > most:
        raise PeerError(f"expected at most {most:,} {what} in a ledger, got {len(found):,}")
