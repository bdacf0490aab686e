"""Targets: canonical bytes of every kind, and what checks signed messages without any state."""

import copy
import random
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path

from comity.v1 import transfer_pb2 as pb
from comity_client.rounds import StoredUpload
from comity_common import chunks, membership, wire
from comity_common.agreement import Agreement, Party
from comity_common.canonical import decode, encode
from comity_common.crypto.seal import SealingKey, open_box, seal
from comity_common.crypto.shamir import combine
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ledger.bodies import BODIES
from comity_common.ledger.envelopes import Envelope
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import (
    Cosignature,
    Growth,
    HeadRequest,
    Objection,
    TreeHead,
    cosign,
    request_head,
)
from comity_common.secagg import messages
from comity_common.secagg.collector import Collector
from comity_common.secagg.keyepoch import check_open, check_views, read_halves, read_keys
from comity_common.secagg.messages import (
    EpochOpen,
    EpochView,
    Plan,
    Survivors,
)
from comity_common.secagg.participant import Held, answer, check_certificate
from comity_common.secagg.plan import Standing, check_plan, check_terms
from comity_common.storedround import Format
from comity_server.uploads import Declared
from tests.ledger_keys import LEDGER_KEYS
from tests.unit.common.ledger.test_entries import EXAMPLES

from . import ledgers
from .mutations import altered, damaged, message_bytes
from .samples import Samples, invitation, samples
from .target import Harness, Mutate, Target

PEER = (PeerError,)
ANYBODY = "anybody"
OPERATOR = "the operator"
MEMBER = "an institution"
STAND_IN = "who stands in for the operator"
AUDITEE = "who hands over a ledger or a stored round"

KINDS: tuple[type, ...] = (
    *(one for one in vars(messages).values() if isinstance(one, type) and is_dataclass(one)),
    *(TreeHead, Growth, HeadRequest, Cosignature, Objection),
    Agreement,
    Party,
    membership.EnrolmentRequest,
    membership.OperatorCard,
    membership.Approval,
    membership.Withdrawal,
    Envelope,
    *BODIES.values(),
    Format,
    Declared,
    StoredUpload,
    Held,
)
"""Everything that is read by `canonical.decode`."""

OWN_STORE = (Declared, StoredUpload, Held, Party)


def sender_of(kind: type) -> str:
    """Say who may have written a message."""
    if kind in OWN_STORE:
        return "the own store, or a backup"
    return AUDITEE if kind in (Envelope, Format, *BODIES.values()) else "operator or institution"


def _kind_target(kind: type) -> Target:
    def make(directory: Path) -> Harness:
        def read(raw: bytes) -> None:
            assert encode(decode(kind, raw)) == raw

        return Harness(seeds=_seeds(kind), read=read, mutate=_of_kind(kind))

    return Target(
        name=f"message-{kind.__name__}",
        reader="comity_common.canonical.decode",
        sender=sender_of(kind),
        errors=PEER,
        make=make,
        covers=(kind.__name__,),
    )


def _of_witnesses() -> list[bytes]:
    agreement, me = samples().world.agreement, samples().me
    asked = request_head(
        agreement.digest, me, bytes(16), Tree([b"first", b"second"]), [1], LEDGER_KEYS.head
    )
    given = cosign(asked, me, LEDGER_KEYS, 1_700_000_000)
    return [encode(one) for one in (asked, asked.head, asked.growths[0], given)]


def _of_kind(kind: type) -> Mutate:
    """Change a valid sample, or make one from the type."""

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.5:
            return message_bytes(kind, chance.getrandbits(32))
        return altered(raw, chance)

    return mutate


@cache
def _seeds(kind: type) -> tuple[bytes, ...]:
    """Find samples of a kind: of a played round, or else made from its type."""
    bodies = [
        encode(samples().world.dealt[samples().me].held),
        encode(_party()),
        ledgers.entries()[0],
    ]
    bodies += [*samples().bodies(), *map(encode, EXAMPLES), *_of_witnesses()]
    found = [raw for raw in bodies if _is_of(kind, raw)]
    for seed in range(2000):
        if found:
            break
        raw = message_bytes(kind, seed)
        found += [raw] if _is_of(kind, raw) else []
    return tuple(found)


def _party() -> Party:
    return samples().world.agreement.operator


def _is_of(kind: type, raw: bytes) -> bool:
    try:
        decode(kind, raw)
    except PeerError:
        return False
    return True


# single things


def _signature(directory: Path) -> Harness:
    one = samples()
    identity = one.world.agreement.operator.identity
    body = encode(one.plan)
    quick = one.world.operator.sign(Purpose.PLAN, body).signature
    hybrid = one.world.operator.sign(Purpose.CARD, body).signature

    def read(raw: bytes) -> None:
        purpose, true = (Purpose.CARD, hybrid) if len(raw) > 64 else (Purpose.PLAN, quick)
        verify(identity.ed25519, identity.mldsa44, purpose, Signed(body=body, signature=raw))
        assert raw == true or purpose is Purpose.CARD, "another signature of the same bytes"

    return Harness(seeds=(quick, hybrid), read=read)


def _half(directory: Path) -> Harness:
    key = SealingKey.generate()
    sealed = seal(key.public(), bytes(32), b"info")

    def read(raw: bytes) -> None:
        assert len(key.open(raw, b"info")) == 32
        assert raw == sealed

    return Harness(seeds=(sealed,), read=read)


def _epoch_key(directory: Path) -> Harness:
    def read(raw: bytes) -> None:
        assert len(raw) == 1216
        seal(raw, bytes(32), b"info")

    def checked(raw: bytes) -> None:
        if len(raw) == 1216:
            read(raw)
        else:
            seal(raw, bytes(32), b"info")
            raise AssertionError("sealed to a key of a wrong size")

    return Harness(seeds=(SealingKey.generate().public(),), read=checked)


def _box(directory: Path) -> Harness:
    one = samples()
    box = one.world.dealt[one.roster[1]].boxes[0]

    def read(raw: bytes) -> None:
        open_box(bytes(32), raw, b"header")
        raise AssertionError("a box was opened by another key")

    def quiet(raw: bytes) -> None:
        if raw != box:
            read(raw)

    return Harness(seeds=(box,), read=quiet)


def _shares(directory: Path) -> Harness:
    """Each share: the helper's index in two bytes, its length in one, its bytes."""

    def read(raw: bytes) -> None:
        shares, at = {}, 0
        while at + 3 <= len(raw):
            index = int.from_bytes(raw[at : at + 2], "big", signed=True)
            shares[index] = raw[at + 3 : at + 3 + raw[at + 2]]
            at += 3 + raw[at + 2]
        assert len(combine(shares)) == len(next(iter(shares.values())))

    share = b"\0\0\x04abcd"
    return Harness(seeds=(share, share + b"\0\1\x04bcde"), read=read)


def _leaves(directory: Path) -> Harness:
    """The size in eight bytes, the root in 32, then the leaves."""
    leaves = [bytes(32), b"\1" * 32]
    size = chunks.CHUNK_BYTES + 5

    def read(raw: bytes) -> None:
        size = int.from_bytes(raw[:8], "big", signed=True)
        given = [raw[at : at + 32] for at in range(40, len(raw), 32)]
        chunks.check_leaves(size, given, raw[8:40])
        assert len(given) == chunks.count(size)

    seed = size.to_bytes(8, "big") + chunks.root(size, leaves) + b"".join(leaves)
    return Harness(seeds=(seed,), read=read)


def _bitmap(directory: Path) -> Harness:
    """The number of chunks in three bytes, then the bitmap that the operator answers with."""

    def read(raw: bytes) -> None:
        places = int.from_bytes(raw[:3], "big")
        missing = chunks.missing(places, raw[3:])
        assert len(missing) <= places <= 8 * max(0, len(raw) - 3)

    return Harness(seeds=(b"\0\0\x0b" + chunks.bitmap(11, {3, 10}),), read=read)


def _wire(directory: Path) -> Harness:
    one = samples()
    signed = one.sign(Purpose.PLAN, one.plan)
    seed = wire.parcel(one.plan.agreement, pb.PARCEL_KIND_CERTIFICATE, [signed])

    def read(raw: bytes) -> None:
        try:
            parcel = pb.Parcel.FromString(raw)
        except Exception as error:  # what gRPC itself turns away
            raise PeerError(str(error)) from None
        digest = wire.digest_of(parcel.agreement)
        assert len(bytes.fromhex(digest)) == 32
        one, packed = wire.only(parcel), parcel.envelopes[0]
        assert (one.body, one.signature) == (packed.body, packed.signature)

    return Harness(seeds=(seed.SerializeToString(),), read=read)


def _invitation(directory: Path) -> Harness:
    def read(raw: bytes) -> None:
        read = membership.read_invitation(raw.decode("utf-8", "surrogateescape"))
        assert membership.read_invitation(read.write()) == read

    return Harness(seeds=(invitation().encode(), b" " + invitation().encode() + b"\n"), read=read)


def _names(directory: Path) -> Harness:
    def read(raw: bytes) -> None:
        text = raw.decode("utf-8", "surrogateescape")
        if text[:1] == "-":
            membership.check_user_agent(text[1:])
        elif text.isupper():
            membership.check_jurisdiction(text)
        else:
            membership.check_id(text)

    return Harness(seeds=(b"inst-00", b"DE", b"-comity/1 grpc-python/1.85.0"), read=read)


def _one_signed(
    purpose: Purpose, body: Callable[[Samples], bytes], take: Callable[[Samples, Signed], object]
) -> Callable[[Path], Harness]:
    """Let who is named in a body, or the operator, sign whatever it says."""

    def make(directory: Path) -> Harness:
        one = samples()

        def read(raw: bytes) -> None:
            take(one, signer(one, raw).sign(purpose, raw))

        return Harness(seeds=(body(one),), read=read, mutate=altered)

    return make


def signer(one: Samples, raw: bytes):  # type: ignore[no-untyped-def]
    """Choose the keys of the second institution where a body has a sender, else the operator's.

    The bodies of one kind begin alike, so this needs no parsing of hostile bytes.
    """
    return (
        one.world.keys[one.roster[1]] if b'"institution":"inst-01"' in raw else one.world.operator
    )


def _survivors(directory: Path) -> Harness:
    """A whole survivors' parcel; empty signatures are made here, by whoever is not me."""
    one = samples()
    listed, roster = one.survivors, one.roster
    theirs = [one.world.signed[who] for who in roster]
    messages = [
        Signed(body=encode(listed), signature=b""),
        theirs[0][0],
        *(Signed(body=header.body, signature=b"") for header, _ in theirs[1:]),
        theirs[0][1],
        *(Signed(body=upload.body, signature=b"") for _, upload in theirs[1:]),
    ]
    boxes = [one.world.dealt[who].boxes[0] for who in roster]
    digest = one.plan.agreement
    seed = wire.parcel(digest, pb.PARCEL_KIND_SURVIVORS, messages, boxes).SerializeToString()
    held = one.world.dealt[one.me].held

    def signed(place: int, message: Signed) -> Signed:
        if message.signature:
            return message
        if place == 0:
            return one.world.operator.sign(Purpose.SURVIVORS, message.body)
        who = one.world.keys[roster[(place - 1) % len(roster)]]
        purpose = Purpose.HEADER if place <= len(roster) else Purpose.UPLOAD
        return who.sign(purpose, message.body)

    def read(raw: bytes) -> None:
        parcel = parsed(raw)
        given = [signed(place, wire.signed(e)) for place, e in enumerate(parcel.envelopes)]
        survivors = decode(Survivors, given[0].body) if given else listed
        middle = (len(given) - 1) // 2
        reveal = answer(
            one.world.agreement, one.plan, one.me, held, survivors,
            given[1 : 1 + middle], given[1 + middle :], list(parcel.boxes),
        )  # fmt: skip
        assert len(reveal.shares) == len(survivors.survivors) >= one.plan.minimum
        assert {c.dealer for c in reveal.complaints} <= set(roster[1:])

    return Harness(seeds=(seed,), read=read, mutate=parcel_altered)


def parsed(raw: bytes) -> pb.Parcel:
    """Parse a parcel.

    Raises:
        PeerError: it is none; gRPC would have turned it away.
    """
    try:
        return pb.Parcel.FromString(raw)
    except Exception as error:
        raise PeerError(str(error)) from None


def parcel_altered(raw: bytes, chance: random.Random) -> bytes:
    """Change a parcel: a field of one message, a box, the order; rarely bytes anywhere."""
    try:
        parcel = pb.Parcel.FromString(raw)
    except Exception:
        return damaged(raw, chance)
    what = chance.random()
    if what < 0.6 and parcel.envelopes:
        one = chance.choice(parcel.envelopes)
        one.body = altered(one.body, chance)
    elif what < 0.75 and parcel.boxes:
        at = chance.randrange(len(parcel.boxes))
        parcel.boxes[at] = damaged(parcel.boxes[at], chance)
    elif what < 0.9 and parcel.envelopes:
        at = chance.randrange(len(parcel.envelopes))
        moved = parcel.envelopes.pop(at)
        for _ in range(chance.choice([0, 1, 2])):
            parcel.envelopes.insert(chance.randrange(len(parcel.envelopes) + 1), moved)
    elif parcel.envelopes:
        one = chance.choice(parcel.envelopes)
        one.signature = damaged(one.signature, chance)
    else:
        return damaged(raw, chance)
    return parcel.SerializeToString()


def _certificate(directory: Path) -> Harness:
    """Certificate, plan and endorsements, for somebody who was not in the round."""
    one = samples()
    agreement = one.world.agreement
    messages = [
        Signed(body=encode(one.certificate), signature=b""),
        Signed(body=encode(one.plan), signature=b""),
        *(Signed(body=each.body, signature=b"") for each in one.endorsements),
    ]
    seed = wire.parcel(one.plan.agreement, pb.PARCEL_KIND_CERTIFICATE, messages)

    def signed(place: int, message: Signed) -> Signed:
        if message.signature:
            return message
        if place < 2:
            purpose = (Purpose.CERTIFICATE, Purpose.PLAN)[place]
            return one.world.operator.sign(purpose, message.body)
        who = one.world.keys[one.roster[(place - 2) % len(one.roster)]]
        return who.sign(Purpose.ENDORSEMENT, message.body)

    def read(raw: bytes) -> None:
        given = [signed(place, wire.signed(e)) for place, e in enumerate(parsed(raw).envelopes)]
        if len(given) < 2:
            raise PeerError("expected a certificate and its plan")
        plan = decode(Plan, given[1].body)
        body = check_certificate(agreement, plan, None, given[0], given[2:])
        assert body.void or len(body.survivors) >= one.plan.minimum

    return Harness(seeds=(seed.SerializeToString(),), read=read, mutate=parcel_altered)


def _plan(directory: Path) -> Harness:
    one = samples()
    agreement = one.world.agreement
    standing = Standing(
        me=one.me, epoch=1, members=one.roster, newest=0,
        certificate=agreement.digest, model=agreement.model.initial_state, certified=0, scored=0,
    )  # fmt: skip

    def read(raw: bytes) -> None:
        from comity_common.errors import Refusal

        plan = decode(Plan, raw)
        try:
            check_plan(agreement, standing, plan)
        except Refusal as refusal:
            check_terms(agreement, plan)
            raise PeerError(str(refusal)) from None
        assert plan.participants == one.roster

    return Harness(seeds=(encode(one.plan),), read=read, mutate=altered)


def _epoch(step: str) -> Callable[[Path], Harness]:
    """All members' messages of one step; those of the others signed here."""

    def make(directory: Path) -> Harness:
        one = samples()
        agreement = one.world.agreement
        true = {"keys": one.keys, "halves": one.halves, "views": one.views}[step]
        purpose = {
            "keys": Purpose.EPOCH_KEY, "halves": Purpose.EPOCH_HALVES, "views": Purpose.EPOCH_VIEW,
        }[step]  # fmt: skip
        view = decode(EpochView, one.views[0].body).view
        seed = wire.parcel(
            agreement.digest,
            pb.PARCEL_KIND_EPOCH_KEYS,
            [true[0], *(Signed(body=each.body, signature=b"") for each in true[1:])],
        )

        def read(raw: bytes) -> None:
            given = []
            for place, packed in enumerate(parsed(raw).envelopes):
                message = wire.signed(packed)
                if not message.signature:
                    who = one.world.keys[one.roster[place % len(one.roster)]]
                    message = who.sign(purpose, message.body)
                given.append(message)
            if step == "keys":
                assert len(read_keys(agreement, one.opened, given)) == len(one.roster)
            elif step == "halves":
                assert len(read_halves(agreement, one.opened, given)) == len(one.roster)
            else:
                check_views(agreement, one.opened, given, view)

        return Harness(seeds=(seed.SerializeToString(),), read=read, mutate=parcel_altered)

    return make


def _open(directory: Path) -> Harness:
    one = samples()

    def read(raw: bytes) -> None:
        opened = decode(EpochOpen, raw)
        check_open(one.world.agreement, opened, one.me, 1)
        assert one.me in opened.members

    return Harness(seeds=(encode(one.opened),), read=read, mutate=altered)


def _collector(kind: str) -> Callable[[Path], Harness]:
    """The operator's half of a round; a refusal must leave it as it was."""

    def make(directory: Path) -> Harness:
        one = samples()
        sender = one.roster[1]
        keys, (header, upload) = one.world.keys[sender], one.world.signed[sender]
        boxes = one.world.dealt[sender].boxes
        collecting = Collector(one.world.agreement, one.plan)
        collecting.upload(*one.world.signed[one.me], one.world.dealt[one.me].boxes)
        start = one.collector if kind == "reveal" else collecting
        seed = {
            "header": header.body,
            "upload": upload.body,
            "reveal": one.reveals[1].body,
            "decline": next(b for b in one.bodies() if b'"code"' in b).replace(
                one.me.encode(), sender.encode()
            ),
        }[kind]

        def take(collector: Collector, raw: bytes) -> None:
            if kind == "header":
                collector.upload(keys.sign(Purpose.HEADER, raw), upload, boxes)
            elif kind == "upload":
                collector.upload(header, keys.sign(Purpose.UPLOAD, raw), boxes)
            elif kind == "reveal":
                collector.reveal(keys.sign(Purpose.REVEAL, raw))
            else:
                collector.decline(keys.sign(Purpose.DECLINE, raw))

        def read(raw: bytes) -> None:
            collector = _copied(start)
            try:
                take(collector, raw)
            except PeerError:
                assert _state(collector) == _state(start), "a refusal has changed the round"
                raise

        return Harness(seeds=(seed,), read=read, mutate=altered)

    return make


def _copied(collector: Collector) -> Collector:
    other = copy.copy(collector)
    for name in ("uploads", "declined", "reveals"):
        setattr(other, name, dict(getattr(collector, name)))
    return other


def _state(collector: Collector) -> object:
    held = (collector.uploads, collector.declined, collector.reveals)
    return collector.stage, collector.reason, collector.residue, *map(dict, held)


def _card(one: Samples) -> bytes:
    return next(raw for raw in one.bodies() if b'"transfer"' in raw)


def _withdrawal(one: Samples) -> bytes:
    raw = next(raw for raw in one.bodies() if b'"by"' in raw)
    return raw.replace(one.me.encode(), one.roster[1].encode())


def _request(directory: Path) -> Harness:
    from tests.simulation.network import Identity

    from .samples import enrolment

    identity = Identity(samples().me)
    seed = enrolment(identity).body

    def read(raw: bytes) -> None:
        request = membership.check_request(identity.signing.sign(Purpose.ENROLMENT, raw))
        assert request.party.name.isprintable()

    return Harness(seeds=(seed,), read=read, mutate=altered)


def _checked_card(one: Samples, signed: Signed) -> None:
    card = membership.check_card(signed)
    assert card.operator.name.isprintable()


TARGETS: list[Target] = [
    *(_kind_target(kind) for kind in KINDS),
    *(
        Target(name=name, reader=reader, sender=sender, errors=errors, make=make, covers=covers)
        for name, reader, sender, errors, make, covers in (
            ("signature", "comity_common.crypto.sign.verify", ANYBODY, PEER, _signature,
             ("common/comity_common/crypto/sign.py:from_public_bytes",)),
            ("sealed-half", "comity_common.crypto.seal.SealingKey.open", MEMBER, PEER, _half, ()),
            ("epoch-key", "comity_common.crypto.seal.seal", MEMBER, PEER, _epoch_key,
             ("common/comity_common/crypto/seal.py:from_public_bytes",)),
            ("share-box", "comity_common.crypto.seal.open_box", MEMBER, PEER, _box, ()),
            ("shares", "comity_common.crypto.shamir.combine", MEMBER, PEER, _shares,
             ("common/comity_common/crypto/shamir.py:frombuffer",)),
            ("chunk-hashes", "comity_common.chunks.check_leaves", MEMBER, PEER, _leaves, ()),
            ("chunk-bitmap", "comity_common.chunks.missing", OPERATOR, PEER, _bitmap, ()),
            ("parcel", "comity_common.wire", "operator or institution", PEER, _wire, ()),
            ("invitation", "comity_common.membership.read_invitation", ANYBODY, (LocalError,),
             _invitation, ("common/comity_common/membership.py:b64decode",)),
            ("names", "comity_common.membership.check_…", ANYBODY, (Problem, PeerError), _names,
             ()),
            ("operator-card", "comity_common.membership.check_card", STAND_IN,
             PEER, _one_signed(Purpose.CARD, _card, _checked_card), ()),
            ("enrolment-request", "comity_common.membership.check_request", "who has an invitation",
             PEER, _request, ()),
            ("withdrawal", "comity_common.membership.check_withdrawal", "operator or institution",
             PEER, _one_signed(Purpose.WITHDRAWAL, _withdrawal, lambda one, signed:
                               membership.check_withdrawal(one.world.agreement, signed)), ()),
            ("epoch-open", "comity_common.secagg.keyepoch.check_open", OPERATOR, PEER, _open, ()),
            ("epoch-keys", "comity_common.secagg.keyepoch.read_keys", MEMBER, PEER,
             _epoch("keys"), ()),
            ("epoch-halves", "comity_common.secagg.keyepoch.read_halves", MEMBER, PEER,
             _epoch("halves"), ()),
            ("epoch-views", "comity_common.secagg.keyepoch.check_views", MEMBER, PEER,
             _epoch("views"), ()),
            ("plan", "comity_common.secagg.plan.check_plan", OPERATOR, PEER, _plan, ()),
            ("survivors", "comity_common.secagg.participant.answer", OPERATOR, PEER, _survivors,
             ()),
            ("certificate", "comity_common.secagg.participant.check_certificate", OPERATOR, PEER,
             _certificate, ()),
            *(
                (f"collector-{kind}", f"comity_common.secagg.collector.Collector.{kind}", MEMBER,
                 PEER, _collector(kind), ())
                for kind in ("header", "upload", "reveal", "decline")
            ),
        )
    ),
]  # fmt: skip
"""Without files, sockets and stores."""
