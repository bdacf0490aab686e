"""Every label and derivation gives the bytes that were frozen in `tests/vectors`."""

import json
import re
from pathlib import Path

import pytest
from tests.vectors.make_comity_sum_1 import EXPANDED, EXTRACTED, FILE, HASHED, vectors

import comity_common
from comity_common.crypto.seal import SealingKey, open_box
from comity_common.crypto.shamir import combine
from comity_common.crypto.sign import HYBRID, Purpose, Signed, verify
from comity_common.secagg import messages

FROZEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("group", FROZEN)
def test_today_s_answers_are_the_frozen_ones(group):
    assert vectors(FROZEN)[group] == FROZEN[group]


def test_every_label_of_the_protocol_is_frozen():
    """Labels of the model's state and of the ledger belong to other formats."""
    root = Path(comity_common.__file__).parent
    calls = re.compile(
        r"\b(digest|expand|extract)\((?:[^\"()]|\([^()]*\))*?\"([a-z/-]+)\"", re.DOTALL
    )
    found = set()
    for path in [*root.glob("secagg/*.py"), *root.glob("crypto/*.py"), root / "chunks.py"]:
        found |= {label for _, label in calls.findall(path.read_text())}
    assert len(found) >= 20
    assert found - {"sign/"} <= {*HASHED, *EXPANDED, *EXTRACTED}
    frozen = FROZEN["labels"]
    assert set(HASHED) == set(frozen["digest"])
    assert {f"sign/{purpose}" for purpose in Purpose} <= set(HASHED)


def test_no_two_frozen_derivations_are_equal():
    answers = [
        answer
        for kind in ("digest", "expand", "extract")
        for spelled in FROZEN["labels"][kind].values()
        for answer in spelled
    ]
    assert len(set(answers)) == len(answers) > 140


def test_every_message_is_frozen():
    kinds = {
        name
        for name, kind in vars(messages).items()
        if isinstance(kind, type) and kind.__module__ == messages.__name__
    }
    assert kinds == set(FROZEN["messages"]["bytes"])


def test_the_frozen_seals_open_to_the_frozen_halves():
    epoch = FROZEN["epoch"]
    key = SealingKey.from_bytes(bytes(96))
    assert key.public().hex() == epoch["public"]
    sealing = SealingKey.from_bytes(bytes([1]) * 96)
    opened = sealing.open(bytes.fromhex(epoch["aachen_to_basel"]), bytes.fromhex(epoch["info"]))
    assert opened == bytes([0xAA]) * 32
    assert epoch["chain_at_a"] == epoch["chain_at_b"]


@pytest.mark.parametrize("purpose", Purpose)
def test_the_frozen_signatures_verify(purpose):
    frozen = FROZEN["signatures"]
    signature = bytes.fromhex(frozen[f"{purpose}"])
    assert len(signature) == (64 + 2420 if purpose in HYBRID else 64)
    signed = Signed(body=b"body", signature=signature)
    keys = (bytes.fromhex(frozen["ed25519"]), bytes.fromhex(frozen["mldsa44"]))
    assert verify(*keys, purpose, signed) == b"body"


def test_the_frozen_shares_and_box_open():
    frozen = FROZEN["shared"]
    shares = [bytes.fromhex(share) for share in frozen["shares"]]
    assert combine(dict(enumerate(shares[2:], start=2))).hex() == frozen["secret"]
    box = open_box(bytes(range(32)), bytes.fromhex(frozen["box"]), bytes.fromhex("d4" * 32))
    assert box == shares[1]
