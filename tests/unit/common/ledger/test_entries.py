"""Every gap, edit and reordering of the chain shows; bodies accept only what they may say."""

from dataclasses import fields, make_dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger_keys import LEDGER_KEYS, read_own

from comity_common.canonical import decode, encode
from comity_common.dp.terms import Gate, Guarantee, SampledGaussian, Unit
from comity_common.errors import LocalError, PeerError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    BODIES,
    AgreementSign,
    BudgetCharge,
    BudgetGrant,
    BudgetRefund,
    BudgetReserve,
    DatasetId,
    DatasetRegister,
    Egress,
    EntryKind,
    Genesis,
    Ingress,
    NamespaceId,
    Note,
    Outcome,
    PolicySet,
    RefundReason,
    Refused,
    Restore,
    RoundComplaint,
    RoundJoin,
    RoundVoid,
    SelfTest,
    Traffic,
    Verdict,
)
from comity_common.ledger.entries import Entry, append, check_order, kind_of
from comity_common.ledger.operatorbodies import (
    AgreementEnd,
    AgreementStart,
    Ending,
    Head,
    MemberApprove,
    MemberRevoke,
    ModelRelease,
    RoundCertificate,
    RoundPlan,
)
from comity_common.ledger.signed import write

CLINIC = InstitutionId("clinic")
TIME = "2026-01-01T00:00:00Z"
DIGEST = Digest("ab" * 32)
ROWS = DatasetId("0f" * 16)
NONCE = bytes(range(16))
EVENT = SampledGaussian(
    sampling_probability=Decimal("0.2"), noise_multiplier=Decimal("1.5561"), steps=25
)
CROSSING = {
    "purpose": "train a classifier",
    "jurisdiction": "DE",
    "message": "upload",
    "size_bytes": 4096,
    "digest": DIGEST,
    "round": 7,
}

GENESIS = Genesis(nonce=NONCE, software="comity 0.1.0")
EGRESS = Egress(
    receiver=InstitutionId("operator"), traffic=Traffic.MECHANISM, nonce=NONCE, **CROSSING
)
CLAIM = Guarantee(epsilon=Decimal(8), delta=Decimal("1e-5"))
SPACE, OTHER_NONCE = NamespaceId("1f" * 16), bytes(range(1, 17))
REGISTER = DatasetRegister(
    dataset=ROWS,
    namespace=SPACE,
    commitment=DIGEST,
    schema=DIGEST,
    unit=Unit.RECORD,
    ceiling=CLAIM,
    parent=DatasetId(""),
)
GRANT = BudgetGrant(grant=NONCE, namespace=SPACE, guarantee=CLAIM, gate=Gate.RENYI, order=4)
RESERVE = BudgetReserve(
    dataset=ROWS,
    grant=NONCE,
    nonce=NONCE,
    agreement=DIGEST,
    epoch=1,
    round=7,
    unit=Unit.RECORD,
    event=EVENT,
    schedule=(EVENT,),
    guarantee=CLAIM,
)
EXAMPLES = [
    GENESIS,
    PolicySet(policy=DIGEST),
    AgreementSign(agreement=DIGEST),
    REGISTER,
    GRANT,
    RESERVE,
    RoundJoin(agreement=DIGEST, epoch=1, round=7, plan=DIGEST),
    EGRESS,
    BudgetCharge(nonce=NONCE, outcome=Outcome.RELEASED, released=DIGEST),
    BudgetCharge(nonce=NONCE, outcome=Outcome.FORFEITED, released=Digest("")),
    Ingress(sender=InstitutionId("operator"), traffic=Traffic.CONTROL, nonce=b"", **CROSSING),
    Refused(code=RefusalCode.BUDGET, agreement=DIGEST, round=7),
    Refused(code=RefusalCode.UNKNOWN_AGREEMENT, agreement=Digest(""), round=None),
    Restore(agreement=DIGEST, epoch=1, round=9),
    Note(text="the entry before has the wrong receiver", about=7),
    RoundComplaint(agreement=DIGEST, epoch=1, round=7, plan=DIGEST, dealers=(CLINIC,)),
    RoundVoid(agreement=DIGEST, epoch=1, round=7, plan=DIGEST, reason="2 of 3 reveals arrived"),
    SelfTest(
        verdict=Verdict.FAIL,
        tests=("noise-scale", "clipping"),
        failed=("clipping",),
        attempt=1,
        agreement=DIGEST,
    ),
    SelfTest(verdict=Verdict.PASS, tests=("clipping",), failed=(), attempt=2, agreement=Digest("")),
    MemberApprove(institution=CLINIC, jurisdiction="DE", party=DIGEST),
    MemberRevoke(institution=CLINIC),
    AgreementStart(agreement=DIGEST),
    AgreementEnd(agreement=DIGEST, ending=Ending.STOPPED),
    RoundPlan(agreement=DIGEST, epoch=1, round=7, plan=DIGEST),
    RoundCertificate(
        agreement=DIGEST,
        epoch=1,
        round=7,
        plan=DIGEST,
        certificate=DIGEST,
        is_void=False,
        model=DIGEST,
    ),
    ModelRelease(agreement=DIGEST, round=7, model=DIGEST),
    Head(institution=CLINIC, generation=NONCE, size=12, root=DIGEST),
    replace(RESERVE, nonce=OTHER_NONCE),
    BudgetRefund(nonce=OTHER_NONCE, reason=RefundReason.ROUND_VOID, evidence=DIGEST),
]


def chain(bodies=EXAMPLES) -> list[Entry]:
    entries = []
    for body in bodies:
        entries.append(append(entries[-1] if entries else None, body, CLINIC, TIME))
    return entries


def test_every_known_body_has_an_example_and_comes_back_from_its_entry():
    assert {type(body) for body in EXAMPLES} == set(BODIES.values())
    for body, entry in zip(EXAMPLES, chain(), strict=True):
        assert read_own(write(entry, LEDGER_KEYS.entries)) == entry
        assert BODIES[entry.kind] is type(body)
        assert kind_of(body) is entry.kind


def test_the_kinds_are_a_closed_list():
    assert [kind.value for kind in EntryKind] == [
        "genesis",
        "key.rotate",
        "policy.set",
        "agreement.sign",
        "dataset.register",
        "budget.grant",
        "budget.reserve",
        "budget.charge",
        "budget.refund",
        "round.join",
        "round.complaint",
        "round.void",
        "egress",
        "ingress",
        "selftest",
        "refusal",
        "erasure",
        "restore",
        "note",
        "member.approve",
        "member.revoke",
        "agreement.start",
        "agreement.end",
        "round.plan",
        "round.certificate",
        "model.release",
        "head",
    ]


def test_entries_in_order_are_a_ledger():
    check_order(chain())
    check_order(iter(chain()[:1]))


@given(st.data())
def test_a_missing_swapped_or_doubled_entry_shows(data):
    entries = chain()
    i = data.draw(st.integers(0, len(entries) - 2))
    j = data.draw(st.integers(i + 1, len(entries) - 1))
    swapped = entries.copy()
    swapped[i], swapped[j] = swapped[j], swapped[i]
    for wrong in (entries[:i] + entries[j:], swapped, entries[: i + 1] + entries[i:]):
        if wrong != entries:
            with pytest.raises(PeerError):
                check_order(wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 4},
        {"institution": InstitutionId("other")},
        {"generation": bytes(16)},
        {"body": GENESIS},
    ],
)
def test_an_entry_of_another_place_ledger_or_generation_shows(change):
    entries = chain()
    entries[3] = replace(entries[3], **change)
    with pytest.raises(PeerError):
        check_order(entries)


def test_no_entries_are_no_ledger():
    with pytest.raises(PeerError):
        check_order([])


def test_a_restore_that_a_person_declared_begins_a_generation():
    restored = Restore(agreement=DIGEST, epoch=1, round=9, generation=OTHER_NONCE)
    caught = Restore(agreement=DIGEST, epoch=1, round=9)
    entries = chain([GENESIS, caught, restored, EXAMPLES[1]])
    assert [entry.generation for entry in entries] == [NONCE, NONCE, OTHER_NONCE, OTHER_NONCE]
    check_order(entries)
    with pytest.raises(PeerError):
        check_order([*entries[:3], replace(entries[3], generation=NONCE)])


def test_append_wants_a_genesis_first_and_nowhere_else_and_one_institution():
    first = append(None, GENESIS, CLINIC, TIME)

    for last, body, institution in (
        (None, EXAMPLES[1], CLINIC),
        (first, GENESIS, CLINIC),
        (first, EXAMPLES[1], InstitutionId("other")),
    ):
        with pytest.raises(LocalError):
            append(last, body, institution, TIME)


@pytest.mark.parametrize(
    "time",
    [
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-0\u0661T00:00:00Z",
        "",
        "now",
        "2026-01-01 00:00:00",
        "2026-01-01T00:00:00+00:00",
    ],
)
def test_the_time_has_one_spelling(time):
    with pytest.raises(LocalError):
        append(None, GENESIS, CLINIC, time)


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (EGRESS, {"nonce": b""}),
        (EGRESS, {"traffic": Traffic.CONTROL}),
        (EGRESS, {"digest": Digest("")}),
        (EGRESS, {"size_bytes": -1}),
        (EGRESS, {"jurisdiction": "Germany"}),
        (EGRESS, {"round": -1}),
        (EGRESS, {"message": "x" * 501}),
        (EXAMPLES[8], {"released": Digest("")}),
        (EXAMPLES[9], {"released": DIGEST}),
        (RESERVE, {"nonce": bytes(15)}),
        (RESERVE, {"grant": b""}),
        (RESERVE, {"round": -1}),
        (RESERVE, {"schedule": ()}),
        (REGISTER, {"dataset": DatasetId("rows-of-2026")}),
        (REGISTER, {"namespace": NamespaceId("all rows")}),
        (REGISTER, {"schema": Digest("")}),
        (REGISTER, {"parent": DatasetId("before")}),
        (REGISTER, {"parent": ROWS}),
        (GRANT, {"order": 1}),
        (GRANT, {"order": 257}),
        (GRANT, {"grant": bytes(17)}),
        (GRANT, {"gate": Gate.FIXED_SCHEDULE}),
        (GRANT, {"gate": Gate.NONE, "order": 0}),
        (GRANT, {"guarantee": None}),
        (EXAMPLES[-1], {"evidence": Digest("")}),
        (EXAMPLES[-1], {"nonce": b""}),
        (EXAMPLES[14], {"text": ""}),
        (EXAMPLES[17], {"verdict": Verdict.PASS}),
        (EXAMPLES[17], {"failed": ()}),
        (EXAMPLES[17], {"failed": ("another",)}),
        (EXAMPLES[17], {"failed": ("clipping", "noise-scale")}),
        (EXAMPLES[17], {"tests": ("clipping", "clipping")}),
        (EXAMPLES[17], {"tests": ("clipping", "12 rows")}),
        (EXAMPLES[17], {"attempt": 3}),
        (EXAMPLES[17], {"agreement": Digest("all")}),
        (EXAMPLES[18], {"tests": ()}),
        (EXAMPLES[19], {"jurisdiction": "Germany"}),
        (EXAMPLES[19], {"party": Digest("")}),
        (EXAMPLES[21], {"agreement": Digest("")}),
        (EXAMPLES[22], {"agreement": Digest("")}),
        (EXAMPLES[23], {"plan": Digest("")}),
        (EXAMPLES[24], {"certificate": Digest("")}),
        (EXAMPLES[24], {"round": -1}),
        (EXAMPLES[25], {"model": Digest("")}),
        (EXAMPLES[26], {"generation": b""}),
        (EXAMPLES[26], {"size": -1}),
    ],
)
def test_a_body_out_of_its_rules_is_refused_here_and_from_a_peer(body, change):
    with pytest.raises(LocalError):
        replace(body, **change)
    values = {field.name: getattr(body, field.name) for field in fields(body)} | change
    unchecked = make_dataclass(type(body).__name__, list(values), frozen=True)
    with pytest.raises(PeerError):
        decode(type(body), encode(unchecked(**values)))


def test_shared_fields_have_no_place_for_what_depends_on_rows():
    """A new field has to be thought about: does it say anything about rows?"""
    names = {field.name for body in BODIES.values() for field in fields(body)}

    assert names == {
        "nonce",
        "software",
        "policy",
        "agreement",
        "dataset",
        "commitment",
        "namespace",
        "schema",
        "unit",
        "ceiling",
        "parent",
        "grant",
        "guarantee",
        "gate",
        "order",
        "epoch",
        "round",
        "event",
        "schedule",
        "evidence",
        "outcome",
        "institution",
        "party",
        "ending",
        "certificate",
        "is_void",
        "model",
        "generation",
        "size",
        "root",
        "released",
        "plan",
        "purpose",
        "receiver",
        "sender",
        "jurisdiction",
        "traffic",
        "message",
        "size_bytes",
        "digest",
        "code",
        "text",
        "about",
        "dealers",
        "reason",
        "verdict",
        "tests",
        "failed",
        "attempt",
    }
