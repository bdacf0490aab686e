"""Masks cancel to the last bit, look like noise, and change whole with any bit that names them."""

import random
from dataclasses import replace
from decimal import Decimal
from itertools import chain, combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulation.federation import World
from tests.simulation.wholevector import mask, with_canaries

from comity_common.crypto.derive import expand
from comity_common.crypto.stream import CHUNK_BYTES, Keystream
from comity_common.fixedpoint import decode_sum, lane_bound
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.keyepoch import PairChain
from comity_common.secagg.masking import (
    CANARIES,
    Masks,
    commitment,
    pair_seed,
    q_bytes,
    sections,
    vector_bytes,
)
from comity_common.secagg.plan import plan_digest

NAMES = [InstitutionId(name) for name in ("a", "b", "berlin", "berlin-2", "c", "paris", "z")]


def seed(*what: object) -> bytes:
    """A fixed 32-byte seed, another for any other arguments."""
    return expand(bytes(32), "round", repr(what).encode())


def pair_of(a: InstitutionId, b: InstitutionId) -> bytes:
    return pair_seed(seed("pair", *sorted((a, b))), a, b)


def masked(clear: np.ndarray, me: InstitutionId, members: list[InstitutionId]) -> bytearray:
    """Lay out and mask a vector with every other member."""
    vector = with_canaries(clear)
    pairs = [(peer, pair_of(me, peer)) for peer in members if peer != me]
    mask(vector, len(clear), me=me, self_seed=seed("self", me), pair_seeds=pairs)
    return vector


def stream_of(secret: bytes, section: str, lanes: int) -> np.ndarray:
    """The mask that a seed gives, by masking zeros."""
    zeros = np.zeros(lanes, dtype="<u4" if section == "q" else "<u8")
    Masks(section, added=[secret], subtracted=[]).apply(zeros)
    return zeros


def test_a_vector_is_laid_out_as_lanes_then_four_canaries_then_one_of_64_bits():
    vector = with_canaries(np.array([5, 0xFFFFFFFF], dtype=np.uint32))
    assert bytes(vector) == (
        b"\x05\0\0\0" + b"\xff\xff\xff\xff" + 4 * b"\x01\0\0\0" + b"\x01" + bytes(7)
    )
    assert len(vector) == vector_bytes(2, 32) == q_bytes(2, 32) + 8 == 4 * (2 + CANARIES) + 8
    q, z = sections(vector, 2, 32)
    assert (q.tolist(), z.tolist()) == ([5, 0xFFFFFFFF, 1, 1, 1, 1], [1])


def test_sections_are_views_that_write_through():
    vector = with_canaries(np.zeros(3, dtype=np.uint32))
    q, z = sections(vector, 3, 32)
    q[0], z[0] = 7, 9
    assert (vector[0], vector[q_bytes(3, 32)]) == (7, 9)


@settings(max_examples=50, deadline=None)
@given(
    members=st.lists(st.sampled_from(NAMES), min_size=2, unique=True),
    lanes=st.integers(0, 40),
    number=st.integers(0, 2**32),
)
def test_pair_masks_cancel_and_self_masks_remain(members, lanes, number):
    clear = np.random.default_rng(number)
    inputs = {me: clear.integers(0, 2**32, lanes, dtype=np.uint32) for me in members}
    q_sum, z_sum = np.zeros(lanes + CANARIES, np.uint32), np.zeros(1, np.uint64)
    for me in members:
        q, z = sections(masked(inputs[me], me, members), lanes, 32)
        q_sum += q
        z_sum += z
    for me in members:
        q_sum -= stream_of(seed("self", me), "q", lanes + CANARIES)
        z_sum -= stream_of(seed("self", me), "z", 1)
    expected = np.sum([*inputs.values()], axis=0, dtype=np.uint32)
    assert np.array_equal(q_sum[:lanes], expected)
    assert np.all(q_sum[lanes:] == len(members))
    assert z_sum[0] == len(members)


def test_masks_left_of_a_dropped_member_are_its_pair_masks_with_the_right_sign():
    members, lanes = NAMES[:4], 30
    for dropped in members:
        rest = [me for me in members if me != dropped]
        total = np.zeros(lanes + CANARIES, np.uint32)
        for me in rest:
            total += sections(masked(np.zeros(lanes, np.uint32), me, members), lanes, 32)[0]
            total -= stream_of(seed("self", me), "q", lanes + CANARIES)
        for me in rest:
            pair = stream_of(pair_of(me, dropped), "q", lanes + CANARIES)
            total = total - pair if dropped > me else total + pair
        assert not total[:lanes].any()
        assert np.all(total[lanes:] == len(rest))


@pytest.mark.parametrize("section", ["q", "z"])
def test_masks_do_not_depend_on_the_pieces_in_which_a_vector_passes(section):
    dtype = np.dtype("<u4" if section == "q" else "<u8")
    window = CHUNK_BYTES // dtype.itemsize
    size = 2 * window + 77
    seeds = {"added": [seed(1), seed(2)], "subtracted": [seed(3)]}
    whole = np.arange(size, dtype=dtype)
    Masks(section, **seeds).apply(whole)
    pieces = np.arange(size, dtype=dtype)
    masks = Masks(section, **seeds)
    borders = [0, 1, 2, 10, window - 1, window, window + 3, 2 * window + 1, size]
    for start, end in pairwise(borders):
        masks.apply(pieces[start:end])
    assert np.array_equal(whole, pieces)


def test_adding_and_taking_the_same_masks_restores_the_vector():
    lanes = np.arange(1000, dtype=np.uint32)
    Masks("q", added=[seed(1)], subtracted=[seed(2)]).apply(lanes)
    assert not np.array_equal(lanes, np.arange(1000))
    Masks("q", added=[seed(2)], subtracted=[seed(1)]).apply(lanes)
    assert np.array_equal(lanes, np.arange(1000))


def test_the_two_sections_of_a_seed_have_streams_of_their_own():
    q = stream_of(seed(1), "q", 4096).tobytes()
    z = stream_of(seed(1), "z", 2048).tobytes()
    blocks = {q[at : at + 16] for at in range(0, len(q), 16)}
    assert not blocks & {z[at : at + 16] for at in range(0, len(z), 16)}
    assert sum(a == b for a, b in zip(q, z, strict=True)) < 130  # 64 of 16384 expected
    plain = np.zeros(4096, np.uint32)
    Keystream(seed(1)).fill(plain)
    assert not blocks & {plain.tobytes()[at : at + 16] for at in range(0, 4096, 16)}


def whole_stream_differs(one: bytes, other: bytes) -> bool:
    """Whether two seeds give unrelated streams in both sections: almost no equal byte."""
    for section, lanes in (("q", 2048), ("z", 1024)):
        a = stream_of(one, section, lanes).view(np.uint8)
        b = stream_of(other, section, lanes).view(np.uint8)
        if np.count_nonzero(a == b) > 80:  # 32 of 8192 expected, standard deviation 5.6
            return False
    return True


CHAIN = PairChain(seed("chain"), 1)


def test_every_bit_of_the_plan_s_digest_changes_the_whole_stream():
    plan = bytes(range(32))
    plain = pair_seed(CHAIN.round_key(plan), NAMES[0], NAMES[1])
    for bit in range(256):
        flipped = (int.from_bytes(plan, "big") ^ 1 << bit).to_bytes(32, "big")
        assert whole_stream_differs(plain, pair_seed(CHAIN.round_key(flipped), *NAMES[:2]))


def test_every_bit_of_the_pair_key_changes_the_whole_stream():
    plain = pair_seed(CHAIN.round_key(bytes(32)), *NAMES[:2])
    for bit in range(256):
        key = (int.from_bytes(CHAIN.key, "big") ^ 1 << bit).to_bytes(32, "big")
        other = pair_seed(PairChain(key, 1).round_key(bytes(32)), *NAMES[:2])
        assert whole_stream_differs(plain, other)


def test_agreement_epoch_round_and_model_change_the_whole_stream():
    plan = World.of(3).plan()
    plain = pair_seed(CHAIN.round_key(bytes.fromhex(plan_digest(plan))), *NAMES[:2])
    for change in (
        {"agreement": Digest("0" * 64)},
        {"epoch": 2},
        {"round": 2},
        {"model": Digest("0" * 64)},
        {"nonce": bytes(16)},
        {"participants": plan.participants[::-1]},
    ):
        other = bytes.fromhex(plan_digest(replace(plan, **change)))
        assert whole_stream_differs(plain, pair_seed(CHAIN.round_key(other), *NAMES[:2]))
    turned = CHAIN.turn_to(2).round_key(bytes.fromhex(plan_digest(plan)))
    assert whole_stream_differs(plain, pair_seed(turned, *NAMES[:2]))


def test_a_pair_seed_is_the_same_on_both_sides_and_of_no_other_pair():
    key = seed("round")
    pairs = [(a, b) for a, b in combinations([*NAMES, InstitutionId("ab")], 2)]
    seeds = {pair_seed(key, a, b) for a, b in pairs}
    assert len(seeds) == len(pairs)
    assert all(pair_seed(key, a, b) == pair_seed(key, b, a) for a, b in pairs)


def test_every_bit_of_either_name_changes_the_whole_stream():
    key = seed("round")
    plain = pair_seed(key, InstitutionId("mmm"), InstitutionId("nnn"))
    for position, bit in chain.from_iterable([((k, b) for k in range(3)) for b in range(7)]):
        for a, b in (("mmm", "nnn"), ("nnn", "mmm")):
            changed = bytearray(a.encode())
            changed[position] ^= 1 << bit
            other = pair_seed(key, InstitutionId(changed.decode()), InstitutionId(b))
            assert whole_stream_differs(plain, other)


def test_a_commitment_is_bound_to_plan_and_seed():
    values = {
        commitment(plan, secret)
        for plan in (bytes(32), bytes(31) + b"\x01")
        for secret in (bytes(32), seed(1), seed(2))
    }
    assert len(values) == 6
    assert commitment(bytes(32), seed(1)) != commitment(seed(1), bytes(32))


def chi_squared(raw: bytes) -> float:
    """Of the bytes against uniform: 255 expected, standard deviation 22.6."""
    counts = np.bincount(np.frombuffer(raw, np.uint8), minlength=256)
    expected = len(raw) / 256
    return float((((counts - expected) ** 2) / expected).sum())


@pytest.mark.parametrize("lane", [0, 1, 2**31 - 1, 2**32 - 1, 0x01010101])
def test_the_bytes_of_a_masked_vector_are_uniform_whatever_it_holds(lane):
    clear = np.full(1 << 18, lane, dtype=np.uint32)
    assert chi_squared(with_canaries(clear)) > 10_000
    vector = masked(clear, NAMES[2], NAMES)
    assert 150 < chi_squared(bytes(vector)) < 380
    for byte in range(4):  # of each lane by itself
        assert 150 < chi_squared(bytes(vector[byte : q_bytes(len(clear), 32) : 4])) < 380


def test_masked_vectors_of_equal_inputs_share_no_lane():
    clear = np.zeros(4096, dtype=np.uint32)
    one, other = (sections(masked(clear, me, NAMES), 4096, 32)[0] for me in NAMES[:2])
    assert np.count_nonzero(one == other) <= 1
    assert len(set(one.tolist())) > 4090


def test_one_unknown_mask_hides_as_well_as_many():
    """With every pair seed known to the adversary, the self seed alone keeps the bytes uniform."""
    lanes = 1 << 18
    vector = with_canaries(np.zeros(lanes, dtype=np.uint32))
    mask(vector, lanes, me=NAMES[0], self_seed=seed("only"), pair_seeds=[])
    assert 150 < chi_squared(bytes(vector)) < 380


@pytest.mark.parametrize("participants", [*range(3, 12), 100, 254, 255])
def test_extreme_lanes_never_wrap_whoever_survives(participants):
    bound = lane_bound(32, participants)
    chance = random.Random(participants)
    for survivors in {3, participants // 2 + 1, participants - 1, participants}:
        for high in {0, 1, survivors // 2, survivors, chance.randint(0, survivors)}:
            values = [bound] * high + [-bound] * (survivors - high)
            total = np.zeros(2, dtype=np.uint32)
            for value in values:
                total += np.array([value, -value], dtype=np.int64).astype(np.uint32)
            assert total.view(np.int32).tolist() == [sum(values), -sum(values)]
            mean = decode_sum(total, survivors, Decimal(1), bound, 32)
            assert float(mean[0]) == pytest.approx(sum(values) / survivors / (bound - 1))


def test_one_lane_unit_more_would_wrap():
    for participants in range(3, 256):
        bound = lane_bound(32, participants)
        assert participants * bound < 2**31 <= participants * (bound + 1)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=7, max_size=7), st.integers(5, 7))
def test_masked_extremes_add_up_exactly(signs, survivors):
    members = NAMES[:7]
    bound = lane_bound(32, len(members))
    total = np.zeros(1 + CANARIES, np.uint32)
    expected = 0
    for me, up in list(zip(members, signs, strict=True))[:survivors]:
        value = bound if up else -bound
        expected += value
        clear = np.array([value], dtype=np.int64).astype(np.uint32)
        total += sections(masked(clear, me, members), 1, 32)[0]
        total -= stream_of(seed("self", me), "q", 1 + CANARIES)
    for me in members[:survivors]:
        for dropped in members[survivors:]:
            total -= stream_of(pair_of(me, dropped), "q", 1 + CANARIES)
    assert total.view(np.int32).tolist() == [expected] + [survivors] * CANARIES
