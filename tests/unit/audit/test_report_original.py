"""The original of a report: one spelling, its own envelope, and pages made from it alone."""

import json
from base64 import b64decode
from hashlib import sha256

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger_keys import LEDGER_KEYS
from tests.unit.audit.reported import Ledger

from comity_audit.report.original import (
    MAX_ORIGINAL_BYTES,
    PAYLOAD_TYPE,
    original_of,
    read_original,
)
from comity_audit.report.page import ALL_LANGUAGES, render
from comity_audit.report.writing import Written
from comity_common.errors import PeerError
from comity_common.ledger.envelopes import key_id, seal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
SMALL = original_of(Ledger().begin().written().original.report, KEY)


def test_an_unsigned_original_is_the_canonical_json_and_its_digest_is_told(
    written: Written,
) -> None:
    original = written.original
    assert rfc8785.dumps(json.loads(original.raw)) == original.raw
    assert original.sha256 == sha256(original.raw).hexdigest()
    assert original.signer == ""
    assert original.sha256 in written.html
    assert read_original(original.raw) == original


def test_a_signed_original_is_an_envelope_that_other_tools_read(written: Written) -> None:
    original = original_of(written.original.report, KEY)
    envelope = json.loads(original.raw)
    assert envelope["payloadType"] == PAYLOAD_TYPE
    payload = b64decode(envelope["payload"])
    assert payload == written.original.raw
    signed = b"DSSEv1 %d %s %d %s" % (
        len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload,
    )  # fmt: skip
    (signature,) = envelope["signatures"]
    KEY.public_key().verify(b64decode(signature["sig"]), signed)
    assert original.signer == signature["keyid"] == key_id(PUBLIC)
    assert read_original(original.raw, PUBLIC) == original
    assert original.signer in render(original)


def test_a_signed_original_is_read_with_its_key_alone() -> None:
    with pytest.raises(PeerError, match="expected the key of who signed"):
        read_original(SMALL.raw)
    with pytest.raises(PeerError, match="signed with this key"):
        read_original(SMALL.raw, bytes(32))
    unsigned = original_of(SMALL.report).raw
    with pytest.raises(PeerError, match="signed with this key"):
        read_original(unsigned, PUBLIC)


def test_no_entry_of_a_ledger_passes_for_a_report_nor_the_other_way() -> None:
    payload = original_of(SMALL.report).raw
    statement = seal(payload, KEY)  # under the type of entries
    with pytest.raises(PeerError, match="signed with this key"):
        read_original(statement, PUBLIC)


def test_the_same_json_gives_the_same_page_byte_for_byte(written: Written) -> None:
    again = read_original(written.original.raw)
    assert render(again, ALL_LANGUAGES) == written.html


@given(st.data())
def test_no_changed_byte_of_a_signed_report_is_read(data: st.DataObject) -> None:
    raw = SMALL.raw
    at = data.draw(st.integers(0, len(raw) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda value: value != raw[at]))
    with pytest.raises(PeerError):
        read_original(raw[:at] + bytes([new]) + raw[at + 1 :], PUBLIC)


def test_what_is_no_report_raises_the_one_error() -> None:
    for raw in (b"", b"{}", b"[]", b"\xff", SMALL.raw[:-1], b" " * (MAX_ORIGINAL_BYTES + 1)):
        for key in (None, PUBLIC, LEDGER_KEYS.public().entries):
            with pytest.raises(PeerError):
                read_original(raw, key)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "comity-audit-report/2"),
        (("budgets", 0, "epsilon"), "-1"),
        (("budgets", 0, "epsilon"), "1e9"),
        (("budgets", 0, "delta"), ""),
        (("claims", 0, "epsilon"), "9" * 60),
        (("summary", "entries"), "12"),
        (("evidence", 0, "clauses", 0, "status"), "compliant"),
        (("integrity", "steps", 0, "outcome"), "fine"),
    ],
)
def test_a_number_or_word_that_no_report_has_is_refused(
    path: tuple[str | int, ...], value: object
) -> None:
    tree = json.loads(original_of(SMALL.report).raw)
    place = tree
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(PeerError):
        read_original(rfc8785.dumps(tree))
