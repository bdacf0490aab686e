"""Every gap, edit and reordering of the chain shows; bodies accept only what they may say."""

import base64
import hashlib
from dataclasses import fields, make_dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from comity_common.ledger.entries import Entry, append, chain_hash, kind_of, read, verify_chain

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
        again = decode(Entry, encode(entry))
        assert again == entry
        assert read(again) == body
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
    ]


def test_the_bytes_of_an_entry_do_not_change():
    """Frozen: another hash would make every written ledger unreadable."""
    body = base64.b64encode(b'{"policy":"' + b"ab" * 32 + b'"}')
    assert encode(chain()[1]) == (
        b'{"body":"' + body + b'","institution":"clinic","kind":"policy.set",'
        b'"previous":"OidmimNUx5hdMaoEPrbVtIS/yiTe7KFQENjoYSBswbQ=","sequence":1,'
        b'"time":"2026-01-01T00:00:00Z","version":"comity-ledger/1"}'
    )
    head = "3e502139503623cfb4f07f31e2b37420129e377d544260a80d2dc5e3f6e9a7ca"
    assert verify_chain(chain(EXAMPLES[:15])).hex() == head


def test_the_chain_hash_is_over_the_labelled_canonical_bytes():
    entry = chain()[3]
    label, raw = b"comity-sum/1/ledger-entry", encode(entry)
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in (label, raw))

    assert chain_hash(entry) == hashlib.sha256(framed).digest()


def test_an_unbroken_chain_verifies_to_its_head():
    entries = chain()

    assert verify_chain(entries) == chain_hash(entries[-1])
    assert verify_chain(iter(entries), head=chain_hash(entries[-1])) == chain_hash(entries[-1])


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
                verify_chain(wrong, head=chain_hash(entries[-1]))


@given(st.data())
def test_an_edit_of_any_field_of_any_entry_shows(data):
    entries = chain()
    head = chain_hash(entries[-1])
    i = data.draw(st.integers(0, len(entries) - 1))
    old = entries[i]
    change = data.draw(
        st.sampled_from(
            [
                {"sequence": old.sequence + 1},
                {"institution": InstitutionId("other")},
                {"time": "2026-01-01T00:00:01Z"},
                {"previous": bytes(31) + b"\x01"},
                {"body": encode(Note(text="something else", about=None))},
                {"kind": EntryKind.NOTE if i == 0 else EntryKind.GENESIS},
            ]
        )
    )
    entries[i] = replace(old, **change)

    with pytest.raises(PeerError):
        verify_chain(entries, head=head)


def test_an_edit_shows_without_the_head_unless_it_is_the_last():
    entries = chain()
    for i, entry in enumerate(entries):
        edited = entries.copy()
        edited[i] = replace(entry, time="2027-01-01T00:00:00Z")
        if i < len(entries) - 1:
            with pytest.raises(PeerError):
                verify_chain(edited)
        else:
            assert verify_chain(edited) != verify_chain(entries)


def test_a_truncated_chain_shows_against_the_head():
    entries = chain()

    for kept in range(len(entries)):
        with pytest.raises(PeerError):
            verify_chain(entries[:kept], head=chain_hash(entries[-1]))


def test_a_chain_of_two_institutions_is_no_ledger():
    first, second = chain()[:2]
    stranger = replace(second, institution=InstitutionId("other"))

    with pytest.raises(PeerError):
        verify_chain([first, stranger])


def test_a_kind_without_a_known_body_is_refused():
    first, second = chain()[:2]

    with pytest.raises(PeerError):
        verify_chain([first, replace(second, kind=EntryKind.KEY_ROTATE)])


def test_append_wants_a_genesis_first_and_nowhere_else_and_one_institution():
    first = append(None, GENESIS, CLINIC, TIME)

    for last, body, institution in (
        (None, EXAMPLES[1], CLINIC),
        (first, GENESIS, CLINIC),
        (first, EXAMPLES[1], InstitutionId("other")),
    ):
        with pytest.raises(LocalError):
            append(last, body, institution, TIME)


@pytest.mark.parametrize("time", ["", "now", "2026-01-01 00:00:00", "2026-01-01T00:00:00+00:00"])
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
    ],
)
def test_a_body_out_of_its_rules_is_refused_here_and_from_a_peer(body, change):
    with pytest.raises(LocalError):
        replace(body, **change)
    values = {field.name: getattr(body, field.name) for field in fields(body)} | change
    unchecked = make_dataclass(type(body).__name__, list(values), frozen=True)
    with pytest.raises(PeerError):
        decode(type(body), encode(unchecked(**values)))


@given(st.binary(max_size=200), st.sampled_from(list(EntryKind)))
def test_hostile_bodies_raise_only_a_peer_error(raw, kind):
    entry = replace(chain()[1], kind=kind, body=raw)

    with pytest.raises(PeerError):
        read(entry)


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
        "generation",
        "verdict",
        "tests",
        "failed",
        "attempt",
    }
