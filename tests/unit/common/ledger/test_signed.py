"""Entries as bytes: one spelling, one signer, and what other tools see in them."""

import base64
import json
from dataclasses import replace

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger_keys import LEDGER_KEYS, read_own
from tests.unit.common.ledger.test_entries import DIGEST, EXAMPLES, chain

from comity_common.errors import LocalError, PeerError
from comity_common.ledger.bodies import EntryKind, Note
from comity_common.ledger.envelopes import seal
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.signed import read, subject, write

ENTRIES = chain()
RAWS = [write(entry, LEDGER_KEYS.entries) for entry in ENTRIES]
PUBLIC = LEDGER_KEYS.public().entries


def payload(raw: bytes) -> dict:
    return json.loads(base64.b64decode(json.loads(raw)["payload"]))


def sealed(statement: dict) -> bytes:
    return seal(rfc8785.dumps(statement), LEDGER_KEYS.entries)


def test_the_bytes_of_an_entry_do_not_change():
    """Frozen: another spelling would make every written ledger unreadable."""
    assert json.loads(RAWS[1]) == {
        "payload": json.loads(RAWS[1])["payload"],
        "payloadType": "application/vnd.in-toto+json",
        "signatures": json.loads(RAWS[1])["signatures"],
    }
    assert payload(RAWS[1]) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "policy", "digest": {"sha256": DIGEST}}],
        "predicateType": "urn:comity:ledger:1:policy.set",
        "predicate": {
            "version": "comity-ledger/1",
            "institution": "clinic",
            "generation": "AAECAwQFBgcICQoLDA0ODw==",
            "sequence": 1,
            "time": "2026-01-01T00:00:00Z",
            "body": {"policy": DIGEST},
        },
    }
    assert rfc8785.dumps(json.loads(RAWS[1])) == RAWS[1]


def test_only_the_owners_key_opens_an_entry():
    stranger = LedgerKeys.derive(bytes(64)).public().entries
    for raw in RAWS:
        assert read_own(raw) in ENTRIES
        with pytest.raises(PeerError):
            read(raw, stranger)
        for key in (PUBLIC[:31], bytes(32)):
            with pytest.raises(PeerError):
                read(raw, key)


@given(st.sampled_from(RAWS), st.data())
def test_no_changed_byte_is_read(raw, data):
    at = data.draw(st.integers(0, len(raw) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda value: value != raw[at]))
    with pytest.raises(PeerError):
        read_own(raw[:at] + bytes([new]) + raw[at + 1 :])


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_the_one_error(raw):
    with pytest.raises(PeerError):
        read_own(raw)


@given(st.binary(max_size=300))
def test_hostile_statements_that_the_owner_signed_raise_it_too(raw):
    with pytest.raises(PeerError):
        read_own(seal(raw, LEDGER_KEYS.entries))


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"subject": [{"name": "policy", "digest": {"sha256": "cd" * 32}}]},
        {"subject": [{"name": "agreement", "digest": {"sha256": DIGEST}}]},
        {"predicateType": "urn:comity:ledger:1:agreement.sign"},
        {"predicateType": "urn:comity:ledger:1:key.rotate"},
        {"predicateType": "urn:comity:ledger:2:policy.set"},
        {"predicate": {}},
        {"more": 1},
    ],
)
def test_a_statement_that_says_anything_else_is_not_read(change):
    statement = payload(RAWS[1])
    assert read_own(sealed(statement)) == ENTRIES[1]
    with pytest.raises(PeerError):
        read_own(sealed(statement | change))


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": -1},
        {"sequence": 1.5},
        {"sequence": 2**60},
        {"generation": "AAAA"},
        {"version": "comity-ledger/2"},
        {"time": "yesterday"},
        {"body": {"policy": "short"}},
        {"body": {}},
        {"body": {"policy": DIGEST, "rows": 412}},
        {"rows": 412},
    ],
)
def test_an_entry_out_of_its_rules_is_not_read(change):
    statement = payload(RAWS[1])
    statement["predicate"] |= change
    try:
        raw = sealed(statement)
    except rfc8785.IntegerDomainError:
        raw = seal(json.dumps(statement).encode(), LEDGER_KEYS.entries)
    with pytest.raises(PeerError):
        read_own(raw)


def test_other_spellings_of_the_same_envelope_are_not_read():
    envelope = json.loads(RAWS[1])
    for wrong in (
        json.dumps(envelope).encode(),
        RAWS[1] + b"\n",
        RAWS[1].replace(b'{"payload":', b'{"payload":"","payload":'),
        rfc8785.dumps(envelope | {"signatures": envelope["signatures"] * 2}),
        rfc8785.dumps(envelope | {"signatures": []}),
        rfc8785.dumps(envelope | {"payloadType": "application/json"}),
        rfc8785.dumps(envelope | {"payload": envelope["payload"].rstrip("=") + "===="}),
    ):
        with pytest.raises(PeerError):
            read_own(wrong)


def test_every_subject_is_a_digest():
    for body in EXAMPLES:
        digest = subject(body).digest.sha256
        assert len(digest) == 64
        assert set(digest) <= set("0123456789abcdef")


def test_an_entry_without_an_artefact_is_about_its_own_body():
    assert subject(EXAMPLES[0]).name == "body"
    assert subject(EXAMPLES[2]).name == "agreement"


def test_an_entry_that_is_too_large_is_neither_written_nor_read():
    long = replace(ENTRIES[1], body=Note(text="x" * 500, about=None))
    assert len(write(long, LEDGER_KEYS.entries)) < 3000
    with pytest.raises(PeerError, match="1 MiB"):
        read_own(bytes((1 << 20) + 1))


def test_every_kind_with_a_body_can_be_written():
    assert {entry.kind for entry in ENTRIES} == set(EntryKind) - {
        EntryKind.KEY_ROTATE,
        EntryKind.ERASURE,
    }
    with pytest.raises(LocalError):
        replace(ENTRIES[1], sequence=-1)
