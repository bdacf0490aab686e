"""A roster changes while a federation keeps its model: with real vaults and their real stores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_client.releases import check_continuation, first_model
from comity_common.agreement import Agreement, Continuation
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose
from comity_common.errors import PeerError, Problem
from comity_common.ids import InstitutionId
from comity_common.modelfile import write_state
from comity_common.optimizer import first_state, state_digest

from .test_vaults import Federation, Seat

NEW = InstitutionId("newcomer")


class Renewed:
    """A federation after one round in which the fifth slept, and the agreement that goes on."""

    def __init__(self, path: Path) -> None:
        self.earlier = Federation(path, n=5, rounds=1)
        self.earlier.set_up_keys()
        roster = list(self.earlier.agreement.roster)
        plan = self.earlier.operator.begin_round(roster)
        assert self.earlier.order(plan, roster[:4]) == {}
        for id in roster[:4]:
            self.earlier.seats[id].work()
        self.earlier.finish(roster[:4])
        self.state = self.earlier.operator.state
        settings = VaultConfig(
            id=NEW,
            name=NEW,
            jurisdiction="FR",
            server="127.0.0.1:1",
            sockets=path / "s" / NEW,
            slot_s=0,
        )
        self.newcomer = Institution.create(path / NEW, settings)
        self.agreement = self._write()

    def _write(self) -> Agreement:
        before = self.earlier.agreement
        joined = replace(
            before.institutions[0], id=NEW, name=NEW, identity=self.newcomer.keys.identity
        )
        return replace(
            before,
            nonce=bytes(range(16)),
            continues=Continuation(
                agreement=before.digest,
                certificate=self.earlier.operator.previous,
                certified=self.state.round,
            ),
            institutions=(*before.institutions[1:], joined),
            model=replace(before.model, initial_state=state_digest(self.state)),
        )

    def seat(self, number: int) -> Seat:
        return self.earlier.seats[self.earlier.agreement.roster[number]]


class Copy:
    """A way to the operator, who has these bytes."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.asked = raw, 0

    def fetch_model(self, agreement: str, size: int) -> bytearray:
        self.asked += 1
        return bytearray(self.raw[:size])


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Renewed:
    return Renewed(tmp_path_factory.mktemp("renewed"))


def test_the_state_that_goes_on_is_the_one_that_every_survivor_computed(renewed: Renewed) -> None:
    for number in range(1, 4):
        inst = renewed.seat(number).inst
        check_continuation(inst.progress, renewed.agreement)
        nobody = Copy(b"")
        built = first_state(np.zeros(renewed.state.parameters.size, np.float32), _terms(renewed))
        found = first_model(inst, renewed.agreement, nobody, built)  # type: ignore[arg-type]
        assert state_digest(found) == state_digest(renewed.state)
        assert nobody.asked == 0


def test_who_joins_takes_the_model_over_from_the_operator(renewed: Renewed) -> None:
    check_continuation(renewed.newcomer.progress, renewed.agreement)
    built = first_state(np.zeros(renewed.state.parameters.size, np.float32), _terms(renewed))
    way = Copy(write_state(renewed.state))
    found = first_model(renewed.newcomer, renewed.agreement, way, built)  # type: ignore[arg-type]
    assert state_digest(found) == state_digest(renewed.state)
    assert way.asked == 1


@pytest.mark.parametrize("spoil", [0, 20, -1])
def test_a_model_that_is_not_the_signed_one_is_not_taken(renewed: Renewed, spoil: int) -> None:
    raw = bytearray(write_state(renewed.state))
    raw[spoil] ^= 1
    built = first_state(np.zeros(renewed.state.parameters.size, np.float32), _terms(renewed))
    with pytest.raises(PeerError, match="the model state that the agreement names"):
        first_model(renewed.newcomer, renewed.agreement, Copy(bytes(raw)), built)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["certificate", "model"])
def test_a_vault_that_came_to_another_end_does_not_go_on_from_there(
    renewed: Renewed, change: str
) -> None:
    agreement, other = renewed.agreement, "f" * 64
    if change == "certificate":
        forged = replace(agreement, continues=replace(agreement.continues, certificate=other))
    else:
        forged = replace(agreement, model=replace(agreement.model, initial_state=other))
    with pytest.raises(Problem) as problem:
        check_continuation(renewed.seat(1).inst.progress, forged)
    assert problem.value.code == "COM-AGREE-007"


def test_a_vault_that_is_behind_signs_once_it_has_caught_up(renewed: Renewed) -> None:
    asleep = renewed.seat(4)
    if asleep.inst.progress.get(renewed.earlier.agreement.digest).certified == 0:
        with pytest.raises(Problem) as problem:
            check_continuation(asleep.inst.progress, renewed.agreement)
        assert problem.value.code == "COM-AGREE-007"
    asleep.work()
    check_continuation(asleep.inst.progress, renewed.agreement)


def test_once_all_have_signed_the_earlier_agreement_is_over(renewed: Renewed) -> None:
    agreement, raw = renewed.agreement, encode(renewed.agreement)
    seats = {id: seat.inst for id, seat in renewed.earlier.seats.items()}
    parties = {id: seats.get(id, renewed.newcomer) for id in agreement.roster}
    signatures = {
        agreement.operator.id: renewed.earlier.operator.keys.sign(Purpose.AGREEMENT, raw).signature
    } | {
        id: inst.keys.signing.sign(Purpose.AGREEMENT, raw).signature for id, inst in parties.items()
    }
    inst = renewed.seat(2).inst
    before = renewed.earlier.agreement.digest
    with inst.store.transaction() as tx:
        tx.execute(
            "insert into agreements values (?, ?, 'signed', 'rows')", (agreement.digest, raw)
        )
    assert inst.agreements.is_in_force(before)
    inst.agreements.activate(raw, signatures)
    assert inst.agreements.is_in_force(agreement.digest)
    assert not inst.agreements.is_in_force(before)


def test_an_agreement_cannot_go_on_from_nothing() -> None:
    good = Continuation(agreement="0" * 64, certificate="1" * 64, certified=1)
    for change in ({"certified": 0}, {"agreement": "x"}, {"certificate": ""}):
        with pytest.raises(Exception, match="expected"):
            replace(good, **change)


def _terms(renewed: Renewed):
    return renewed.agreement.aggregation
