"""A ledger in the open formats, checked by three implementations that are not ours.

| implementation | checks |
|---|---|
| Go `golang.org/x/mod/sumdb` | the log's signature, every entry, growth from older heads |
| securesystemslib | every entry's envelope |
| pymerkle | root, every entry, growth from older heads |

None of them knows cosignatures with ML-DSA, a quorum of witnesses, or what entries mean.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from comity_common.canonical import encode
from comity_common.ledger.checkpoints import Checkpoint, cosign, sign
from comity_common.ledger.envelopes import seal
from comity_common.ledger.notes import NoteKey, SignatureType, SignedNote
from comity_common.ledger.tree import Tree, leaf_hash
from tests.oracles import sumdb

SIZE, OLDER = 300, (1, 2, 7, 64, 255, 256, 299, 300)
ORIGIN = "ledger.example/clinic"


@dataclass(frozen=True)
class Statement:
    """As much of a statement as an envelope needs."""

    sequence: int
    kind: str


@dataclass(frozen=True)
class Ledger:
    """Signed entries, their tree and its signed head."""

    entries: list[bytes]
    tree: Tree
    note: bytes
    log: NoteKey
    entry_key: bytes


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    of_entries, of_log = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    entries = [seal(encode(Statement(k, "note")), of_entries) for k in range(SIZE)]
    tree = Tree(entries)
    head = Checkpoint(origin=ORIGIN, size=SIZE, root=tree.root())
    lines = (
        sign(head, ORIGIN, of_log),
        cosign(head, "bank", Ed25519PrivateKey.generate(), 1_700_000_000),
        cosign(head, "bank", MLDSA44PrivateKey.generate(), 1_700_000_000),
    )
    return Ledger(
        entries=entries,
        tree=tree,
        note=SignedNote(text=head.text, signatures=lines).to_bytes(),
        log=NoteKey(ORIGIN, SignatureType.ED25519, of_log.public_key().public_bytes_raw()),
        entry_key=of_entries.public_key().public_bytes_raw(),
    )


def given(ledger: Ledger) -> dict:
    return {
        "key": ledger.log.vkey,
        "note": ledger.note,
        "entries": ledger.entries,
        "paths": [ledger.tree.inclusion(k) for k in range(SIZE)],
        "older": [(old, ledger.tree.root(old), ledger.tree.consistency(old)) for old in OLDER],
    }


@pytest.mark.skipif(bool(sumdb.missing()), reason=sumdb.missing())
def test_go_accepts_head_entries_and_growth(ledger: Ledger, tmp_path_factory):
    place: Path = tmp_path_factory.mktemp("go")
    counts = {"signatures": 1, "others": 2, "entries": SIZE, "older": len(OLDER)}
    assert sumdb.accepts(place, **given(ledger)) == counts
    for wrong in (
        {"note": ledger.note.replace(b"\n300\n", b"\n301\n")},
        {"entries": [*ledger.entries[:7], b"{}", *ledger.entries[8:]]},
        {"older": [(255, bytes(32), ledger.tree.consistency(255))]},
    ):
        assert isinstance(sumdb.accepts(place, **(given(ledger) | wrong)), str)


def test_securesystemslib_accepts_every_envelope(ledger: Ledger):
    dsse = pytest.importorskip("securesystemslib.dsse")
    exceptions = pytest.importorskip("securesystemslib.exceptions")
    signer = pytest.importorskip("securesystemslib.signer")
    key_id = hashlib.sha256(ledger.entry_key).hexdigest()
    key = signer.SSlibKey(key_id, "ed25519", "ed25519", {"public": ledger.entry_key.hex()})
    for entry in ledger.entries:
        assert dsse.Envelope.from_dict(json.loads(entry)).verify([key], 1)
    broken = json.loads(ledger.entries[0])
    broken["payload"] = broken["payload"][:-4] + "AAAA"
    with pytest.raises(exceptions.VerificationError):
        dsse.Envelope.from_dict(broken).verify([key], 1)


def test_pymerkle_comes_to_the_same_root_and_proofs(ledger: Ledger):
    pymerkle = pytest.importorskip("pymerkle")
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in ledger.entries:
        tree.append_entry(entry)
    for old in OLDER:
        assert tree.get_root(old) == ledger.tree.root(old)
        tree.prove_consistency(old).verify(ledger.tree.root(old), ledger.tree.root())
    for index, entry in enumerate(ledger.entries):
        tree.prove_inclusion(index + 1).verify(leaf_hash(entry), ledger.tree.root())
    with pytest.raises(pymerkle.InvalidProof):
        tree.prove_inclusion(8).verify(leaf_hash(b"{}"), ledger.tree.root())
