"""Heads that the operator asks for, one before the last is answered."""

from itertools import pairwise
from pathlib import Path

from tests.simulation.network import Federation

from comity_common.canonical import decode
from comity_common.ledger.operatorbodies import MemberRevoke
from comity_common.ledger.witness import HeadRequest, extends
from comity_server.heads import Heads
from comity_server.mailbox import Mailbox


def test_whoever_cosigned_the_last_head_can_see_that_the_next_goes_on_from_it(
    tmp_path: Path,
) -> None:
    federation = Federation.make(tmp_path / "operator", 3)
    who = federation.agreement.roster[0]
    store = federation.home.open_store()
    mailbox = Mailbox(store, lambda: None)
    heads = Heads(store, federation.home.signing_keys(), mailbox)
    asked = []
    for _ in range(3):
        heads.ask(federation.agreement)
        *_, parcel = mailbox.follow(who, 0, lambda: False)
        asked.append(decode(HeadRequest, parcel.envelopes[0].body))
        with store.write() as tx:
            store.ledger.append(tx, MemberRevoke(institution=who))
    store.close()
    for last, request in pairwise(asked):
        assert request.head.size == last.head.size + 1
        assert extends(request, last.head, {last.head.generation})
