"""What the fuzz targets have found, each fault by its own input."""

import base64
import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fuzz.registry import TARGETS
from tests.fuzz.samples import card, certificate_der, enrolment, samples
from tests.fuzz.target import attempt, attempt_measured
from tests.simulation.federation import World
from tests.simulation.network import Identity

from comity.v1 import transfer_pb2 as pb
from comity_client.agreements import Agreements
from comity_client.backup import Backup, restore
from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_client.joining import accept
from comity_client.whatleft import departures
from comity_common.agreement import Agreement, Task, TaskKind
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ids import InstitutionId
from comity_common.membership import check_card, check_request
from comity_host import settings
from comity_server.evaluation import digest_of_file
from comity_server.flower.superlink import _json_object_in
from comity_server.terms import Terms

NESTED = b"[" * 3000


@pytest.fixture
def home(tmp_path: Path) -> Institution:
    config = VaultConfig(
        id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1", sockets=tmp_path / "s"
    )
    return Institution.create(tmp_path / "home", config)


@pytest.mark.parametrize(
    ("target", "raw"),
    [
        ("terms-toml", b"a = 1e999999999999999999999"),  # decimal.InvalidOperation
        ("terms-toml", b"a = " + b"9" * 5000),  # ValueError: too many digits
        ("terms-toml", b"a = " + NESTED),  # RecursionError
        ("terms-toml", b"a" + b".a" * 20_000 + b" = 1"),  # seven seconds in tomllib
        ("proxy-answer", b"HTTP/1.1 " + b"2" * 5000 + b"\r\n\r\n"),  # ValueError
        ("proxy-answer", b"HTTP/1.1 \xb2\xb3\xb9\r\n\r\n"),
        ("control-answer", NESTED),  # RecursionError
        ("order-answer", NESTED),  # RecursionError, though a line ends after 1024 bytes
        ("card-file", b"[]"),  # TypeError
        ("card-file", b'{"body":1,"signature":""}'),
        ("card-file", NESTED),
    ],
)
def test_an_input_raises_the_documented_error_alone(target, raw, tmp_path):
    harness = TARGETS[target].make(tmp_path)
    assert attempt(TARGETS[target], harness, raw) is False


@pytest.mark.parametrize("target", ["shown-certificate", "client-certificate"])
def test_a_certificate_of_a_version_that_there_is_not_is_refused(target, tmp_path):
    """InvalidVersion is no ValueError, and anybody on the way to the operator can show one."""
    der = certificate_der().replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x12", 1)
    code = b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n"
    raw = der if target == "shown-certificate" else code % base64.encodebytes(der)
    assert attempt(TARGETS[target], TARGETS[target].make(tmp_path), raw) is False


def test_a_proxys_password_in_another_encoding_goes_out_as_it_came(tmp_path):
    target = TARGETS["addresses"]
    assert attempt(target, target.make(tmp_path), b"proxy http://\xe7:p@proxy.example:3128")


def test_the_gate_forwards_a_header_beyond_ascii_as_it_came(tmp_path):
    target = TARGETS["operator-gate"]
    raw = b"POST\n/v1/fleet/get-run\nflwr-node: \xe9\nbody"
    assert attempt(target, target.make(tmp_path), raw)


@pytest.mark.parametrize("place", [2**63, 2**64 - 1])
def test_a_number_that_the_store_cannot_hold_is_no_fault_of_the_operator(place, tmp_path):
    for name, request in (
        ("operator-follow", pb.FollowRequest(after=place)),
        ("operator-fetch-total", pb.FetchTotalRequest(agreement="0" * 64, round=place)),
    ):
        (tmp_path / name).mkdir()
        target = TARGETS[name]
        harness = target.make(tmp_path / name)
        if name == "operator-fetch-total":
            request.agreement = pb.FetchTotalRequest.FromString(harness.seeds[0]).agreement
        assert attempt(target, harness, request.SerializeToString()) is False


@pytest.mark.parametrize("name", ["", "A\x1b[2K\rOperator", "A\nB", "A" * 201])
def test_a_strangers_name_is_short_and_moves_no_cursor(name):
    """It is shown beside the words that two people compare."""
    one = samples()
    world: World = one.world
    operator = replace(world.agreement.operator, name=name)
    raw = encode(card(world)).replace(
        b'"name":"operator"', b'"name":' + json.dumps(name, ensure_ascii=False).encode()
    )
    with pytest.raises(PeerError):
        check_card(world.operator.sign(Purpose.CARD, raw))
    with pytest.raises(LocalError):
        card(world, operator=operator)
    stranger = Identity(InstitutionId("inst-00"))
    body = json.loads(enrolment(stranger).body)
    body["party"]["name"] = name
    import rfc8785

    with pytest.raises(PeerError):
        check_request(stranger.signing.sign(Purpose.ENROLMENT, rfc8785.dumps(body)))


@pytest.mark.parametrize(
    "told",
    [
        {"transfer": "nowhere"},
        {"transfer": "operator.example:٣"},
        {"gate": "x"},
        {"transfer": "a\x1b[2K:1"},
        {"transfer": "a\nid:1"},
    ],
)
def test_a_card_without_addresses_leaves_settings_and_card_as_they_were(home, told):
    before = home.home.config.read_bytes()
    one = samples()
    with pytest.raises(PeerError):
        accept(home, one.sign(Purpose.CARD, card(one.world, **told)))
    assert home.home.config.read_bytes() == before
    assert not home.home.card.exists()
    accept(home, one.sign(Purpose.CARD, card(one.world)))
    assert home.home.settings().server == "operator.example:7443"


@pytest.mark.parametrize("name", ["DEL \x7f", 'tab\tline\nquote"back\\slash', "é \u2028"])
def test_settings_that_were_written_are_read_back(name, tmp_path):
    file = tmp_path / "vault.toml"
    written = VaultConfig(id="a", name=name, jurisdiction="DE", server="o.example:1")
    settings.write(file, written)
    assert settings.load(file, VaultConfig) == written


def _labelled(agreement: Agreement, text: str) -> list[Agreement]:
    """Put a text at every place where people read one."""
    party = replace(agreement.institutions[1], name=text)
    first, _, *rest = agreement.institutions
    return [
        replace(agreement, federation=text),
        replace(agreement, purpose=text),
        replace(agreement, model=replace(agreement.model, name=text)),
        replace(agreement, task=replace(agreement.task, labels=("a", text))),
        replace(agreement, operator=replace(agreement.operator, name=text)),
        replace(agreement, institutions=(first, party, *rest)),
    ]


def test_an_agreement_whose_texts_move_the_cursor_is_not_offered(home):
    world = samples().world
    agreements: Agreements = home.agreements
    for text in ("\x1b[1A\x1b[2Kε = 0.1", "two\nlines", "\u202etxet"):
        for hostile in _labelled(world.agreement, text):
            signed = world.operator.sign(Purpose.AGREEMENT, encode(hostile))
            with pytest.raises(PeerError, match="visible"):
                agreements.offer(signed.body, signed.signature, hostile.operator)
    assert agreements.known() == []
    for harmless in _labelled(world.agreement, "Überweisung"):
        signed = world.operator.sign(Purpose.AGREEMENT, encode(harmless))
        agreements.offer(signed.body, signed.signature, harmless.operator)
    assert len(agreements.known()) == 6


def test_an_error_holds_no_message_of_a_peer():
    raw = encode(samples().world.agreement)
    for version in ("x" * 100_000, "\x1b[2J", "\x00"):
        hostile = raw.replace(b'"comity-agreement/1"', json.dumps(version).encode())
        with pytest.raises(PeerError) as caught:
            decode(Agreement, hostile)
        assert len(str(caught.value)) < 300
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("field", ["size_bytes", "purpose", "digest"])
def test_an_entry_with_a_field_of_another_type_is_told(field, tmp_path):
    from tests.fuzz.ledgers import entries
    from tests.ledger_keys import read_own

    database = tmp_path / "vault.db"
    entry = json.loads(next(raw for raw in entries() if read_own(raw).kind == "egress"))
    statement = json.loads(base64.b64decode(entry["payload"]))
    statement["predicate"]["body"] |= {field: ["x"]}
    for raw in (json.dumps(statement).encode(), NESTED * 40):
        entry["payload"] = base64.b64encode(raw).decode()
        store = sqlite3.connect(database)
        store.execute("create table if not exists entries (sequence integer, raw blob)")
        store.execute("delete from entries")
        store.execute("insert into entries values (0, ?)", (json.dumps(entry).encode(),))
        store.commit()
        store.close()
        with pytest.raises(LocalError):
            list(departures(database))


def test_a_backup_with_half_a_store_is_told_and_leaves_nothing(home, tmp_path):
    from comity_client.backup import _packed, _unpacked

    files = _unpacked(_packed(home.home))
    store = bytearray(files["vault.db"])
    store[100:600] = os.urandom(500)
    place = tmp_path / "restored"
    with pytest.raises(LocalError, match="whole store"):
        restore(
            Backup(time="2026-01-01T00:00:00Z", files=files | {"vault.db": bytes(store)}),
            place,
            signed_since=False,
        )
    assert not place.exists()


def test_an_evaluation_set_with_a_name_that_no_file_has_is_told():
    task = Task(kind=TaskKind.SEQUENCE_CLASSIFICATION, labels=("a", "b"), max_tokens=16)
    with pytest.raises(Problem) as caught:
        digest_of_file(Path("rows\0.jsonl"), task)
    assert caught.value.code == "COM-TERMS-006"


def test_what_flower_prints_may_be_anything():
    assert _json_object_in("{" * 100_000) == {}
    assert _json_object_in('{"a":' * 100_000) == {}
    assert _json_object_in('{"a":' + "9" * 5000 + "}") == {}
    assert _json_object_in('log {"success": true}') == {"success": True}


def test_a_small_file_of_a_stored_round_takes_little_memory(tmp_path):
    target = TARGETS["stored-round"]
    harness = target.make(tmp_path)
    assert attempt_measured(target, harness, harness.seeds[0])


def test_a_terms_file_of_ordinary_keys_is_still_read():
    from comity_server.terms import SAMPLE

    assert settings.load(SAMPLE, Terms).institutions
