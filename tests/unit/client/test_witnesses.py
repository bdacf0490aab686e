"""Heads that a vault asks for, one before the last is answered."""

from itertools import pairwise
from pathlib import Path

from tests.simulation.federation import make_agreement

from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_client.witnesses import Witnesses
from comity_common.canonical import decode
from comity_common.crypto.sign import SigningKeys
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Note
from comity_common.ledger.witness import HeadRequest, extends


def test_whoever_cosigned_the_last_head_can_see_that_the_next_goes_on_from_it(
    tmp_path: Path,
) -> None:
    settings = VaultConfig(id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1")
    inst = Institution.create(tmp_path / "home", settings)
    keys = {InstitutionId(f"inst-0{k}"): SigningKeys.generate() for k in range(3)}
    agreement = make_agreement(keys, SigningKeys.generate())
    asked: list[HeadRequest] = []
    witnesses = Witnesses(
        inst, agreement, lambda _to, _kind, signed: asked.append(decode(HeadRequest, signed.body))
    )
    for size in (1, 2, 3):
        witnesses.ask(size)
        with inst.store.transaction() as tx:
            inst.ledger.append(tx, Note(text="more", about=None))
    assert [request.head.size for request in asked] == [1, 2, 3]
    for last, request in pairwise(asked):
        assert extends(request, last.head, {last.head.generation})
