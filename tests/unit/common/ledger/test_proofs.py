"""Proof files of single entries: one spelling, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity_common.errors import LocalError, PeerError
from comity_common.ledger.proofs import Proof, read_proof
from comity_common.ledger.tree import Tree, check_inclusion

ENTRIES = [f"entry {k}".encode() for k in range(11)]
TREE = Tree(ENTRIES)
NOTE = b"ledger.example/a\n11\n...\n\n..."
PROOF = Proof(extra=ENTRIES[6], index=6, path=TREE.inclusion(6), note=NOTE)
RAW = PROOF.to_bytes()


def test_what_is_written_is_read_again_and_proves_its_entry():
    proof = read_proof(RAW)
    assert proof == PROOF
    check_inclusion(proof.extra, proof.index, 11, TREE.root(), proof.path)


def test_it_is_laid_out_as_the_standard_says():
    magic, extra, index, *path, empty = RAW.removesuffix(NOTE).decode().split("\n")[:-1]
    assert (magic, extra) == ("c2sp.org/tlog-proof@v1", "extra ZW50cnkgNg==")
    assert (index, len(path), empty) == ("index 6", 4, "")
    assert RAW.endswith(b"\n\n" + NOTE)


def test_an_entry_that_the_reader_has_and_a_tree_of_one_need_no_lines():
    bare = Proof(extra=b"", index=0, path=(), note=NOTE)
    assert bare.to_bytes() == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + NOTE
    assert read_proof(bare.to_bytes()) == bare


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        RAW.replace(b"@v1", b"@v2"),
        RAW.replace(b"index 6", b"index 06"),
        RAW.replace(b"index 6\n", b""),
        RAW.replace(b"index 6", b"index -6"),
        RAW.replace(b"index 6", b"index " + b"9" * 30),
        RAW.replace(b"extra ZW50cnkgNg==", b"extra"),
        RAW.replace(b"extra ZW50cnkgNg==", b"extra "),
        RAW.replace(b"ZW50cnkgNg==", b"ZW50cnkgNh=="),
        RAW.replace(b"\n\n", b"\n", 1),
        RAW.replace(b"\nindex", b"\r\nindex"),
        RAW.replace(b"index 6\n", b"index 6\nAAAA\n"),
        RAW.replace(b"index 6\n", b"index 6\n" + b"A" * 43 + b"=\n" * 130),
        RAW + bytes(8 << 20),
    ],
)
def test_anything_else_is_no_proof(raw: bytes):
    assert raw != RAW
    with pytest.raises(PeerError, match="expected a proof"):
        read_proof(raw)


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_the_one_error(raw):
    with pytest.raises(PeerError):
        read_proof(raw)


def test_a_proof_that_cannot_be_is_not_made():
    with pytest.raises(LocalError):
        Proof(extra=b"", index=-1, path=(), note=NOTE)
    with pytest.raises(LocalError):
        Proof(extra=b"", index=0, path=(b"short",), note=NOTE)
    with pytest.raises(LocalError):
        Proof(extra=bytes((1 << 20) + 1), index=0, path=(), note=NOTE)
