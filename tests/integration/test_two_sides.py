"""What left, what passed, and what arrived: three counts of one federation that agree.

Operator and vaults are real daemons that talk gRPC over mutual TLS; between them a wire counts for
itself. Then both ledgers are exported, verified, and compared with each other and with the wire.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.bench.loopback import Loopback
from tests.integration.wire import CountingWire
from tests.postgres import postgresql

import comity_client.ledgerexport
import comity_server.ledgerexport
from comity_audit.ledgers.crossings import compare
from comity_audit.ledgers.verification import Verification
from comity_audit.steps import Outcome
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import Egress, Ingress, Traffic
from comity_common.ledger.operatorbodies import (
    AgreementEnd,
    AgreementStart,
    Head,
    MemberApprove,
    ModelRelease,
    RoundCertificate,
    RoundPlan,
)
from comity_common.ledger.package import read_package
from comity_common.ledger.tree import Tree
from comity_server.home import Home

INSTITUTIONS, ROUNDS = 3, 3


def played(path: Path, database: str = "") -> SimpleNamespace:
    """Run a federation over wires, and export every ledger of it."""
    wires: dict[InstitutionId, CountingWire] = {}

    def wire(home: Home, institution: Path, operator: str) -> str:
        wires[InstitutionId(institution.name)] = made = CountingWire(home, institution, operator)
        return f"127.0.0.1:{made.port}"

    federation = Loopback.found(
        path, institutions=INSTITUTIONS, lanes=2000, rounds=ROUNDS, database=database, wire=wire
    )
    with federation:
        federation.run()
    for one in wires.values():
        one.close()
    packages = {
        id: comity_client.ledgerexport.package(part.home.path)
        for id, part in federation.institutions.items()
    }
    operator = comity_server.ledgerexport.package(federation.home.path)
    return SimpleNamespace(
        federation=federation,
        digest=federation.agreement.digest,
        wires={id: one.passed for id, one in wires.items()},
        ledgers={id: part.ledger.entries() for id, part in federation.institutions.items()},
        packages={id: read_package(one.to_bytes()) for id, one in packages.items()},
        operator=read_package(operator.to_bytes()),
    )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sides(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SimpleNamespace]:
    path = tmp_path_factory.mktemp("w")
    if request.param == "sqlite":
        yield played(path)
    else:
        with postgresql() as url:
            yield played(path, url)


def verified(sides: SimpleNamespace, package: object, **given: object) -> Verification:
    verification = Verification(package, anchors=[sides.digest], **given)
    steps = list(verification.steps())
    assert [step for step in steps if step.outcome is Outcome.FAILS] == []
    return verification


def test_what_passed_the_wire_is_what_the_ledger_says_had_left(sides: SimpleNamespace) -> None:
    for id, passed in sides.wires.items():
        left = Counter(
            (body.message, body.size_bytes, body.digest)
            for body in (entry.body for entry in sides.ledgers[id])
            if isinstance(body, Egress)
        )
        assert passed - left == Counter(), "something passed that the ledger does not have"
        # A call that was cut off before its request was sent is on the ledger all the same.
        assert all(message == "follow" for message, _, _ in left - passed)
        uploads = [key for key in passed if key[0] == "upload"]
        assert len(uploads) == ROUNDS


def test_every_ledger_is_true_and_both_sides_agree(sides: SimpleNamespace) -> None:
    operator = verified(sides, sides.operator)
    for package in sides.packages.values():
        found = verified(sides, package, operator=operator).crossings
        assert found is not None
        assert found.only_arrived == ()
        assert found.uploads == ROUNDS
        assert found.matched > 20


def test_the_operators_ledger_has_every_deed(sides: SimpleNamespace) -> None:
    bodies = [entry.body for entry in verified(sides, sides.operator).ledger.entries]
    kinds = Counter(type(body) for body in bodies)
    assert kinds[MemberApprove] == INSTITUTIONS
    assert kinds[AgreementStart] == 1
    assert kinds[RoundPlan] == kinds[RoundCertificate] == ROUNDS
    assert kinds[ModelRelease] >= 1
    heads = {body.institution for body in bodies if isinstance(body, Head)}
    assert heads == set(sides.packages)
    uploads = [
        body for body in bodies if isinstance(body, Ingress) and body.traffic is Traffic.MECHANISM
    ]
    assert len(uploads) == INSTITUTIONS * ROUNDS
    assert not any(isinstance(body, AgreementEnd) and body.ending == "stopped" for body in bodies)


def test_a_message_that_is_missing_on_one_side_is_found(sides: SimpleNamespace) -> None:
    operator = verified(sides, sides.operator).ledger
    package = next(iter(sides.packages.values()))
    institution = verified(sides, package).ledger
    tree = Tree(package.entries)
    place = next(
        entry.sequence
        for entry in institution.entries
        if isinstance(entry.body, Egress) and entry.body.traffic is Traffic.MECHANISM
    )
    entries = tuple(one for one in institution.entries if one.sequence != place)

    hidden = compare(replace(institution, entries=entries), tree, operator)
    assert len(hidden.only_arrived) == 1
    assert "its own ledger does not have" in hidden.findings[0]

    arrivals = [one.sequence for one in operator.entries if isinstance(one.body, Ingress)]
    kept = tuple(one for one in operator.entries if one.sequence not in arrivals[-40:-20])
    silent = compare(institution, tree, replace(operator, entries=kept))
    assert len(silent.only_left) > len(compare(institution, tree, operator).only_left)


def test_an_operator_who_leaves_out_a_round_or_saw_another_ledger_is_found(
    sides: SimpleNamespace,
) -> None:
    operator = verified(sides, sides.operator).ledger
    id, package = next(iter(sides.packages.items()))
    institution = verified(sides, package).ledger
    tree = Tree(package.entries)
    plans = [one.sequence for one in operator.entries if isinstance(one.body, RoundPlan)]
    without = tuple(one for one in operator.entries if one.sequence != plans[0])

    found = compare(institution, tree, replace(operator, entries=without)).findings
    assert any("round 1 is not on the operator's ledger" in each for each in found)

    forked = tuple(
        replace(one, body=replace(one.body, root="0" * 64))
        if isinstance(one.body, Head) and one.body.institution == id
        else one
        for one in operator.entries
    )
    found = compare(institution, tree, replace(operator, entries=forked)).findings
    assert any(f"another ledger of {id}" in each for each in found)
