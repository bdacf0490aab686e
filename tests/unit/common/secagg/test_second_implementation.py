"""A second implementation of mask, deal, answer and unmask, in plain integers, agrees bit for bit.

It shares nothing with the first but this description: SHA-256 and HMAC from the standard library,
AES one block at a time, the field by shifts, sums as Python integers reduced at the end, JSON as
the standard library prints it. It is slow and short, and it plays in both directions: it predicts
what ours does with our randomness, and it takes part in a round of ours as a full institution.
"""

import base64
import hashlib
import hmac
import json
import random
from dataclasses import dataclass

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from tests.simulation.federation import World

from comity_common import fixedpoint
from comity_common.canonical import encode
from comity_common.crypto.sign import Signed
from comity_common.secagg.collector import Collector
from comity_common.secagg.masking import sections
from comity_common.secagg.messages import Plan
from comity_common.secagg.round import Stage

LANES = 21

# The primitives.


def h(label: str, *parts: bytes) -> bytes:
    framed = b""
    for part in (b"comity-sum/1/" + label.encode(), *parts):
        framed += len(part).to_bytes(8, "big") + part
    return hashlib.sha256(framed).digest()


def x(key: bytes, label: str, *context: bytes) -> bytes:
    info = b"comity-sum/1/" + label.encode() + b"\x00" + h("ctx", *context)
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


def stream(key: bytes, size: int) -> bytes:
    block = Cipher(AES(key), ECB()).encryptor()
    blocks = [block.update(counter.to_bytes(16, "big")) for counter in range(-(-size // 16))]
    return b"".join(blocks)[:size]


def prg(seed: bytes, lanes: int) -> list[int]:
    """The mask of a whole vector: lanes + 4 integers of 32 bits, then one of 64."""
    q = stream(x(seed, "ctr", b"q"), 4 * (lanes + 4))
    z = stream(x(seed, "ctr", b"z"), 8)
    words = [int.from_bytes(q[at : at + 4], "little") for at in range(0, len(q), 4)]
    return [*words, int.from_bytes(z, "little")]


def packed(vector: list[int], width: int) -> bytes:
    size = width // 8
    q = b"".join((value % 2**width).to_bytes(size, "little") for value in vector[:-1])
    return q + (vector[-1] % 2**64).to_bytes(8, "little")


def unpacked(raw: bytes, width: int) -> list[int]:
    q, z, size = raw[:-8], raw[-8:], width // 8
    words = [int.from_bytes(q[at : at + size], "little") for at in range(0, len(q), size)]
    return [*words, int.from_bytes(z, "little")]


def gmul(a: int, b: int) -> int:
    out = 0
    while b:
        if b & 1:
            out ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return out


def ginv(a: int) -> int:
    out = 1
    for _ in range(254):
        out = gmul(out, a)
    return out


def deal_shares(secret: bytes, t: int, n: int, chance: random.Random) -> list[bytes]:
    polynomials = [[byte, *(chance.randrange(256) for _ in range(t - 1))] for byte in secret]
    shares = []
    for point in range(1, n + 1):
        share = bytearray()
        for coefficients in polynomials:
            value, power = 0, 1
            for coefficient in coefficients:
                value ^= gmul(coefficient, power)
                power = gmul(power, point)
            share.append(value)
        shares.append(bytes(share))
    return shares


def lagrange(points: dict[int, bytes], at: int = 0) -> bytes:
    """The value at a point of the polynomials through these values."""
    out = [0] * len(next(iter(points.values())))
    for i, share in points.items():
        weight = 1
        for j in points:
            if j != i:
                weight = gmul(weight, gmul(j ^ at, ginv(j ^ i)))
        out = [value ^ gmul(weight, byte) for value, byte in zip(out, share, strict=True)]
    return bytes(out)


def canonical(tree: object) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def sign(key: Ed25519PrivateKey, purpose: str, body: bytes) -> bytes:
    return key.sign(b"comity signature " + h("sign/" + purpose, body))


# The protocol.


@dataclass
class Second:
    """One institution of the second implementation in one round.

    Args:
        plan: the canonical bytes of the plan.
        links: chain keys of the pairs at the round's number.
    """

    plan: bytes
    me: str
    signing: Ed25519PrivateKey
    links: dict[str, bytes]
    chance: random.Random

    def __post_init__(self) -> None:
        terms = json.loads(self.plan)
        self.named = h("plan", self.plan)
        self.roster: list[str] = terms["participants"]
        self.t: int = terms["threshold"]
        self.lanes: int = terms["lanes"]
        self.width: int = terms["ring_width"]
        self.round_keys = {peer: x(link, "round", self.named) for peer, link in self.links.items()}
        self.seeds = {
            peer: x(key, "pair-mask", *(id.encode() for id in sorted((self.me, peer))))
            for peer, key in self.round_keys.items()
        }
        self.where = self.roster.index(self.me)

    def mask(self, clear: list[int], self_seed: bytes) -> bytes:
        vector = [*clear, 1, 1, 1, 1, 1]
        masks = [(1, prg(self_seed, self.lanes))]
        for peer in self.roster:
            if peer != self.me:
                masks.append((1 if peer > self.me else -1, prg(self.seeds[peer], self.lanes)))
        sums = [value + sum(s * m[k] for s, m in masks) for k, value in enumerate(vector)]
        return packed(sums, self.width)

    def slots(self, self_seed: bytes) -> list[bytes]:
        return [self_seed if id == self.me else self.seeds[id] for id in self.roster]

    def header(self, masked: bytes, self_seed: bytes, shares: list[bytes]) -> bytes:
        root = h("chunks", len(masked).to_bytes(8, "big"), h("chunk", masked))  # below 1 MiB
        return canonical(
            {
                "plan": self.named.hex(),
                "institution": self.me,
                "size": len(masked),
                "root": b64(root),
                "commitments": [b64(h("commit", self.named, s)) for s in self.slots(self_seed)],
                "shares": [b64(h("share", share)) for share in shares],
            }
        )

    def box_key(self, dealer: str, helper: str, header: bytes) -> bytes:
        key = self.round_keys[helper if dealer == self.me else dealer]
        root = x(key, "box-root", dealer.encode(), helper.encode())
        return x(root, "box", h("header", header))

    def boxes(self, header: bytes, shares: list[bytes]) -> tuple[list[bytes], bytes]:
        """The boxes, and the upload message that promises them."""
        keys = [b"" if id == self.me else self.box_key(self.me, id, header) for id in self.roster]
        boxes = [
            AESGCM(key).encrypt(bytes(12), share, h("header", header)) if key else b""
            for key, share in zip(keys, shares, strict=True)
        ]
        upload = canonical(
            {
                "header": h("header", header).hex(),
                "boxes": [b64(h("box", box) if box else b"") for box in boxes],
                "keys": [b64(h("box-key", key) if key else b"") for key in keys],
            }
        )
        return boxes, upload

    def deal(self, clear: list[int]) -> None:
        self_seed = self.chance.randbytes(32)
        secret = b"".join(self.slots(self_seed))
        self.shares = deal_shares(secret, self.t, len(self.roster), self.chance)
        self.masked = self.mask(clear, self_seed)
        self.own_header = self.header(self.masked, self_seed, self.shares)
        self.own_boxes, self.upload = self.boxes(self.own_header, self.shares)

    def open(self, dealer: str, header: bytes, box: bytes) -> bytes:
        if dealer == self.me:
            return self.shares[self.where]
        key = self.box_key(dealer, self.me, header)
        share = AESGCM(key).decrypt(bytes(12), box, h("header", header))
        assert h("share", share) == base64.b64decode(json.loads(header)["shares"][self.where])
        return share

    def answer(self, survivors: bytes, headers: dict[str, bytes], boxes: dict[str, bytes]) -> bytes:
        dropped = [k for k, id in enumerate(self.roster) if id not in headers]
        shares = []
        for dealer, header in headers.items():
            share = self.open(dealer, header, boxes[dealer])
            chosen = [self.roster.index(dealer), *dropped]
            shares.append(b"".join(share[32 * k : 32 * k + 32] for k in chosen))
        return canonical(
            {
                "survivors": h("survivors", survivors).hex(),
                "institution": self.me,
                "shares": [b64(share) for share in shares],
                "complaints": [],
            }
        )


def unmask(
    plan: bytes, vectors: dict[str, bytes], headers: dict[str, bytes], reveals: dict[str, bytes]
) -> list[int]:
    """The sum over the survivors, from t reveals, as signed integers with the canaries behind."""
    terms = json.loads(plan)
    roster, named = terms["participants"], h("plan", plan)
    dropped = [id for id in roster if id not in vectors]
    width = terms["ring_width"]
    columns = zip(*(unpacked(v, width) for v in vectors.values()), strict=True)
    total = [sum(column) for column in columns]
    for position, dealer in enumerate(vectors):
        points = {
            roster.index(helper) + 1: base64.b64decode(json.loads(raw)["shares"][position])
            for helper, raw in list(reveals.items())[: terms["threshold"]]
        }
        joined = lagrange(points)
        commitments = json.loads(headers[dealer])["commitments"]
        for k, other in enumerate([dealer, *dropped]):
            seed = joined[32 * k : 32 * k + 32]
            assert b64(h("commit", named, seed)) == commitments[roster.index(other)]
            sign = -1 if k == 0 or other > dealer else 1
            total = [a + sign * b for a, b in zip(total, prg(seed, terms["lanes"]), strict=True)]
    *q, z = total
    half = 2 ** (width - 1)
    return [(value + half) % 2**width - half for value in q] + [z % 2**64]


# The two against each other.


def second_of(world: World, plan: Plan, who: str, seed: int = 0) -> Second:
    links = {}
    for peer, chain in world.chains[who].items():
        link = chain.key
        for _ in range(plan.round - chain.round):
            link = x(link, "ratchet")
        links[peer] = link
    signing = Ed25519PrivateKey.from_private_bytes(world.keys[who].to_bytes()[:32])
    return Second(encode(plan), who, signing, links, random.Random(seed))


@pytest.fixture(scope="module", params=[32, 24])
def world(request):
    return World.of(5, lanes=LANES, ring_width=request.param)


@pytest.mark.parametrize("round", [1, 4])
def test_it_predicts_every_byte_that_ours_deals(world, round):
    plan = world.plan(round)
    for who in plan.participants:
        world.deal(plan, who, random.Random(round))
    everyone = {who: second_of(world, plan, who) for who in plan.participants}
    for who, second in everyone.items():
        ours = world.dealt[who]
        header = encode(ours.header)
        shares = []
        for k, helper in enumerate(plan.participants):
            if helper == who:
                shares.append(ours.held.own_share)
            else:  # the receiver of the second implementation opens our box
                shares.append(everyone[helper].open(who, header, ours.boxes[k]))
        points = {k + 1: share for k, share in enumerate(shares)}
        quorum = dict(list(points.items())[: plan.threshold])
        assert lagrange(quorum, at=5) == points[5]  # all shares lie on polynomials of degree < t
        secret = lagrange(quorum)
        self_seed = secret[32 * second.where :][:32]
        assert secret == b"".join(second.slots(self_seed))

        clear = [int(value) for value in world.clear[who]]
        assert bytes(ours.vector) == second.mask(clear, self_seed)
        assert header == second.header(bytes(ours.vector), self_seed, shares)
        boxes, upload = second.boxes(header, shares)
        assert list(ours.boxes) == boxes
        assert encode(ours.upload) == upload


PATTERNS = [(), (0,), (2,), (4,)]


@pytest.mark.parametrize("dropped", PATTERNS)
def test_it_answers_as_ours_and_unmasks_to_the_same_sum(world, dropped):
    plan = world.plan()
    collector = Collector(world.agreement, plan)
    for k, who in enumerate(plan.participants):
        world.deal(plan, who, random.Random(k))
        if k not in dropped:
            collector.upload(*world.signed[who], world.dealt[who].boxes)
    collector.expire() if dropped else None
    listed = collector.survivors.survivors
    headers = {who: encode(world.dealt[who].header) for who in listed}
    reveals = {}
    for who in listed:
        ours = world.reveal(plan, who, collector.survivors)
        collector.reveal(ours)
        second = second_of(world, plan, who)
        second.shares = [world.dealt[who].held.own_share] * 5  # its own was dealt by ours
        k = plan.participants.index(who)
        theirs = second.answer(
            encode(collector.survivors), headers, {d: world.dealt[d].boxes[k] for d in listed}
        )
        assert theirs == ours.body
        assert sign(second.signing, "reveal", theirs) == ours.signature
        reveals[who] = theirs

    vectors = {who: bytes(world.dealt[who].vector) for who in listed}
    unmasked = unmask(encode(plan), vectors, headers, reveals)
    total, canaries = world.total(collector)
    assert unmasked == [*total.tolist(), *canaries.tolist()]
    assert unmasked == [
        *np.sum([world.clear[who] for who in listed], axis=0).tolist(),
        *[len(listed)] * 5,
    ]


@pytest.mark.parametrize("dropped", PATTERNS)
def test_ours_accepts_it_as_an_institution(world, dropped):
    """Institutions 1 and 3 run the second implementation, the others and the operator ours."""
    plan = world.plan()
    collector = Collector(world.agreement, plan)
    foreign: dict[str, Second] = {}
    headers, boxes, vectors, clear = {}, {}, {}, {}
    signed: dict[str, tuple[Signed, Signed]] = {}
    for k, who in enumerate(plan.participants):
        if k in (1, 3):
            second = foreign[who] = second_of(world, plan, who, seed=k)
            chance = random.Random(k)
            clear[who] = [
                chance.randint(-plan.lane_bound, plan.lane_bound) for _ in range(plan.lanes)
            ]
            second.deal(clear[who])
            headers[who], boxes[who] = second.own_header, second.own_boxes
            vectors[who] = second.masked
            signed[who] = tuple(
                Signed(body=body, signature=sign(second.signing, purpose, body))
                for purpose, body in (("header", second.own_header), ("upload", second.upload))
            )
        else:
            world.deal(plan, who, random.Random(k))
            dealt = world.dealt[who]
            headers[who], boxes[who] = encode(dealt.header), list(dealt.boxes)
            vectors[who], clear[who] = bytes(dealt.vector), world.clear[who].tolist()
            signed[who] = world.signed[who]
        world.signed[who] = signed[who]
        if k not in dropped:
            collector.upload(*signed[who], boxes[who])
    collector.expire() if dropped else None
    listed = collector.survivors.survivors

    class Boxes:
        """What the operator holds of an institution, whoever made it."""

        def __init__(self, who: str) -> None:
            self.boxes = tuple(boxes[who])

    ours = {who: world.dealt[who] for who in plan.participants if who not in foreign}
    for who in listed:
        if who in foreign:
            k = plan.participants.index(who)
            body = foreign[who].answer(
                encode(collector.survivors),
                {dealer: headers[dealer] for dealer in listed},
                {dealer: boxes[dealer][k] for dealer in listed},
            )
            signature = sign(foreign[who].signing, "reveal", body)
            collector.reveal(Signed(body=body, signature=signature))
        else:
            world.dealt = {**{other: Boxes(other) for other in foreign}, **ours}
            collector.reveal(world.reveal(plan, who, collector.survivors))
    assert collector.stage is Stage.SUMMING
    assert not any(reveal.complaints for reveal in collector.reveals.values())

    q = np.zeros(plan.lanes + 4, np.uint32)
    for who in listed:
        q += sections(vectors[who], plan.lanes, plan.ring_width)[0]
    collector.residue.masks("q").apply(q)
    q = fixedpoint.signed(q, plan.ring_width)
    expected = np.sum([clear[who] for who in listed], axis=0)
    assert q[: plan.lanes].tolist() == expected.tolist()
    assert q[plan.lanes :].tolist() == [len(listed)] * 4


def test_links_and_names_of_the_chain_agree(world):
    a, b = world.agreement.roster[:2]
    chain = world.chains[a][b]
    link = chain.key
    for round in range(1, 6):
        link = x(link, "ratchet")
        assert chain.turn_to(round).key == link
        assert chain.turn_to(round).round_key(bytes(32)) == x(link, "round", bytes(32))
