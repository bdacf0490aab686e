"""Whatever bytes a peer sends to whatever reads them: a value, or the documented error, in time."""

import random
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.messages import TARGETS
from tests.fuzz.mutations import SEEDS, message_bytes
from tests.fuzz.target import Target, attempt, attempt_measured

from comity.v1 import transfer_pb2 as pb
from comity_common import chunks, modelfile, wire
from comity_common.canonical import decode
from comity_common.crypto.shamir import combine
from comity_common.crypto.sign import Purpose, Signed, SigningKeys, verify
from comity_common.errors import LocalError, PeerError
from comity_common.ids import Digest
from comity_common.secagg.messages import CertificateBody, Plan

QUICK = settings(max_examples=200, deadline=None)
FEW = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LONG = settings(FEW, max_examples=4000)

SIGNING = SigningKeys.generate()


@pytest.fixture
def ready(target, tmp_path):
    made = target.make(tmp_path)
    assert all(attempt_measured(target, made, sample) for sample in made.seeds)
    return made


def read_variant(target: Target, ready, seed: int) -> None:
    """Change a valid sample and read it."""
    chance = random.Random(seed)
    attempt(target, ready, ready.mutate(chance.choice(ready.seeds), chance))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@FEW
@given(seed=SEEDS)
def test_a_changed_message_is_read_or_raises_the_documented_error(target, ready, seed):
    read_variant(target, ready, seed)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@LONG
@given(seed=SEEDS)
def test_thousands_of_changed_messages_are_read_or_raise_the_documented_error(target, ready, seed):
    read_variant(target, ready, seed)


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


@QUICK
@given(st.dictionaries(st.integers(-3, 300), st.binary(max_size=6), max_size=6))
def test_shares_of_any_shape_are_combined_or_raise_a_peer_error(shares):
    try:
        assert len(combine(shares)) == len(next(iter(shares.values())))
    except PeerError:
        lengths = {len(share) for share in shares.values()}
        assert len(lengths) != 1 or not all(0 <= index < 255 for index in shares)


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
