"""A ledger that names more than a vault ever knows is not looked at any further."""

import pytest
from tests.unit.audit.reported import OWNER, digest_of, number

from comity_audit.ledgers.bounds import check_bounds
from comity_common.errors import PeerError
from comity_common.ledger.bodies import Genesis, RoundJoin
from comity_common.ledger.entries import Entry, append
from comity_common.ledger.package import MAX_AGREEMENTS

TIME = "2026-01-05T08:00:00Z"


def naming(agreements: int) -> list[Entry]:
    genesis = Genesis(nonce=number("genesis"), software="comity 0.1.0")
    entries = [append(None, genesis, OWNER, TIME)]
    for place in range(agreements):
        plan, agreement = digest_of("plan", place), digest_of("agreement", place)
        join = RoundJoin(agreement=agreement, epoch=1, round=1, plan=plan)
        entries.append(append(entries[-1], join, OWNER, TIME))
    return entries


def test_as_many_agreements_as_a_vault_can_know_are_read() -> None:
    check_bounds(naming(MAX_AGREEMENTS))


def test_one_agreement_more_is_refused() -> None:
    with pytest.raises(PeerError, match="at most 1,002 agreements"):
        check_bounds(naming(MAX_AGREEMENTS + 1))
