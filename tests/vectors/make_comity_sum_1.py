"""Write `comity_sum_1.json`: known answers for every label and derivation of `comity-sum/1`.

The file is frozen: `tests/unit/common/secagg/test_known_answers.py` compares it with what the code
gives today. Run `python -m tests.vectors.make_comity_sum_1` only when the protocol gets another
version; a change that makes it necessary is a change that no deployed institution would understand.

Sealing and ML-DSA draw fresh randomness, so their outputs are kept from the file, not made again.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from tests.simulation.wholevector import mask, masked_vector, with_canaries

from comity_common import chunks
from comity_common.canonical import encode
from comity_common.crypto.derive import digest, expand, extract, number
from comity_common.crypto.seal import SealingKey, close_box, seal
from comity_common.crypto.shamir import split
from comity_common.crypto.sign import Purpose, SigningKeys
from comity_common.crypto.stream import Keystream
from comity_common.errors import RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.keyepoch import PairChain, _info, pair_chains, view_digest
from comity_common.secagg.masking import (
    Masks,
    commitment,
    pair_seed,
)
from comity_common.secagg.messages import (
    CertificateBody,
    Complaint,
    Deadline,
    Decline,
    Endorsement,
    EpochHalves,
    EpochKey,
    EpochOpen,
    EpochView,
    Header,
    Plan,
    Receipt,
    Reveal,
    Survivors,
    Upload,
)
from comity_common.secagg.participant import (
    _box_key,
    _box_root,
    certificate_digest,
    header_digest,
    list_digest,
    upload_digest,
)
from comity_common.secagg.plan import plan_digest

FILE = Path(__file__).with_name("comity_sum_1.json")

A, B, C = InstitutionId("aachen"), InstitutionId("basel"), InstitutionId("calais")
KEY = bytes(range(32))
PARTS = ((), (b"",), (b"a", b"b"), (b"ab",))

HASHED = [
    "agreement", "plan", "header", "upload", "survivors", "certificate", "commit", "share", "box",
    "box-key", "half", "pair-salt", "epoch-view", "chunk", "chunks", "ctx", "vector",
    "keystream-id",
    *(f"sign/{purpose}" for purpose in Purpose),
]  # fmt: skip
EXPANDED = ["ratchet", "round", "pair-mask", "box-root", "box", "ctr"]
EXTRACTED = ["pair"]

PLAN = Plan(
    agreement=Digest("a1" * 32),
    epoch=3,
    round=7,
    participants=(A, B, C),
    previous=Digest("b2" * 32),
    model=Digest("c3" * 32),
    nonce=bytes(range(16)),
    kind="train",
    threshold=3,
    minimum=3,
    ring_width=32,
    lanes=6,
    lane_bound=715827882,
    range=Decimal("0.05"),
    sampling_probability=Decimal("0.01"),
    noise_multiplier=Decimal("1.25"),
    clip_norm=Decimal(1),
    steps=40,
)
NAMED = plan_digest(PLAN)
CLEAR = np.array([0, 1, 715827882, 2**32 - 715827882, 2**32 - 1, 12345], dtype=np.uint32)


def labels() -> dict[str, Any]:
    """Every label with every shape of parts."""
    return {
        "digest": {label: [digest(label, *parts).hex() for parts in PARTS] for label in HASHED},
        "expand": {
            label: [expand(KEY, label, *parts).hex() for parts in PARTS] for label in EXPANDED
        },
        "extract": {label: [extract(KEY, b"secret", label).hex()] for label in EXTRACTED},
        "number": [number(value).hex() for value in (0, 1, 2**32, 2**64 - 1)],
    }


def keys() -> dict[str, str]:
    """The keys of a round, one from the other."""
    chain = PairChain(KEY, 5).turn_to(PLAN.round)
    round_key = chain.round_key(bytes.fromhex(NAMED))
    seed = pair_seed(round_key, B, A)
    return {
        "turned": chain.key.hex(),
        "round": round_key.hex(),
        "pair_mask": seed.hex(),
        "box_root_a_to_b": _box_root(round_key, A, B).hex(),
        "box_root_b_to_a": _box_root(round_key, B, A).hex(),
        "box_a_to_b": _box_key(round_key, A, B, Digest("d4" * 32)).hex(),
        "commitment": commitment(bytes.fromhex(NAMED), seed).hex(),
        "ctr_q": expand(seed, "ctr", b"q").hex(),
        "ctr_z": expand(seed, "ctr", b"z").hex(),
    }


def streams() -> dict[str, Any]:
    """The first lanes of a keystream and of both sections, and one late window."""
    plain = np.zeros(48, dtype=np.uint8)
    Keystream(KEY).fill(plain)
    sections = {}
    for section, dtype in (("q", "<u4"), ("z", "<u8")):
        lanes = np.zeros(200_000, dtype=dtype)
        Masks(section, added=[KEY], subtracted=[]).apply(lanes)
        sections[section] = [lanes[:4].tobytes().hex(), lanes[-4:].tobytes().hex()]
    return {"keystream": plain.tobytes().hex(), **sections}


def masked() -> dict[str, str]:
    """One vector in the clear and under its masks, as B sends it."""
    vector = with_canaries(CLEAR)
    clear = bytes(vector).hex()
    mask(
        vector,
        PLAN.lanes,
        me=B,
        self_seed=bytes([1]) * 32,
        pair_seeds=[(A, bytes([2]) * 32), (C, bytes([3]) * 32)],
    )
    leaves = [chunks.leaf(vector)]
    return {
        "clear": clear,
        "masked": bytes(vector).hex(),
        "leaf": leaves[0].hex(),
        "root": chunks.root(len(vector), leaves).hex(),
        "root_of_nothing": chunks.root(0, []).hex(),
    }


def masked_24() -> dict[str, str]:
    """The same vector in lanes of 24 bits: cut, and under the same masks."""
    seeds = [(A, bytes([2]) * 32), (C, bytes([3]) * 32)]
    vector = masked_vector(
        [CLEAR], PLAN.lanes, 24, me=B, self_seed=bytes([1]) * 32, pair_seeds=seeds
    )
    return {"clear": bytes(with_canaries(CLEAR, 24)).hex(), "masked": bytes(vector).hex()}


def shared() -> dict[str, Any]:
    """One dealing of Shamir's, and a box around one share."""
    secret = bytes(range(64, 96)) + bytes(range(32)) + bytes(32)
    randomness = np.arange(2 * len(secret), dtype=np.uint8).tobytes()
    shares = split(secret, 3, 5, randomness)
    return {
        "secret": secret.hex(),
        "randomness": randomness.hex(),
        "shares": [share.hex() for share in shares],
        "share_digests": [digest("share", share).hex() for share in shares],
        "box": close_box(KEY, shares[1], bytes.fromhex("d4" * 32)).hex(),
    }


def messages() -> dict[str, Any]:
    """Every message in canonical bytes, and the digests that name some of them."""
    header = Header(
        plan=NAMED,
        institution=B,
        size=48,
        root=bytes([9]) * 32,
        commitments=tuple(bytes([k]) * 32 for k in (1, 2, 3)),
        shares=tuple(bytes([k]) * 32 for k in (4, 5, 6)),
    )
    upload = Upload(
        header=header_digest(header), boxes=(b"\x01", b"", b"\x02"), keys=(b"", b"", b"")
    )
    survivors = Survivors(
        plan=NAMED,
        survivors=(A, B, C),
        headers=(Digest("e5" * 32),) * 2 + (header_digest(header),),
        uploads=(Digest("e6" * 32),) * 2 + (upload_digest(upload),),
    )
    certificate = CertificateBody(
        agreement=PLAN.agreement,
        epoch=3,
        round=7,
        plan=NAMED,
        survivors=(A, B, C),
        total=bytes([8]) * 32,
        reason="",
    )
    void = CertificateBody(
        agreement=PLAN.agreement,
        epoch=3,
        round=8,
        plan=NAMED,
        survivors=(),
        total=b"",
        reason="2 of 3 uploads arrived",
    )
    epoch = {"agreement": PLAN.agreement, "epoch": 3}
    every = [
        EpochOpen(**epoch, members=(A, B, C)),
        EpochKey(**epoch, institution=A, key=bytes(4)),
        EpochHalves(**epoch, institution=A, sealed=(b"", b"\x01", b"\x02")),
        EpochView(**epoch, institution=A, view=Digest("f6" * 32)),
        PLAN,
        header,
        upload,
        Receipt(header=header_digest(header)),
        Deadline(plan=NAMED, until=1_800_000_000),
        survivors,
        Complaint(dealer=A, box_key=KEY),
        Reveal(
            survivors=list_digest(survivors),
            institution=B,
            shares=(b"", b"\x03"),
            complaints=(Complaint(dealer=A, box_key=KEY),),
        ),
        certificate,
        Endorsement(
            **epoch,
            round=7,
            institution=A,
            certificate=certificate_digest(certificate),
            model=Digest("0a" * 32),
        ),
        Decline(
            agreement=PLAN.agreement, round=7, plan=NAMED, institution=C, code=RefusalCode.BUDGET
        ),
    ]
    return {
        "bytes": {type(message).__name__: encode(message).decode() for message in every},
        "plan": NAMED,
        "header": header_digest(header),
        "upload": upload_digest(upload),
        "list": list_digest(survivors),
        "certificate": certificate_digest(certificate),
        "void": certificate_digest(void),
    }


def epoch(previous: dict[str, Any]) -> dict[str, str]:
    """Two members' key epoch from fixed keys and halves; the seals are kept from the file."""
    opened = EpochOpen(agreement=PLAN.agreement, epoch=3, members=(A, B))
    sealing = {A: SealingKey.from_bytes(bytes(96)), B: SealingKey.from_bytes(bytes([1]) * 96)}
    own = {A: {B: bytes([0xAA]) * 32}, B: {A: bytes([0xBB]) * 32}}
    public = {
        id: EpochKey(agreement=PLAN.agreement, epoch=3, institution=id, key=key.public())
        for id, key in sealing.items()
    }

    seals = {
        (sender, receiver): kept(
            previous,
            f"{sender}_to_{receiver}",
            lambda a=sender, b=receiver: seal(public[b].key, own[a][b], _info(opened, a, b)),
        )
        for sender, receiver in ((A, B), (B, A))
    }
    halves = {
        A: EpochHalves(agreement=PLAN.agreement, epoch=3, institution=A, sealed=(b"", seals[A, B])),
        B: EpochHalves(agreement=PLAN.agreement, epoch=3, institution=B, sealed=(seals[B, A], b"")),
    }
    chains = {id: pair_chains(opened, id, sealing[id], own[id], public, halves) for id in (A, B)}
    return {
        f"{A}_to_{B}": seals[A, B].hex(),
        f"{B}_to_{A}": seals[B, A].hex(),
        "public": public[A].key.hex(),
        "info": _info(opened, A, B).hex(),
        "chain_at_a": chains[A][B].key.hex(),
        "chain_at_b": chains[B][A].key.hex(),
        "view": view_digest(opened, public, halves),
    }


def signatures(previous: dict[str, Any]) -> dict[str, str]:
    """One signature of each purpose: Ed25519 is deterministic, ML-DSA is kept from the file."""
    signing = SigningKeys.from_bytes(bytes(range(64)))
    ed25519, mldsa44 = signing.public()
    made = {"ed25519": ed25519.hex(), "mldsa44": mldsa44.hex()}
    for purpose in Purpose:
        fresh = signing.sign(purpose, b"body").signature
        hybrid = kept(previous, f"{purpose}", lambda fresh=fresh: fresh)
        made[f"{purpose}"] = (fresh[:64] + hybrid[64:]).hex()
    return made


def kept(previous: dict[str, Any], name: str, make: Callable[[], bytes]) -> bytes:
    """What the file holds, or else something new."""
    return bytes.fromhex(previous[name]) if name in previous else make()


def vectors(previous: dict[str, Any]) -> dict[str, Any]:
    """Compute every known answer; `previous` is the file's content, empty the first time."""
    return {
        "labels": labels(),
        "keys": keys(),
        "streams": streams(),
        "masked": masked(),
        "masked_24": masked_24(),
        "shared": shared(),
        "messages": messages(),
        "epoch": epoch(previous.get("epoch", {})),
        "signatures": signatures(previous.get("signatures", {})),
    }


if __name__ == "__main__":
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(json.dumps(vectors(before), indent=1) + "\n")
