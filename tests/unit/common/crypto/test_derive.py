"""Labels are prefix-free: values derived under different lists of parts never collide."""

import hashlib
import hmac
import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import comity_common
from comity_common.crypto.derive import PROTOCOL, digest, expand, extract, number

parts = st.lists(st.binary(max_size=12), max_size=4)
labels = st.sampled_from(["plan", "pair", "pair-mask", "box", "box-root", "ctx", "ctr", "", "ab"])


@given(labels, parts, labels, parts)
def test_digests_are_equal_only_for_equal_labels_and_parts(a, left, b, right):
    assert (digest(a, *left) == digest(b, *right)) == ((a, left) == (b, right))


def all_lists(alphabet: bytes, longest: int, most: int) -> list[tuple[bytes, ...]]:
    words = [bytes(word) for size in range(longest + 1) for word in product(alphabet, repeat=size)]
    return [chosen for size in range(most + 1) for chosen in product(words, repeat=size)]


def test_every_short_list_of_parts_has_a_digest_and_a_key_of_its_own():
    lists = all_lists(b"\x00b", 2, 3)
    assert len({digest("a", *chosen) for chosen in lists}) == len(lists)
    assert len({expand(bytes(32), "a", *chosen) for chosen in lists}) == len(lists)


@pytest.mark.parametrize("derive", [digest, lambda *a: expand(bytes(32), *a)])
def test_moving_a_border_between_label_and_parts_gives_another_value(derive):
    spellings = [
        ("box", b"a", b"b"), ("box", b"ab"), ("box", b"", b"ab"), ("box", b"ab", b""),
        ("boxa", b"b"), ("box\x00", b"ab"), ("bo", b"xab"), ("box", b"a\x00b"), ("box",),
        ("box", b""), ("boxab",), ("box", b"b", b"a"), ("box", (1).to_bytes(8, "big") + b"a"),
        ("box", b"a" + (1).to_bytes(8, "big") + b"b"),
    ]  # fmt: skip
    assert len({derive(*spelling) for spelling in spellings}) == len(spellings)


@given(labels, parts)
def test_digest_is_sha256_over_parts_that_carry_their_length(label, chosen):
    framed = b"".join(
        len(part).to_bytes(8, "big") + part for part in [b"comity-sum/1/" + label.encode(), *chosen]
    )
    assert digest(label, *chosen) == hashlib.sha256(framed).digest()


@given(st.binary(min_size=32, max_size=32), labels, parts)
def test_expand_is_one_block_of_rfc_5869_expand(key, label, chosen):
    info = b"comity-sum/1/" + label.encode() + b"\x00" + digest("ctx", *chosen)
    assert expand(key, label, *chosen) == hmac.digest(key, info + b"\x01", "sha256")


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=80), labels)
def test_extract_is_rfc_5869_extract_and_expand(salt, secret, label):
    middle = hmac.digest(salt, secret, "sha256")
    info = b"comity-sum/1/" + label.encode()
    assert extract(salt, secret, label) == hmac.digest(middle, info + b"\x01", "sha256")


@given(st.binary(min_size=32, max_size=32), labels, labels, parts, parts)
def test_one_key_gives_different_keys_for_different_uses(key, a, b, left, right):
    assert (expand(key, a, *left) == expand(key, b, *right)) == ((a, left) == (b, right))


@given(st.integers(0, 255), st.integers(0, 7))
def test_every_bit_of_the_key_and_of_the_context_counts(position, bit):
    plain = bytearray(range(32))
    flipped = bytearray(plain)
    flipped[position % 32] ^= 1 << bit
    assert expand(bytes(plain), "round", b"p") != expand(bytes(flipped), "round", b"p")
    assert expand(bytes(32), "round", bytes(plain)) != expand(bytes(32), "round", bytes(flipped))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_numbers_have_one_width(one, other):
    assert len(number(one)) == 8
    assert (number(one) == number(other)) == (one == other)
    assert int.from_bytes(number(one), "big") == one


def test_no_label_is_built_outside_this_module_and_none_holds_a_nul():
    """`expand` separates the label from a digest by a zero byte, so no label may hold one."""
    root = Path(comity_common.__file__).parent
    call = re.compile(r"""\b(?:digest|expand)\((?:[\w.\[\]]+,\s*)?\s*(f?)"([^"]*)\"""")
    found = set()
    for path in root.rglob("*.py"):
        text = path.read_text()
        if path.name != "derive.py":
            assert PROTOCOL not in re.sub(r'""".*?"""', "", text, flags=re.DOTALL), path
        for formatted, label in call.findall(text):
            assert not formatted, f"{path}: a label is a constant"
            found.add(label)
    assert {"ratchet", "round", "pair-mask", "box-root", "box", "ctr", "commit", "share"} <= found
    assert all(re.fullmatch(r"[a-z0-9/-]+", label) for label in found), found
