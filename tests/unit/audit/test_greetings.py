"""The first message of an institution goes to an address, and an audit knows that and no more."""

from dataclasses import replace

import pytest
from tests.unit.audit.reported import Ledger, digest_of, operators

from comity_audit.ledgers.verification import Verification
from comity_audit.steps import Outcome
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Egress, Ingress, Traffic

GREETING = Egress(
    purpose="enrolment",
    receiver=InstitutionId("operator.example:7444"),
    jurisdiction="CH",
    traffic=Traffic.CONTROL,
    message="greet",
    size_bytes=40,
    digest=digest_of("greeting"),
    round=None,
    nonce=b"",
)


def verified(ledger: Ledger, operator: Ledger | None = None) -> tuple[Verification, list[str]]:
    anchors = [ledger.agreement.digest]
    other = None if operator is None else Verification(operator.package(), anchors=anchors)
    verification = Verification(ledger.package(), anchors=anchors, operator=other)
    failed = [one.name for one in verification.steps() if one.outcome is Outcome.FAILS]
    return verification, failed


def greeted(**changed: object) -> Ledger:
    ledger = Ledger().begin()
    country = ledger.agreement.operator.jurisdiction
    ledger.add(replace(GREETING, **{"jurisdiction": country, **changed}))
    return ledger


def test_a_greeting_to_an_address_is_within_the_rules() -> None:
    assert verified(greeted())[1] == []


@pytest.mark.parametrize(
    "changed",
    [
        {"jurisdiction": "US"},  # of no operator
        {"message": "enrol"},  # by then it is known who is there
        {"receiver": InstitutionId("somebody")},
        {"size_bytes": 2000},
    ],
)
def test_anything_else_to_an_address_is_a_finding(changed: dict[str, object]) -> None:
    verification, failed = verified(greeted(**changed))
    assert failed == ["traffic"], verification.findings


def test_a_greeting_that_arrived_is_the_one_that_left() -> None:
    ledger = greeted()
    other = operators(ledger)
    arrived = [one.body.message for one in other.entries if isinstance(one.body, Ingress)]
    assert arrived.count("greet") == 1
    verification, failed = verified(ledger, other)
    assert failed == []
    assert verification.crossings is not None
    assert (verification.crossings.matched, verification.crossings.only_left) == (len(arrived), ())
