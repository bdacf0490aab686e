"""The Merkle tree against the definition of RFC 6962, written out once more, and against liars."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity_common.errors import LocalError, PeerError
from comity_common.ledger.tree import EMPTY_ROOT, Tree, check_consistency, check_inclusion

MOST = 40
ENTRIES = [f"entry {k}".encode() for k in range(MOST)]
TREE = Tree(ENTRIES)


def mth(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word by word."""
    n = len(entries)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = 1
    while 2 * k < n:
        k *= 2
    return sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def test_the_root_of_any_size_is_that_of_the_definition():
    for size in range(MOST + 1):
        assert TREE.root(size) == mth(ENTRIES[:size])
    assert Tree().root() == EMPTY_ROOT == mth([])


def test_the_published_roots_of_the_certificate_transparency_tests_come_out():
    """The inputs and roots that the reference implementation of RFC 6962 tests with."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
              "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
    tree = Tree([bytes.fromhex(text) for text in inputs])
    assert tree.root(1).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree.root(8).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_every_older_tree_is_shown_to_be_the_beginning_of_every_newer_one():
    for size in range(MOST + 1):
        for old in range(size + 1):
            path = TREE.consistency(old, size)
            check_consistency(old, TREE.root(old), size, TREE.root(size), path)


def test_every_leaf_is_shown_to_be_in_every_tree():
    for size in range(1, MOST + 1):
        for index in range(size):
            path = TREE.inclusion(index, size)
            check_inclusion(ENTRIES[index], index, size, TREE.root(size), path)


def test_a_tree_that_has_changed_an_old_entry_is_shown_for_no_size():
    for changed in range(MOST):
        other = Tree([*ENTRIES[:changed], b"another", *ENTRIES[changed + 1 :]])
        for old in range(changed + 1, MOST):
            path = other.consistency(old)
            with pytest.raises(PeerError):
                check_consistency(old, TREE.root(old), MOST, other.root(), path)


@given(st.data())
def test_a_proof_that_was_touched_shows_nothing(data):
    size = data.draw(st.integers(2, MOST))
    old = data.draw(st.integers(1, size - 1))
    path = list(TREE.consistency(old, size))
    kind = data.draw(st.sampled_from(["flip", "drop", "add", "turn"]))
    if kind == "flip":
        at = data.draw(st.integers(0, len(path) - 1))
        path[at] = sha256(path[at]).digest()
    elif kind == "drop":
        path.pop(data.draw(st.integers(0, len(path) - 1)))
    elif kind == "add" or len(path) == 1:
        path.insert(data.draw(st.integers(0, len(path))), bytes(32))
    else:
        path.reverse()
    with pytest.raises(PeerError):
        check_consistency(old, TREE.root(old), size, TREE.root(size), path)


@given(st.data())
def test_a_proof_of_one_pair_of_sizes_shows_no_other_pair(data):
    sizes = st.lists(st.integers(1, MOST), min_size=2, max_size=2).map(sorted)
    (old, size), (other_old, other) = data.draw(sizes), data.draw(sizes)
    path = TREE.consistency(old, size)
    if (other_old, other) == (old, size) or path == TREE.consistency(other_old, other):
        return
    with pytest.raises(PeerError):
        check_consistency(other_old, TREE.root(other_old), other, TREE.root(other), path)


@pytest.mark.parametrize(("old", "size"), [(-1, 3), (4, 3), (0, -1), (3, 0), (2**70, 2**71)])
def test_sizes_that_cannot_be_are_refused(old, size):
    with pytest.raises(PeerError):
        check_consistency(old, bytes(32), size, bytes(32), ())
    with pytest.raises(PeerError):
        check_inclusion(b"", old, size, bytes(32), ())


def test_a_path_without_end_is_refused():
    with pytest.raises(PeerError):
        check_consistency(1, bytes(32), 2**200, bytes(32), [bytes(32)] * 200)


def test_what_is_not_there_cannot_be_asked_for():
    for wrong in (
        lambda: TREE.root(MOST + 1),
        lambda: TREE.consistency(5, 4),
        lambda: TREE.consistency(-1, 4),
        lambda: TREE.inclusion(4, 4),
    ):
        with pytest.raises(LocalError):
            wrong()
