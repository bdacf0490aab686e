"""Whatever bytes a peer sends to whatever reads them: a value, or the documented error, in time."""

import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulation.federation import World
from tests.unit.common.mutations import KINDS, SEEDS, damaged, message_bytes

from comity.v1 import transfer_pb2 as pb
from comity_common import chunks, membership, modelfile, wire
from comity_common.canonical import decode, encode
from comity_common.crypto.seal import SealingKey, open_box, seal
from comity_common.crypto.shamir import combine
from comity_common.crypto.sign import Purpose, Signed, SigningKeys, verify
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.membership import Invitation
from comity_common.optimizer import ModelState
from comity_common.secagg.collector import Collector
from comity_common.secagg.keyepoch import check_open, read_halves, read_keys
from comity_common.secagg.messages import CertificateBody, EpochOpen, Plan
from comity_common.secagg.participant import check_certificate

QUICK = settings(max_examples=200, deadline=None)
LONG = settings(QUICK, max_examples=4000)

SIGNING = SigningKeys.generate()
WORLD = World.of(3)
ME = WORLD.agreement.roster[0]
OPENED = EpochOpen(agreement=WORLD.agreement.digest, epoch=1, members=WORLD.agreement.roster)
SEALING = SealingKey.generate()
SEALED = seal(SEALING.public(), bytes(32), b"info")


def read(kind: type, raw: bytes) -> None:
    """Decode, and hold that what was accepted is what would be written."""
    try:
        message = decode(kind, raw)
    except PeerError:
        return
    assert encode(message) == raw


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@QUICK
@given(seed=SEEDS)
def test_a_message_of_any_kind_is_read_or_raises_a_peer_error(kind, seed):
    read(kind, message_bytes(kind, seed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@LONG
@given(seed=SEEDS)
def test_thousands_of_messages_of_any_kind_are_read_or_raise_a_peer_error(kind, seed):
    read(kind, message_bytes(kind, seed))


@pytest.mark.parametrize(
    "raw",
    [b"[" * 4_000_000, b'{"a":' * 1_000_000, b"9" * 4_000_000, b'"' + b"\\u0000" * 600_000 + b'"',
     b'{"plan":"' + b"0" * 4_000_000],
    ids=["lists", "objects", "digits", "escapes", "no end"],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Plan, CertificateBody], ids=lambda kind: kind.__name__)
def test_large_nonsense_costs_memory_in_proportion_and_no_time(kind, raw):
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(PeerError):
        decode(kind, raw)
    spent, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 5
    assert peak < 20 * len(raw) + (1 << 20)


@QUICK
@given(seed=SEEDS, signature=st.binary(max_size=130))
def test_an_envelope_is_unpacked_as_it_came_and_verified_as_nothing(seed, signature):
    packed = pb.Envelope(body=message_bytes(Plan, seed), signature=signature)
    signed = wire.signed(packed)
    assert wire.envelope(signed) == packed
    with pytest.raises(PeerError):
        verify(*SIGNING.public(), Purpose.PLAN, signed)


@QUICK
@given(count=st.integers(0, 3), boxes=st.lists(st.binary(max_size=4), max_size=2))
def test_a_parcel_has_one_message_or_raises_a_peer_error(count, boxes):
    message = Signed(body=b"x", signature=b"y")
    parcel = wire.parcel(Digest("0" * 64), 1, [message] * count, boxes)
    if count == 1 and not boxes:
        assert wire.only(parcel) == message
    else:
        with pytest.raises(PeerError):
            wire.only(parcel)


@QUICK
@given(st.one_of(st.text(), st.text("0123456789abcdefABCDEFg", min_size=63, max_size=65)))
def test_a_digest_is_64_lower_case_digits_or_raises_a_peer_error(text):
    try:
        assert wire.digest_of(text).encode("ascii").islower() or text.isdigit()
    except PeerError:
        assert len(text) != 64 or not set(text) <= set("0123456789abcdef")


@QUICK
@given(
    size=st.one_of(st.integers(-5, 3 << 20), st.sampled_from([2**53, 2**63, 2**64 - 1])),
    leaves=st.lists(st.binary(min_size=31, max_size=33), max_size=4),
    root=st.binary(max_size=33),
)
def test_chunk_hashes_fit_or_raise_a_peer_error(size, leaves, root):
    with pytest.raises(PeerError):
        chunks.check_leaves(size, leaves, root)


INVITATION = Invitation(
    host="operator.example", port=7444, token=bytes(16), pin=bytes(32),
    operator_jurisdiction="DE", institution=InstitutionId("inst-00"), jurisdiction="FR",
).write()  # fmt: skip


@QUICK
@given(st.one_of(st.text(), SEEDS))
def test_an_invitation_is_read_or_raises_a_local_error(drawn):
    is_text = isinstance(drawn, str)
    line = drawn if is_text else damaged(INVITATION.encode(), drawn).decode("latin-1")
    try:
        read = membership.read_invitation(line)
    except LocalError:
        assert line.strip() != INVITATION
        return
    assert membership.read_invitation(read.write()) == read


@QUICK
@given(line=st.text(max_size=80))
def test_ids_countries_and_versions_are_read_or_raise_the_documented_error(line):
    for check, error in (
        (membership.check_id, Problem),
        (membership.check_jurisdiction, Problem),
        (membership.check_user_agent, PeerError),
    ):
        with suppress(error):
            check(line)


@pytest.mark.parametrize(
    ("check", "kind", "purpose"),
    [
        (membership.check_card, membership.OperatorCard, Purpose.CARD),
        (membership.check_request, membership.EnrolmentRequest, Purpose.ENROLMENT),
        (
            lambda signed: membership.check_withdrawal(WORLD.agreement, signed),
            membership.Withdrawal,
            Purpose.WITHDRAWAL,
        ),
    ],
    ids=["card", "request", "withdrawal"],
)
@QUICK
@given(seed=SEEDS)
def test_a_strangers_signed_words_raise_a_peer_error(check, kind, purpose, seed):
    with pytest.raises(PeerError):
        check(SIGNING.sign(purpose, message_bytes(kind, seed)))


@QUICK
@given(seed=SEEDS, keys=st.lists(st.binary(max_size=40), max_size=4))
def test_messages_of_a_key_epoch_raise_only_peer_errors(seed, keys):
    signed = [WORLD.operator.sign(Purpose.EPOCH_KEY, key) for key in keys]
    for read_all in (read_keys, read_halves):
        with pytest.raises(PeerError):
            read_all(WORLD.agreement, OPENED, signed)
    try:
        opened = decode(EpochOpen, message_bytes(EpochOpen, seed))
    except PeerError:
        return
    with pytest.raises(PeerError):
        check_open(WORLD.agreement, replace(opened, epoch=0), WORLD.agreement.roster[0], 0)


@QUICK
@given(SEEDS)
def test_a_damaged_seal_or_box_raises_only_peer_errors(seed):
    for raw, opening in (
        (SEALED, lambda raw: SEALING.open(raw, b"info")),
        (bytes(48), lambda raw: open_box(bytes(32), raw, b"header")),
        (SEALING.public(), lambda raw: seal(raw, b"half", b"info")),
    ):
        try:
            opening(damaged(raw, seed))
        except PeerError:
            continue
        assert raw != bytes(48)


@QUICK
@given(st.dictionaries(st.integers(-3, 300), st.binary(max_size=6), max_size=6))
def test_shares_of_any_shape_are_combined_or_raise_a_peer_error(shares):
    try:
        assert len(combine(shares)) == len(next(iter(shares.values())))
    except PeerError:
        lengths = {len(share) for share in shares.values()}
        assert len(lengths) != 1 or not all(0 <= index < 255 for index in shares)


STATE = modelfile.write_state(
    ModelState(parameters=np.ones(3, np.float32), momentum=np.ones(3, np.float32), round=2)
)


@QUICK
@given(SEEDS)
def test_a_model_file_is_read_or_raises_a_local_error(seed):
    raw = damaged(STATE, seed)
    try:
        assert modelfile.write_state(modelfile.read_state(raw)) == raw
    except LocalError:
        assert raw != STATE


@pytest.mark.parametrize("vectors", [0, 1, 2, 3, 2**64 - 1])
@pytest.mark.parametrize("size", [0, 1, 2**31, 2**62, 2**64 - 1])
def test_a_model_file_that_claims_any_size_raises_only_local_errors(size, vectors):
    head = b"".join(count.to_bytes(8, "little") for count in (2**64 - 1, size, vectors))
    try:
        modelfile.read_state(modelfile.MAGIC + head)
    except LocalError:
        return
    assert size == 0
    assert vectors in (1, 2)


@QUICK
@given(SEEDS)
def test_a_collector_takes_hostile_headers_reveals_and_declines_as_peer_errors(seed):
    plan = WORLD.plan()
    collector = Collector(WORLD.agreement, plan)
    who = plan.participants[0]
    body = damaged(encode(plan), seed)
    for purpose, take in (
        (Purpose.HEADER, collector.check_header),
        (Purpose.REVEAL, collector.reveal),
        (Purpose.DECLINE, collector.decline),
        (Purpose.HEADER, lambda signed: collector.upload(signed, signed, ())),
    ):
        with pytest.raises(PeerError):
            take(WORLD.keys[who].sign(purpose, body))
    assert (collector.uploads, collector.reveals, collector.declined) == ({}, {}, {})


@QUICK
@given(seed=SEEDS)
def test_a_certificate_that_the_operator_signs_raises_only_peer_errors(seed):
    raw = message_bytes(CertificateBody, seed)
    signed = WORLD.operator.sign(Purpose.CERTIFICATE, raw)
    with pytest.raises(PeerError):
        check_certificate(WORLD.agreement, WORLD.plan(), None, signed, [])


def test_every_message_of_the_protocol_is_fuzzed():
    assert {kind.__name__ for kind in KINDS} >= {
        "EpochOpen", "EpochKey", "EpochHalves", "EpochView", "Plan", "Header", "Upload", "Receipt",
        "Survivors", "Complaint", "Reveal", "CertificateBody", "Endorsement", "Decline",
        "Agreement", "EnrolmentRequest", "OperatorCard", "Withdrawal",
    }  # fmt: skip
