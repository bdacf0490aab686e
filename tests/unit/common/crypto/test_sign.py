"""A signature counts for one key, one purpose and one body, and for nothing else."""

import random
from itertools import permutations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from comity_common.crypto.sign import (
    ED25519_BYTES,
    HYBRID,
    Purpose,
    Signed,
    SigningKeys,
    verify,
)
from comity_common.errors import PeerError

KEYS = SigningKeys.from_bytes(bytes(range(64)))
ED25519, MLDSA44 = KEYS.public()
OTHERS = SigningKeys.generate()
BODY = b'{"round":7}'


def refused(purpose: Purpose, signed: Signed, ed25519=ED25519, mldsa44=MLDSA44) -> bool:
    """Whether verification fails, which must be by `PeerError`."""
    try:
        verify(ed25519, mldsa44, purpose, signed)
    except PeerError:
        return True
    return False


@pytest.mark.parametrize("purpose", Purpose)
def test_a_signature_verifies_and_gives_the_body_back(purpose):
    signed = KEYS.sign(purpose, BODY)
    assert verify(ED25519, MLDSA44, purpose, signed) == BODY
    assert len(signed.signature) == 64 + (2420 if purpose in HYBRID else 0)


@pytest.mark.parametrize(("made", "asked"), permutations(Purpose, 2))
def test_a_signature_for_one_purpose_is_no_other_s(made, asked):
    assert refused(asked, KEYS.sign(made, BODY))


@pytest.mark.parametrize(("made", "asked"), permutations(sorted(HYBRID), 2))
def test_neither_half_of_a_hybrid_signature_fits_another_purpose(made, asked):
    theirs, ours = KEYS.sign(made, BODY).signature, KEYS.sign(asked, BODY).signature
    for mixed in (theirs[:64] + ours[64:], ours[:64] + theirs[64:]):
        assert refused(asked, Signed(body=BODY, signature=mixed))


@pytest.mark.parametrize("purpose", Purpose)
def test_the_classical_half_of_a_hybrid_signature_is_no_signature_of_a_plain_purpose(purpose):
    for hybrid in HYBRID - {purpose}:
        signature = KEYS.sign(hybrid, BODY).signature[:ED25519_BYTES]
        assert refused(purpose, Signed(body=BODY, signature=signature))


@pytest.mark.parametrize("purpose", sorted(HYBRID))
def test_a_hybrid_signature_needs_both_halves(purpose):
    good, other = KEYS.sign(purpose, BODY).signature, OTHERS.sign(purpose, BODY).signature
    for signature in [
        good[:64],  # Ed25519 alone
        good[64:],  # ML-DSA alone
        good[:64] + other[64:],
        other[:64] + good[64:],
        good[:64] + bytes(2420),
        bytes(64) + good[64:],
        good[64:] + good[:64],
    ]:
        assert refused(purpose, Signed(body=BODY, signature=signature))


def test_a_hybrid_signature_needs_both_keys():
    signed = KEYS.sign(Purpose.AGREEMENT, BODY)
    other_ed25519, other_mldsa44 = OTHERS.public()
    assert refused(Purpose.AGREEMENT, signed, ed25519=other_ed25519)
    assert refused(Purpose.AGREEMENT, signed, mldsa44=other_mldsa44)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_stranger_s_signature_is_refused(purpose):
    assert refused(purpose, OTHERS.sign(purpose, BODY))


@pytest.mark.parametrize("purpose", [Purpose.PLAN, Purpose.AGREEMENT])
def test_every_bit_of_body_and_classical_signature_counts(purpose):
    signed = KEYS.sign(purpose, BODY)
    for bit in range(8 * len(BODY)):
        body = (int.from_bytes(BODY, "big") ^ (1 << bit)).to_bytes(len(BODY), "big")
        assert refused(purpose, Signed(body=body, signature=signed.signature))
    for bit in range(8 * ED25519_BYTES):
        damaged = bytearray(signed.signature)
        damaged[bit // 8] ^= 1 << bit % 8
        assert refused(purpose, Signed(body=BODY, signature=bytes(damaged)))


def test_any_damage_to_the_post_quantum_half_is_refused():
    signed = KEYS.sign(Purpose.EPOCH_KEY, BODY)
    chance = random.Random(5)
    for _ in range(300):
        damaged = bytearray(signed.signature)
        damaged[chance.randrange(64, len(damaged))] ^= 1 << chance.randrange(8)
        assert refused(Purpose.EPOCH_KEY, Signed(body=BODY, signature=bytes(damaged)))


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("fill", [b"\x00", b"\xff", b"\x42"])
def test_signatures_of_hostile_length_are_refused(purpose, fill):
    good = KEYS.sign(purpose, BODY).signature
    for size in [0, 1, 63, 64, 65, 127, 128, 2419, 2420, 2483, 2484, 2485, 100_000]:
        assert refused(purpose, Signed(body=BODY, signature=fill * size))
        if size != len(good):
            assert refused(purpose, Signed(body=BODY, signature=(good + fill * size)[: size or 1]))
    assert refused(purpose, Signed(body=BODY, signature=good + fill))
    assert refused(purpose, Signed(body=BODY, signature=fill + good))


@pytest.mark.parametrize("ed25519", [b"", bytes(31), bytes(32), b"\xff" * 32, bytes(33)])
@pytest.mark.parametrize("mldsa44", [b"", bytes(1311), bytes(1312), b"\xff" * 1312, bytes(1313)])
def test_malformed_public_keys_raise_only_peer_errors(ed25519, mldsa44):
    for purpose in (Purpose.PLAN, Purpose.AGREEMENT):
        assert refused(purpose, KEYS.sign(purpose, BODY), ed25519=ed25519, mldsa44=mldsa44)


def test_what_is_signed_is_no_message_that_another_protocol_would_sign():
    """The body is never signed bare, so no other use of the key makes the same signature."""
    bare = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).sign(BODY)
    assert refused(Purpose.PLAN, Signed(body=BODY, signature=bare))


def test_empty_and_large_bodies_are_signed():
    for body in (b"", bytes(1 << 20)):
        signed = KEYS.sign(Purpose.AGREEMENT, body)
        assert verify(ED25519, MLDSA44, Purpose.AGREEMENT, signed) == body


def test_keys_survive_storage():
    again = SigningKeys.from_bytes(KEYS.to_bytes())
    assert again.public() == (ED25519, MLDSA44)
    assert (len(ED25519), len(MLDSA44)) == (32, 1312)
    assert verify(ED25519, MLDSA44, Purpose.AGREEMENT, again.sign(Purpose.AGREEMENT, BODY)) == BODY


def test_the_two_seeds_are_used_for_their_own_scheme():
    seeds = KEYS.to_bytes()
    assert Ed25519PrivateKey.from_private_bytes(seeds[:32]).private_bytes_raw() == seeds[:32]
    assert MLDSA44PrivateKey.from_seed_bytes(seeds[32:]).public_key().public_bytes_raw() == MLDSA44


def test_the_repr_shows_no_key():
    assert repr(KEYS) == "SigningKeys(...)"


def test_agreement_and_key_set_up_are_hybrid_and_messages_of_a_round_are_not():
    assert {
        Purpose.AGREEMENT, Purpose.EPOCH_KEY, Purpose.EPOCH_HALVES, Purpose.EPOCH_VIEW,
    } <= HYBRID  # fmt: skip
    assert not HYBRID & {
        Purpose.PLAN, Purpose.HEADER, Purpose.UPLOAD, Purpose.SURVIVORS, Purpose.REVEAL,
    }  # fmt: skip
