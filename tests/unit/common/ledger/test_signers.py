"""Whose signatures belong under an agreement follows from the entries alone."""

import pytest
from tests.audit.federation import Federation

from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import AgreementSign, Body, RoundJoin
from comity_common.ledger.operatorbodies import AgreementEnd, AgreementStart, Ending, RoundPlan
from comity_common.ledger.signers import signers

AGREEMENT = Federation(seed=0).first
DIGEST, OTHER = AGREEMENT.digest, Digest("7" * 64)
ME = AGREEMENT.roster[0]
ROUND = {"agreement": DIGEST, "epoch": 1, "round": 1, "plan": Digest("1" * 64)}
RAN = (RoundJoin(**ROUND), RoundPlan(**ROUND), AgreementStart(agreement=DIGEST))


def under(owner: InstitutionId, *bodies: Body) -> frozenset[InstitutionId]:
    found = signers(owner, bodies, {DIGEST: AGREEMENT})
    assert found.keys() == {DIGEST}
    return found[DIGEST]


def test_what_was_only_heard_of_has_no_signature() -> None:
    assert under(ME) == frozenset()
    assert under(ME, AgreementSign(agreement=OTHER)) == frozenset()


def test_what_the_owner_signed_has_its_signature_alone() -> None:
    operator = AGREEMENT.operator.id
    assert under(ME, AgreementSign(agreement=DIGEST)) == {ME}
    ended = AgreementEnd(agreement=DIGEST, ending=Ending.WITHDRAWN)
    assert under(operator, AgreementSign(agreement=DIGEST), ended) == {operator}


@pytest.mark.parametrize("ran", RAN)
@pytest.mark.parametrize("first", [True, False])
def test_what_ran_has_those_of_operator_and_institutions(ran: Body, first: bool) -> None:
    signed = AgreementSign(agreement=DIGEST)
    bodies = (ran, signed) if first else (signed, ran)
    assert under(ME, *bodies) == {AGREEMENT.operator.id, *AGREEMENT.roster}
