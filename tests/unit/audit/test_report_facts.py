"""Every section of a report says what is in the ledger that it is of."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.simulation.federation import promising_nothing
from tests.unit.audit.reported import (
    DATASET,
    MADE,
    NAMESPACE,
    OPERATOR,
    OWNER,
    Ledger,
    digest_of,
    full,
    number,
    operators,
)

from comity_audit.epsilontext import INFINITE, epsilon_text
from comity_audit.ledgers.crossings import compare
from comity_audit.ledgers.verification import Verification
from comity_audit.report.facts import (
    MAX_TEXT,
    Amount,
    ClaimId,
    Conclusion,
    FactId,
    PackageFacts,
    Report,
    RoundOutcome,
)
from comity_audit.report.gathering import gather
from comity_audit.report.gathering.budgets import MAX_POINTS
from comity_audit.report.original import original_of, read_original
from comity_audit.report.writing import Written, recompute, write_report
from comity_audit.steps import Outcome, Step
from comity_common.dp.terms import Unit
from comity_common.errors import LocalError, PeerError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    Body,
    BudgetReserve,
    Egress,
    Ingress,
    Note,
    Refused,
    Restore,
    RoundJoin,
)
from comity_common.ledger.controls import HEAD
from comity_common.ledger.operatorbodies import Head
from comity_common.ledger.tree import Tree

PACKAGE = PackageFacts(name="bank.zip", sha256="e" * 64, bytes=1)


def conclusions(report: Report) -> dict[ClaimId, Conclusion]:
    return {one.id: one.conclusion for one in report.summary.claims}


@pytest.fixture(scope="module")
def report(written: Written) -> Report:
    return written.original.report


def test_the_summary_says_whose_ledger_it_is_and_what_became_of_every_claim(
    report: Report,
) -> None:
    told = report.summary
    assert (told.owner, told.name, told.country, told.is_operator) == (
        "bank", "Spree Bank", "DE", False,
    )  # fmt: skip
    assert (told.first, told.last, told.entries) == (
        "2026-01-05T08:00:00Z", "2026-01-15T14:00:00Z", 42,
    )  # fmt: skip
    assert (told.made, told.software, told.complete) == (
        MADE, "comity 0.1.0", "2026-02-28T12:00:00Z",
    )  # fmt: skip
    assert (told.findings, told.findings_count, told.is_anchored) == ((), 0, True)
    found = conclusions(report)
    unchecked = {ClaimId.CONTINUES, ClaimId.OVERSEEN}
    assert {found.pop(one) for one in unchecked} == {Conclusion.OPEN}
    assert set(found.values()) == {Conclusion.HOLDS}
    assert set(found) == set(ClaimId) - unchecked - {ClaimId.OPERATED, ClaimId.EPSILON_ONCE}


def test_the_parties_are_told_with_their_countries_and_no_legal_basis_is_made_up(
    report: Report,
) -> None:
    told = report.parties
    assert [(one.id, one.name, one.country) for one in told.parties] == [
        ("bank", "Spree Bank", "DE"),
        ("operator", "Verbund", "DE"),
        ("clinic", "协和医院", "CN"),
        ("lab", "Laboratório Ipê", "BR"),
    ]
    assert [(one.code, one.parties, one.legal_basis) for one in told.countries] == [
        ("BR", ("lab",), ""),
        ("CN", ("clinic",), ""),
        ("DE", ("bank", "operator"), ""),
    ]
    (agreement,) = told.agreements
    assert (agreement.federation, agreement.purpose, agreement.expires) == (
        "Five Rivers", "fraud detection", "2099-12-31",
    )  # fmt: skip
    assert agreement.is_signed
    assert agreement.is_vouched
    assert len(agreement.words.split()) == 8


def test_the_claim_card_has_the_terms_of_the_agreement(report: Report) -> None:
    agreement = full().agreement
    (card,) = report.claims
    assert (card.is_private, card.epsilon, card.delta) == (True, "8", "0.00001")
    assert (card.unit, card.adjacency, card.noise) == (
        "record", "add-remove", "full-in-each-vault",
    )  # fmt: skip
    assert (card.gate, card.order) == ("renyi", agreement.privacy.order)
    assert (card.rounds, card.spare_rounds, card.scores) == (6, 2, (2,))
    assert [(one.name, one.steps) for one in card.schedule] == [
        ("poisson-sampled-gaussian", 40),
        ("discrete-gaussian", 2),
    ]


def test_the_budget_is_told_after_every_entry_that_moves_it(report: Report) -> None:
    ledger = full()
    (told,) = report.budgets
    assert (told.namespace, told.unit, told.epsilon, told.datasets) == (
        NAMESPACE, "record", "8", 1,
    )  # fmt: skip
    statement = ledger.budget.statement(NAMESPACE)
    assert told.reserved == epsilon_text(statement.epsilon_reserved)
    assert told.charged == epsilon_text(statement.epsilon_charged)
    moving = [
        entry.sequence
        for entry in ledger.entries
        if entry.kind.value.startswith(("dataset.", "budget."))
    ]
    assert [one.sequence for one in told.points] == moving
    reserve = next(one.sequence for one in ledger.entries if isinstance(one.body, BudgetReserve))
    before, after = [one for one in told.points if one.sequence in (3, reserve)]
    assert (before.reserved, before.charged) == ("0", "0")
    assert Decimal(after.reserved) > 0
    assert after.charged == "0"
    assert told.points[-1].reserved == told.points[-1].charged == told.reserved
    (grant,) = told.grants
    assert (grant.epsilon, grant.reserved) == ("8", told.reserved)


def test_every_round_is_told_with_how_it_ended(report: Report) -> None:
    (run,) = report.runs
    assert (run.joined, run.released, run.forfeited, run.refunded, run.open, run.void) == (
        6, 4, 1, 1, 0, 1,
    )  # fmt: skip
    assert [(one.round, one.is_score, one.outcome.value, one.bytes) for one in run.rounds] == [
        (1, False, "released", 40_000),
        (2, False, "released", 40_000),
        (3, True, "released", 1_200),
        (4, False, "refunded", 0),
        (5, False, "forfeited", 0),
        (6, False, "released", 40_000),
    ]
    assert [one.round for one in run.rounds if one.is_void] == [4]


def test_an_open_reserve_and_a_round_without_one_are_told() -> None:
    ledger = Ledger().begin()
    ledger.join(1)
    ledger.reserve(1)
    ledger.join(2)
    (run,) = ledger.written().original.report.runs
    assert [one.outcome for one in run.rounds] == [RoundOutcome.OPEN, RoundOutcome.NOTHING]
    assert run.open == 1


def test_every_epsilon_is_told_twice_with_the_difference(report: Report) -> None:
    told = report.recomputation
    assert told.is_possible
    assert told.has_second
    assert [one.amount for one in told.amounts] == list(Amount)
    for one in told.amounts:
        assert one.agree
        assert one.is_kept
        assert one.claim == "8"
        apart = Decimal(one.ours) - Decimal(one.theirs)
        assert abs(apart - Decimal(one.difference)) <= Decimal("2e-9")
    grant, spent, schedule = told.amounts
    assert grant.ours == report.budgets[0].reserved
    assert not grant.is_bound
    assert spent.is_bound
    assert [one.steps for one in spent.mechanisms] == [20, 1]
    assert [one.steps for one in schedule.mechanisms] == [40, 2]


def test_two_epsilons_that_do_not_agree_are_a_finding() -> None:
    ledger = Ledger().begin()
    ledger.release(1)
    verification, steps = ledger.verified()
    (space,) = recompute(verification) or ()
    (run,) = space.runs
    apart = replace(run, of_spent=replace(run.of_spent, theirs=run.of_spent.ours + 1))
    report = gather(verification, steps, [replace(space, runs=(apart,))], package=PACKAGE)
    assert conclusions(report)[ClaimId.EPSILON] is Conclusion.FAILS
    assert report.summary.findings_count == 1
    assert "two ε do not agree" in report.summary.findings[0]


def test_what_one_implementation_alone_computed_is_not_said_to_agree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)  # as if it were not installed
    ledger = Ledger().begin()
    ledger.release(1)
    written = ledger.written(recomputing=True)
    report = written.original.report
    assert [(one.theirs, one.agree) for one in report.recomputation.amounts] == [("", None)] * 3
    assert ClaimId.EPSILON not in conclusions(report)
    assert conclusions(report)[ClaimId.EPSILON_ONCE] is Conclusion.HOLDS
    clauses = [clause for law in report.evidence for clause in law.clauses]
    assert not any(FactId.RECOMPUTED in one.present for one in clauses)
    assert any(FactId.RECOMPUTED in one.missing for one in clauses)
    assert read_original(written.original.raw).report == report
    for claimed in ("Two programs", "two programs", "both programs", "两个程序", "两个互不"):
        assert claimed not in written.html
    assert "One program alone has computed every ε" in written.html
    assert "只有一个程序算出了每个 ε" in written.html


def test_one_implementation_alone_finds_what_is_above_its_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = Ledger().begin()
    ledger.release(1)
    verification, steps = ledger.verified()
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    (space,) = recompute(verification) or ()
    (run,) = space.runs
    assert run.claim is not None
    over = replace(run, claim=replace(run.claim, epsilon=Decimal("0.1")))
    report = gather(verification, steps, [replace(space, runs=(over,))], package=PACKAGE)
    assert conclusions(report)[ClaimId.EPSILON_ONCE] is Conclusion.FAILS
    assert "ε is above its claim" in report.summary.findings[0]


def test_the_self_tests_are_told_with_what_failed(report: Report) -> None:
    told = report.self_tests
    assert (told.passed, told.failed, told.lower_bound) == (1, 0, "")
    ledger = Ledger().begin(selftest=False)
    ledger.selftest("clipping")
    ledger.selftest(attempt=2)
    again = ledger.written().original.report.self_tests
    assert (again.passed, again.failed) == (1, 1)
    assert [(one.attempt, one.failed) for one in again.tests] == [(1, ("clipping",)), (2, ())]


def test_without_a_self_test_nothing_is_said_to_have_passed() -> None:
    report = Ledger().begin(selftest=False).written().original.report
    assert report.self_tests.tests == ()
    assert conclusions(report)[ClaimId.TESTED] is Conclusion.OPEN
    assert conclusions(report)[ClaimId.EPSILON] is Conclusion.OPEN


def test_the_traffic_is_added_up_by_country_purpose_and_message(report: Report) -> None:
    told = {one.message: one for one in report.traffic.kinds}
    assert {name: (one.messages, one.bytes) for name, one in told.items()} == {
        "upload": (4, 121_200),
        "parcel_kind_signature": (1, 3_000),
        "parcel_kind_head": (4, 2_400),
        "parcel_kind_reveal": (4, 1_600),
        "parcel_kind_endorsement": (4, 1_680),
    }
    assert {name for name, one in told.items() if one.is_mechanism} == {"upload"}
    assert {one.country for one in told.values()} == {"DE"}
    assert all(one.is_egress for one in told.values())


def test_both_sides_are_compared(report: Report) -> None:
    told = report.traffic.crossings
    assert told is not None
    assert (told.matched, told.matched_bytes) == (17, 129_880)
    assert (told.only_left, told.only_arrived, told.newer) == (0, 0, 0)


def test_what_arrived_and_did_not_leave_is_a_finding() -> None:
    ledger = full()
    for _ in range(12):  # more than may have been on their way when the package ended
        ledger.control("fetch-plan", 60)
    operator = operators(ledger)
    quiet = Ledger(terms=ledger.terms).begin()
    for entry in ledger.entries[len(quiet.entries) :]:
        if getattr(entry.body, "message", "") != "parcel_kind_reveal":
            quiet.add(entry.body)
    report = quiet.written(operator=operator).original.report
    assert report.traffic.crossings is not None
    assert report.traffic.crossings.only_arrived == 4
    assert conclusions(report)[ClaimId.MATCHED] is Conclusion.FAILS
    assert report.summary.findings_count == 4


def test_only_the_operator_of_an_agreement_that_is_vouched_for_is_compared_with() -> None:
    ledger, sham = full(), operators(Ledger(operator=("FR", "Somebody else")).begin())
    own, other = (one.verified()[0].ledger for one in (ledger, sham))
    beside = {**own.parties.agreements, sham.agreement.digest: sham.agreement}
    both = replace(own, parties=replace(own.parties, agreements=beside))
    with pytest.raises(PeerError, match="expected the operator of an agreement"):
        compare(both, Tree(ledger.raw), other)


def told_otherwise(of: Ledger, owner: InstitutionId, tell: Callable[[Body], Body]) -> Ledger:
    """Write a ledger once more, in other words."""
    ledger = Ledger(owner=owner, terms=of.terms)
    for entry in of.entries:
        ledger.add(tell(entry.body))
    return ledger


@pytest.mark.parametrize("changes", [{"round": 5}, {"purpose": "connection-test"}])
def test_an_upload_that_arrived_for_something_else_is_a_finding(changes: dict[str, Any]) -> None:
    def tell(body: Body) -> Body:
        is_upload = isinstance(body, Ingress) and body.message == "upload"
        return replace(body, **changes) if is_upload and body.round == 1 else body

    ledger = full()
    for _ in range(12):
        ledger.control("fetch-plan", 60)
    other = told_otherwise(operators(ledger), OPERATOR, tell)
    report = ledger.written(operator=other).original.report
    assert report.traffic.crossings is not None
    assert (report.traffic.crossings.only_left, report.traffic.crossings.only_arrived) == (1, 1)
    assert conclusions(report)[ClaimId.MATCHED] is Conclusion.FAILS


def witnessed(of: Ledger, by: Ledger) -> Ledger:
    """Let an operator witness each head that a ledger asked it for."""
    for entry in of.entries:
        if isinstance(entry.body, Egress) and entry.body.message == HEAD:
            root = Tree(of.raw[: entry.sequence]).root().hex()
            head = Head(
                institution=OWNER,
                generation=entry.generation,
                size=entry.sequence,
                root=Digest(root),
            )
            by.add(head)
    return by


def test_heads_that_were_witnessed_were_asked_for_in_messages_that_left() -> None:
    def tell(body: Body) -> Body:
        is_head = isinstance(body, Egress) and body.message == HEAD
        return replace(body, digest=digest_of("another", body)) if is_head else body

    ledger = full()
    for _ in range(8):
        ledger.control(HEAD, 600)
    liar = told_otherwise(ledger, OWNER, tell)
    honest = ledger.written(operator=witnessed(ledger, operators(ledger))).original.report
    assert honest.summary.findings == ()
    report = liar.written(operator=witnessed(liar, operators(ledger))).original.report
    told = "the operator witnessed 12 heads of bank, which sent 0 of the messages that ask for one"
    assert told in report.summary.findings


def test_a_round_that_was_joined_by_the_plan_of_another_one_is_a_finding() -> None:
    def tell(body: Body) -> Body:
        is_third = isinstance(body, RoundJoin) and body.round == 3
        return replace(body, plan=digest_of("plan", 1)) if is_third else body

    ledger = full()
    report = told_otherwise(ledger, OWNER, tell).written(operator=operators(ledger))
    assert report.original.report.summary.findings == (
        "entry 21: round 3 is not on the operator's ledger",
    )


def test_another_operators_ledger_is_a_finding_and_no_comparison() -> None:
    other = operators(Ledger(operator=("FR", "Somebody else")).begin())
    report = full().written(operator=other).original.report
    assert report.traffic.crossings is None
    assert conclusions(report)[ClaimId.MATCHED] is Conclusion.FAILS
    assert "expected the operator of an agreement" in report.summary.findings[0]


def test_incidents_are_counted_and_told() -> None:
    ledger = full()
    agreement = ledger.agreement.digest
    ledger.add(
        Refused(code=RefusalCode.BUDGET, agreement=agreement, round=7),
        Refused(code=RefusalCode.BUDGET, agreement=agreement, round=8),
        Refused(code=RefusalCode.POLICY, agreement=agreement, round=None),
        Note(text="extended by letter", about=4),
        Restore(agreement=agreement, epoch=1, round=6),
    )
    ledger.control("parcel_kind_epoch_keys")
    report = ledger.written().original.report
    told = report.incidents
    assert [(one.code, one.count) for one in told.refusals] == [("budget", 2), ("policy", 1)]
    assert (told.voids, told.complaints, told.restores, told.declared, told.notes) == (
        1, 0, 1, 0, 1,
    )  # fmt: skip
    assert (told.forfeited, told.refunded, told.policies) == (1, 1, 1)
    assert (told.key_epochs, told.key_rotations) == (1, 0)
    assert [(one.kind, one.round, one.told) for one in told.incidents] == [
        ("round.void", 4, "1 upload came, 3 are needed"),
        ("budget.refund", None, "round-void"),
        ("budget.charge", None, ""),
        ("note", None, "extended by letter"),
        ("restore", 6, ""),
    ]
    assert conclusions(report)[ClaimId.NEVER_RESTORED] is Conclusion.PARTLY


def test_a_declared_restore_is_another_generation() -> None:
    ledger = Ledger().begin()
    ledger.add(
        Restore(agreement=ledger.agreement.digest, epoch=1, round=0, generation=number("second"))
    )
    report = ledger.written().original.report
    assert report.integrity.generations == 2
    assert (report.incidents.restores, report.incidents.declared) == (1, 1)
    assert [one.kind for one in report.incidents.incidents] == ["restore.declared"]


def test_the_integrity_of_the_log_is_told_with_its_head_and_witnesses(report: Report) -> None:
    told, ledger = report.integrity, full()
    verification, steps = ledger.verified()
    assert (told.size, told.root) == (42, verification.checkpoint.root.hex())
    assert told.origin == f"ledger.comity/bank/{number('genesis').hex()}"
    assert told.needed == 2
    assert [(one.name, one.time, one.counts) for one in told.witnesses] == [
        ("lab", "2026-02-28T12:00:01Z", True),
        ("clinic", "2026-02-28T12:00:00Z", True),
    ]
    assert [one.name for one in told.steps] == [one.name for one in steps]
    assert told.package == PackageFacts(name="bank.zip", sha256="e" * 64, bytes=12_345)


def inapplicable(steps: Sequence[Step], *names: str) -> list[Step]:
    """Say of these steps that they are about another kind of ledger."""
    return [
        replace(one, outcome=Outcome.INAPPLICABLE, detail="of operators' ledgers alone")
        if one.name in names
        else one
        for one in steps
    ]


def test_a_step_about_another_kind_of_ledger_is_neither_held_nor_open() -> None:
    verification, steps = full().verified()
    changed = inapplicable(steps, "arrivals", "runs", "heads")
    original = original_of(gather(verification, changed, (), package=PACKAGE))
    report = original.report
    told = {one.name: one.outcome for one in report.integrity.steps}
    assert {told[name] for name in ("arrivals", "runs", "heads")} == {Outcome.INAPPLICABLE}
    assert b'"outcome":"inapplicable"' in original.raw
    assert read_original(original.raw).report == report
    unchanged = gather(verification, steps, (), package=PACKAGE)
    assert report.summary == unchanged.summary
    assert report.evidence == unchanged.evidence


def test_a_claim_rests_on_its_other_steps_where_one_does_not_apply() -> None:
    verification, steps = full().verified()
    some = gather(verification, inapplicable(steps, "rounds"), (), package=PACKAGE)
    assert conclusions(some)[ClaimId.BUDGET] is Conclusion.HOLDS
    all_ = gather(
        verification, inapplicable(steps, "budget", "rounds", "self-tests"), (), package=PACKAGE
    )
    assert {ClaimId.BUDGET, ClaimId.TESTED}.isdisjoint(conclusions(all_))
    assert all_.summary.findings_count == 0


def test_nobody_vouches_for_an_unanchored_package() -> None:
    report = Ledger().begin().written(anchored=False).original.report
    assert not report.summary.is_anchored
    assert conclusions(report)[ClaimId.VOUCHED] is Conclusion.OPEN
    assert not report.parties.agreements[0].is_vouched


def test_a_ledger_that_goes_on_from_a_kept_head_is_said_to() -> None:
    ledger = Ledger().begin()
    kept = ledger.head()
    ledger.control("fetch-plan", 60)
    found = conclusions(ledger.written(older=kept).original.report)
    assert found[ClaimId.CONTINUES] is Conclusion.HOLDS
    assert found[ClaimId.OVERSEEN] is Conclusion.OPEN


def test_findings_of_rules_are_told_and_their_claims_fail() -> None:
    ledger = Ledger().begin(selftest=False)
    ledger.release(1)
    ledger.control("parcel_kind_decline", 99_999)
    report = ledger.written().original.report
    found = conclusions(report)
    assert found[ClaimId.TESTED] is found[ClaimId.COVERED] is Conclusion.FAILS
    assert found[ClaimId.BUDGET] is Conclusion.HOLDS
    assert report.summary.findings_count == 2
    assert "a reserve without a self-test" in report.summary.findings[0]
    assert "99999 bytes" in report.summary.findings[1]


def test_what_has_no_privacy_is_infinite_everywhere() -> None:
    ledger = Ledger(changed=promising_nothing).begin()
    ledger.release(1)
    report = ledger.written(recomputing=True).original.report
    assert not report.claims[0].is_private
    assert report.claims[0].epsilon == INFINITE
    (budget,) = report.budgets
    assert budget.reserved == budget.charged == budget.points[-1].reserved == INFINITE
    assert budget.epsilon == "8"
    assert budget.points[0].reserved == "0"
    assert {one.ours for one in report.recomputation.amounts} == {INFINITE}


def test_where_nothing_is_promised_nothing_has_to_be_tested() -> None:
    ledger = Ledger(changed=promising_nothing).begin(selftest=False)
    ledger.release(1)
    report = ledger.written(recomputing=True).original.report
    assert report.summary.findings == ()
    assert conclusions(report)[ClaimId.TESTED] is Conclusion.OPEN


def test_persons_are_told_as_such() -> None:
    def of_persons(agreement):  # type: ignore[no-untyped-def]
        privacy = replace(agreement.privacy, unit=Unit.PERSON, rows_per_unit=4)
        return replace(agreement, privacy=privacy)

    report = Ledger(changed=of_persons).begin().written().original.report
    assert (report.claims[0].unit, report.claims[0].rows_per_unit) == ("person", 4)
    assert report.budgets[0].unit == "person"


def test_an_entry_that_does_not_fit_leaves_the_budget_as_far_as_it_was() -> None:
    ledger = full()
    twice = next(one.body for one in ledger.entries if isinstance(one.body, BudgetReserve))
    ledger.budget = type("Blind", (), {"apply": lambda self, entry: None})()  # type: ignore[assignment]
    ledger.add(twice)
    written = ledger.written(recomputing=True)
    report = written.original.report
    assert not report.recomputation.is_possible
    assert report.recomputation.amounts == ()
    assert report.summary.findings_count >= 1
    assert report.budgets[0].reserved == epsilon_text(
        full().budget.statement(NAMESPACE).epsilon_reserved
    )
    assert "do not fit each other" in written.html


def test_the_operators_ledger_has_a_report_of_its_own() -> None:
    report = operators(full()).written().original.report
    assert (report.summary.owner, report.summary.is_operator) == (OPERATOR, True)
    assert ClaimId.OPERATED in conclusions(report)
    assert ClaimId.BUDGET not in conclusions(report)
    told = report.operation
    assert (told.approved, told.revoked, told.heads) == (3, 0, 0)
    (run,) = told.runs
    assert (run.planned, run.certified, run.void, run.released) == (6, 5, 1, 1)
    assert {one.is_egress for one in report.traffic.kinds} == {False}


def test_a_ledger_without_foundations_has_no_report() -> None:
    ledger = Ledger().begin()
    package = replace(ledger.package(), entries=tuple(ledger.raw[:-1]))
    verification = Verification(package, anchors=[ledger.agreement.digest])
    steps = list(verification.steps())
    assert steps[-1].outcome is Outcome.FAILS
    with pytest.raises(LocalError, match="foundations"):
        write_report(verification, steps, None, package=PACKAGE)


def test_texts_from_outside_are_cut_to_visible_characters() -> None:
    long = "x" * 5_000 + "\n"
    ledger = Ledger(places={"bank": ("DE", long), "clinic": ("CN", "\x1b[2Jb"), "lab": ("BR", "")})
    report = ledger.begin().written().original.report
    names = {one.id: one.name for one in report.parties.parties}
    assert len(names["bank"]) == MAX_TEXT
    assert names["clinic"] == "?[2Jb"
    assert names["lab"] == ""


def test_very_many_kinds_of_messages_are_added_up_by_country() -> None:
    ledger = Ledger().begin()
    for place in range(1_200):
        ledger.control(f"made-up-{place}", 10 + place)
    report = ledger.written().original.report
    kinds = report.traffic.kinds
    assert len(kinds) == 1_001
    assert sum(one.messages for one in kinds) == 1_201
    assert sum(one.bytes for one in kinds) == 3_000 + sum(10 + k for k in range(1_200))
    (rest,) = [one for one in kinds if not one.message]
    assert (rest.country, rest.messages) == ("DE", 201)
    assert report.summary.findings_count == 1_200


def test_a_long_ledger_is_told_in_a_page_that_people_can_open() -> None:
    ledger = Ledger(terms={"rounds": 400, "spare_rounds": 40}).begin()
    for round in range(1, 401):
        ledger.release(round)
        for message in ("parcel_kind_cosignature", "parcel_kind_epoch_keys", "fetch-plan") * 6:
            ledger.control(message, 60)
    written = ledger.written()
    report = written.original.report
    assert report.summary.entries > 9_900
    assert report.summary.findings_count == 0
    assert report.runs[0].released == 400
    points = report.budgets[0].points
    assert len(points) == MAX_POINTS
    assert points[-1].reserved == report.budgets[0].reserved
    assert len(written.html) < 200_000
    assert DATASET not in written.html
    assert digest_of("rows") not in written.html
