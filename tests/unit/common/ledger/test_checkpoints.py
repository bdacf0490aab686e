"""Heads of logs and their cosignatures, against the standards written out once more."""

import base64
import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from comity_common.errors import LocalError, PeerError
from comity_common.ledger.checkpoints import Checkpoint, cosign, read_checkpoint, sign, verify
from comity_common.ledger.notes import NoteKey, NoteSignature, SignatureType

HEAD = Checkpoint(origin="ledger.example/clinic", size=7, root=bytes(range(32)))
CLASSICAL = Ed25519PrivateKey.from_private_bytes(bytes(32))
QUANTUM = MLDSA44PrivateKey.from_seed_bytes(bytes(32))
NOW = 1_700_000_000


def public(key) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


LOG = NoteKey(HEAD.origin, SignatureType.ED25519, public(CLASSICAL))
WITNESS = NoteKey("bank", SignatureType.COSIGNATURE_ED25519, public(CLASSICAL))
LASTING = NoteKey("bank", SignatureType.COSIGNATURE_MLDSA44, public(QUANTUM))
LINES = [
    (LOG, sign(HEAD, HEAD.origin, CLASSICAL)),
    (WITNESS, cosign(HEAD, "bank", CLASSICAL, NOW)),
    (LASTING, cosign(HEAD, "bank", QUANTUM, NOW)),
]


def test_a_head_is_read_as_it_was_written():
    assert read_checkpoint(HEAD.text) == HEAD


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD.text + "extension\n",
        HEAD.text.rstrip("\n"),
        HEAD.text.replace("7", "07"),
        HEAD.text.replace("7", "-7"),
        HEAD.text.replace("7", "\u0667"),
        HEAD.text.replace("\n7\n", f"\n{2**63}\n"),
        HEAD.text.replace("AAEC", "AAE"),
        HEAD.text.replace("ledger.example/clinic", ""),
        HEAD.text.replace("ledger.example/clinic", "x" * 256),
    ],
)
def test_anything_else_is_no_head(text: str):
    with pytest.raises(PeerError, match="expected a checkpoint"):
        read_checkpoint(text)


@pytest.mark.parametrize(("key", "line"), LINES)
def test_a_signature_holds_for_its_head_and_for_no_other(key: NoteKey, line: NoteSignature):
    assert verify(HEAD, key, line) == (None if key is LOG else NOW)
    for other in (
        Checkpoint(origin="ledger.example/other", size=7, root=HEAD.root),
        Checkpoint(origin=HEAD.origin, size=8, root=HEAD.root),
        Checkpoint(origin=HEAD.origin, size=7, root=bytes(32)),
    ):
        with pytest.raises(PeerError):
            verify(other, key, line)


@pytest.mark.parametrize(("key", "line"), LINES)
def test_no_changed_byte_of_a_signature_holds(key: NoteKey, line: NoteSignature):
    for place in {0, 1, 7, 8, 9, len(line.signature) // 2, len(line.signature) - 1}:
        changed = bytearray(line.signature)
        changed[place] ^= 1
        wrong = NoteSignature(name=line.name, key_id=line.key_id, signature=bytes(changed))
        with pytest.raises(PeerError):
            verify(HEAD, key, wrong)
    for length in (1, 7, 8, len(line.signature) - 1):
        wrong = NoteSignature(name=line.name, key_id=line.key_id, signature=line.signature[:length])
        with pytest.raises(PeerError):
            verify(HEAD, key, wrong)


@pytest.mark.parametrize(("key", "line"), LINES)
def test_a_line_of_one_key_is_none_of_another(key: NoteKey, line: NoteSignature):
    for other, _ in LINES:
        if other is not key:
            with pytest.raises(PeerError):
                verify(HEAD, other, line)
            moved = NoteSignature(name=other.name, key_id=other.id, signature=line.signature)
            with pytest.raises(PeerError):
                verify(HEAD, other, moved)


def test_the_key_ids_are_those_of_the_standard():
    for key, number, material in ((WITNESS, 4, CLASSICAL), (LASTING, 6, QUANTUM)):
        hashed = hashlib.sha256(b"bank\n" + bytes([number]) + public(material))
        assert key.id == hashed.digest()[:4]


def test_an_ed25519_cosignature_is_over_two_lines_and_the_text():
    (_, line) = LINES[1]
    assert struct.unpack(">Q", line.signature[:8]) == (NOW,)
    root = base64.b64encode(HEAD.root).decode()
    said = f"cosignature/v1\ntime {NOW}\nledger.example/clinic\n7\n{root}\n"
    CLASSICAL.public_key().verify(line.signature[8:], said.encode())


def test_an_mldsa_cosignature_is_over_the_structure_of_the_standard():
    (_, line) = LINES[2]
    assert struct.unpack(">Q", line.signature[:8]) == (NOW,)
    assert len(line.signature) == 8 + 2420
    said = struct.pack(
        ">12sB4sQB21sQQ32s",
        *(b"subtree/v1\n\0", 4, b"bank", NOW, 21, HEAD.origin.encode(), 0, 7, HEAD.root),
    )
    QUANTUM.public_key().verify(line.signature[8:], said)


def test_the_published_cosignature_of_the_standard_names_its_time():
    """The example of C2SP tlog-cosignature, whose keys are not published."""
    material = base64.b64decode(
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZ"
        "qhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    )
    assert int.from_bytes(material[4:12], "big") == 1679315147
    assert len(material) == 4 + 8 + 64


def test_a_time_is_one():
    for time in (-1, 2**63):
        with pytest.raises(LocalError):
            cosign(HEAD, "bank", CLASSICAL, time)
