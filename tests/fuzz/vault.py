"""Targets: what the operator, and institutions through it, can send to a vault.

A real vault with its real store stands at each point of a round. A refusal must leave its store as
it was; after what it accepts it is put back.
"""

import os
import random
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from comity.v1 import transfer_pb2 as pb
from comity_client.institution import Institution
from comity_client.joining import accept
from comity_client.mailroom import BESIDE
from comity_client.releases import accept_certificate, first_model
from comity_client.terms import in_words
from comity_client.uplink import AgreementState, Delivery, Uplink
from comity_common import wire
from comity_common.canonical import decode, encode
from comity_common.crypto.derive import digest
from comity_common.crypto.sign import Purpose, Signed
from comity_common.errors import LocalError, PeerError, Refusal
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import Refused
from comity_common.ledger.witness import HeadRequest, Objection, cosign, request_head
from comity_common.membership import Withdrawal, check_signatures
from comity_common.modelfile import write_state
from comity_common.secagg.messages import Deadline, Header, Plan
from comity_common.secagg.participant import header_digest
from comity_common.secagg.plan import plan_digest
from comity_common.wire import digest_of
from tests.simulation.test_vaults import Federation, Seat

from .messages import parcel_altered, parsed
from .mutations import altered, damaged
from .samples import card
from .target import Harness, Target, own_directory

PEER = (PeerError,)
ROUND = 1


class Scene:
    """One vault at one moment of a round, which the operator talks to.

    Attributes:
        seat: the vault as it is now.
        parcel: what an honest operator would send next.
        federation: who signs.
    """

    def __init__(
        self,
        federation: Federation,
        files: Mapping[Path, bytes],
        parcel: pb.Parcel,
        directory: Path,
    ) -> None:
        self.federation, self.parcel, self._files = federation, parcel, files
        self._home = directory / "home"
        self._write()
        self.seat = Seat(self._home, federation.agreement, federation.operator)
        self._begin()

    def restore(self) -> None:
        """Put the vault back to its moment, as a restart would find it."""
        self._watch.close()
        self.seat.inst.store.reading().close()
        self._write()
        self.seat.wake()
        self._begin()

    def _write(self) -> None:
        for path in self._home.rglob("*"):
            if path.is_file() and path.relative_to(self._home) not in self._files:
                path.unlink()
        for name, content in self._files.items():
            place = self._home / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists() or place.read_bytes() != content:
                place.write_bytes(content)
        (self._home / "outbox").mkdir(exist_ok=True)

    def _begin(self) -> None:
        witnesses = self.seat.vault.witnesses  # who would see that this vault is put back
        witnesses.ask = lambda size=1: None  # type: ignore[method-assign]
        witnesses.are_enough = lambda size: True  # type: ignore[method-assign]
        self._watch = sqlite3.connect(self.seat.inst.home.database, isolation_level=None)
        self._content = list(self._watch.iterdump())
        self._version = self._seen()

    def _seen(self) -> int:
        return int(self._watch.execute("pragma data_version").fetchone()[0])

    def changed(self) -> bool:
        """Tell whether the store says anything else than at its moment."""
        if self._seen() == self._version:
            return False
        self._version = self._seen()
        return list(self._watch.iterdump()) != self._content

    def hold(self, act: Callable[[], object]) -> None:
        """Let something happen; put the vault back if it was accepted."""
        try:
            act()
        except (PeerError, LocalError):
            self._check_what_a_refusal_left()
            raise
        if self.changed():
            self.restore()

    def _check_what_a_refusal_left(self) -> None:
        """Hold that it changed nothing, but for a line in the ledger that says so."""
        before = set(self._content)
        if not self.changed():
            return
        after = list(self._watch.iterdump())
        assert before <= set(after), "a refusal has changed the store"
        added = [line for line in after if line not in before]
        assert all(line.startswith('INSERT INTO "entries"') for line in added), added
        last = self.seat.inst.ledger.entries()[-len(added) :]
        assert all(isinstance(entry.body, Refused) for entry in last)
        self._content = after

    def signed(self, place: int, message: Signed) -> Signed:
        """Sign a message whose signature is empty, as whoever sends what stands at this place."""
        if message.signature:
            return message
        purpose, who = _signer(self.parcel.kind, place, self.federation.agreement.roster)
        keys = self.federation.operator.keys
        if who is not None:
            keys = self.federation.seats[who].inst.keys.signing
        return keys.sign(purpose, message.body)

    def deliver(self, raw: bytes) -> None:
        """Let the vault take a parcel."""
        parcel = parsed(raw)
        if who_is_me(parcel, self.seat.inst.me):
            raise PeerError("expected nobody to sign as the vault itself")
        messages = [self.signed(k, wire.signed(one)) for k, one in enumerate(parcel.envelopes)]
        delivery = Delivery(
            parcel.sequence, parcel.agreement, parcel.kind, tuple(messages), tuple(parcel.boxes)
        )
        self.hold(lambda: self._take(delivery))

    def _take(self, delivery: Delivery) -> None:
        """Hear what witnesses say as the mailbox's thread does, all else as the worker."""
        if delivery.kind not in BESIDE:
            self.seat.mailroom.deliver(delivery)
        elif digest_of(delivery.agreement) == self.seat.agreement.digest:
            self.seat.hear(delivery)


def who_is_me(parcel: pb.Parcel, me: InstitutionId) -> bool:
    """Tell whether this harness would forge a signature of the vault's own."""
    if parcel.kind in (pb.PARCEL_KIND_COSIGNATURE, pb.PARCEL_KIND_OBJECTION):
        return False  # a witness signs, about the vault
    own = f'"institution":"{me}"'.encode()
    return any(not one.signature and own in one.body for one in parcel.envelopes)


def _signer(
    kind: int, place: int, roster: tuple[InstitutionId, ...]
) -> tuple[Purpose, InstitutionId | None]:
    others = roster[1:]
    match kind:
        case pb.PARCEL_KIND_EPOCH_KEYS:
            return Purpose.EPOCH_KEY, (None, *others)[place % len(roster)]
        case pb.PARCEL_KIND_EPOCH_HALVES:
            return Purpose.EPOCH_HALVES, (None, *others)[place % len(roster)]
        case pb.PARCEL_KIND_EPOCH_VIEWS:
            return Purpose.EPOCH_VIEW, (None, *others)[place % len(roster)]
        case pb.PARCEL_KIND_HEAD:
            return Purpose.HEAD, others[0]
        case pb.PARCEL_KIND_COSIGNATURE:
            return Purpose.COSIGNATURE, others[0]
        case pb.PARCEL_KIND_OBJECTION:
            return Purpose.OBJECTION, others[0]
        case pb.PARCEL_KIND_SURVIVORS if place:
            who = (None, *others)[(place - 1) % len(roster)]
            return (Purpose.HEADER if place <= len(roster) else Purpose.UPLOAD), who
        case pb.PARCEL_KIND_CERTIFICATE if place > 1:
            return Purpose.ENDORSEMENT, (None, *others)[(place - 2) % len(roster)]
        case pb.PARCEL_KIND_CERTIFICATE if place == 1:
            return Purpose.PLAN, None
    return {
        pb.PARCEL_KIND_EPOCH_OPEN: Purpose.EPOCH_OPEN,
        pb.PARCEL_KIND_SURVIVORS: Purpose.SURVIVORS,
        pb.PARCEL_KIND_DEADLINE: Purpose.DEADLINE,
    }.get(kind, Purpose.CERTIFICATE), None


@cache
def story() -> dict[str, tuple[Federation, Mapping[Path, bytes], pb.Parcel]]:
    """Play a key epoch and a round, and keep the first vault's store before each parcel to it."""
    federation = Federation(own_directory(), n=3)
    operator, roster = federation.operator, list(federation.agreement.roster)
    me, told = roster[0], {}

    def keep(name: str, parcel: pb.Parcel | None = None) -> None:
        seat = federation.seats[me]
        seat.inst.store.reading().execute("pragma wal_checkpoint(truncate)").fetchone()
        last = operator.mail[me][-1]
        packed = parcel or wire.parcel(
            federation.agreement.digest, last.kind, _unsigned(last.messages, me), last.boxes
        )
        home = seat.inst.home.path
        files = {
            path.relative_to(home): path.read_bytes()
            for path in home.rglob("*")
            if path.is_file() and path.suffix not in (".db-wal", ".db-shm")
        }
        told[name] = (federation, files, packed)

    def work(who: Iterable[InstitutionId]) -> None:
        for one in who:
            federation.seats[one].work()

    operator.open_epoch(1)
    for step in ("open", "keys", "halves", "views"):
        keep(f"epoch-{step}")
        work(roster)
    keep("between")
    plan = operator.begin_round(roster)
    federation.order(plan, roster)
    deadline = Deadline(plan=plan_digest(plan), until=2_000_000_000)
    unsigned = Signed(body=encode(deadline), signature=b"")
    keep("deadline", wire.parcel(federation.agreement.digest, pb.PARCEL_KIND_DEADLINE, [unsigned]))
    for name, kind, said in _of_witnesses(federation, me, roster[1]):
        keep(name, wire.parcel(federation.agreement.digest, kind, [said]))
    work(roster)
    operator.ask_reveals()
    keep("survivors")
    work(roster)
    operator.certify()
    keep("certificate")
    certificate = told["certificate"][2]
    work(roster)
    late = pb.Parcel()
    late.CopyFrom(certificate)
    late.envelopes.extend(wire.envelope(one) for one in _unsigned(operator.endorsements, me))
    told["certificate-late"] = (federation, told["between"][1], late)
    return told


def _of_witnesses(
    federation: Federation, me: InstitutionId, other: InstitutionId
) -> Iterable[tuple[str, int, Signed]]:
    """Make what another institution says as a witness, or to one; unsigned."""
    agreement = federation.agreement.digest
    own, theirs = (federation.seats[who].inst for who in (me, other))

    def request(inst: Institution) -> HeadRequest:
        ledger = inst.ledger
        known = range(len(ledger.tree()))
        generation, key = ledger.generations()[-1], inst.keys.ledger.head
        return request_head(agreement, inst.me, generation, ledger.tree(), known, key)

    mine = request(own)
    shown = own.keys.signing.sign(Purpose.HEAD, encode(mine))
    cosignature = cosign(mine, other, federation.seats[other].inst.keys.ledger, 1_700_000_000)
    objection = Objection(
        agreement=agreement,
        witness=other,
        institution=me,
        body=shown.body,
        signature=shown.signature,
    )
    for name, kind, body in (
        ("head", pb.PARCEL_KIND_HEAD, request(theirs)),
        ("cosignature", pb.PARCEL_KIND_COSIGNATURE, cosignature),
        ("objection", pb.PARCEL_KIND_OBJECTION, objection),
    ):
        yield name, kind, Signed(body=encode(body), signature=b"")


def _unsigned(messages: Iterable[Signed], me: InstitutionId) -> list[Signed]:
    """Take the signatures off all messages but the vault's own: whoever sends them signs."""
    listed = list(messages)
    own = [f'"institution":"{me}"'.encode()]
    for one in listed:
        if own[0] in one.body and b'"commitments"' in one.body:  # its upload names its header alone
            own.append(f'"header":"{header_digest(decode(Header, one.body))}"'.encode())
    return [
        one if any(name in one.body for name in own) else replace(one, signature=b"")
        for one in listed
    ]


def scene(name: str, directory: Path) -> Scene:
    """Put the vault to a moment of the story, in a directory of its own."""
    return Scene(*story()[name], directory)


def _parcels(name: str) -> Callable[[Path], Harness]:
    def make(directory: Path) -> Harness:
        there = scene(name, directory)
        return Harness(
            seeds=(there.parcel.SerializeToString(),), read=there.deliver, mutate=parcel_altered
        )

    return make


def _fetched_plan(directory: Path) -> Harness:
    """The answer to FetchPlan: the order names what comes, whatever it is."""
    there = scene("between", directory)
    federation, seat = there.federation, there.seat
    plan = next(iter(federation.operator.plans.values())).body

    def read(raw: bytes) -> None:
        named = Digest(digest("plan", raw).hex())
        signed = federation.operator.keys.sign(Purpose.PLAN, raw)
        seat.line.fetch_plan = lambda agreement, plan: signed  # type: ignore[method-assign]
        before = seat.bench.trained
        seat.vault.accept_order(federation.agreement.digest, ROUND, named)
        while seat.vault.go_on():
            pass
        joined = seat.bench.trained > before
        assert joined == (raw_terms(raw) == raw_terms(plan)), "trained under other terms"
        there.restore()
        if not joined:
            raise PeerError("declined")

    def raw_terms(raw: bytes) -> object:
        """Read a plan without what the operator may choose freely."""
        try:
            found = decode(Plan, raw)
        except PeerError:
            return None
        return replace(found, nonce=bytes(16)) if len(found.nonce) == 16 else None

    return Harness(seeds=(plan,), read=read, mutate=altered)


def _receipt(directory: Path) -> Harness:
    """The answer to FinishUpload; a false one closes the round here."""
    there = scene("deadline", directory)
    seat, operator = there.seat, there.federation.operator
    plan = operator.plans[plan_digest(operator.plan)]
    seen: list[bytes] = []

    def fetched(agreement: Digest, named: Digest) -> Signed:
        return plan

    def received(agreement: Digest, stored: object, file: Path) -> Signed:
        seen.append(stored.header)  # type: ignore[attr-defined]
        return operator.keys.sign(Purpose.RECEIPT, raw_now[0])

    raw_now = [b""]

    def read(raw: bytes) -> None:
        seat.line.fetch_plan, seat.line.upload = fetched, received  # type: ignore[method-assign]
        assert seat.vault.go_on()  # joins
        assert seat.vault.go_on()  # trains and masks
        true = f'{{"header":"{digest("header", _header()).hex()}"}}'.encode()
        raw_now[0] = true if raw == b"true" else raw
        assert seat.vault.go_on()
        round = seat.inst.rounds.get(there.federation.agreement.digest, ROUND)
        accepted = round.phase.value == "uploaded"
        assert accepted == (raw_now[0] == true)
        there.restore()
        if not accepted:
            raise PeerError("closed as refused")

    def _header() -> bytes:
        round = seat.inst.rounds.get(there.federation.agreement.digest, ROUND)
        return round.upload.header  # type: ignore[no-any-return]

    return Harness(seeds=(b"true",), read=read, mutate=_receipts)


def _receipts(raw: bytes, chance: random.Random) -> bytes:
    return altered(b'{"header":"%s"}' % (b"ab" * 32), chance)


def _total(directory: Path) -> Harness:
    """The chunks of FetchTotal, put together: right size, any content."""
    there = scene("certificate", directory)
    seat, operator = there.seat, there.federation.operator
    true = operator.totals[ROUND]
    parcel = there.parcel
    messages = [there.signed(k, wire.signed(one)) for k, one in enumerate(parcel.envelopes)]

    def read(raw: bytes) -> None:
        told = bytearray((raw + bytes(len(true)))[: len(true)])
        seat.line.fetch_total = lambda *_: told  # type: ignore[method-assign]
        agreement = there.federation.agreement
        there.hold(lambda: accept_certificate(seat.inst, agreement, seat.line, messages))
        assert told == true

    return Harness(seeds=(true,), read=read)


def _chunks(directory: Path) -> Harness:
    """The stream of FetchTotal or FetchModel: chunks with their offsets, each behind its length."""
    size = 100
    pieces = [pb.Chunk(offset=0, data=b"a" * 60), pb.Chunk(offset=60, data=b"b" * 40)]
    seed = b"".join(bytes([len(raw)]) + raw for raw in map(pb.Chunk.SerializeToString, pieces))
    uplink = Uplink("127.0.0.1:1", bytes(32), (b"", b""), lambda *_: None)

    def read(raw: bytes) -> None:
        found, at = [], 0
        while at < len(raw):
            part = raw[at + 1 : at + 1 + raw[at]]
            try:
                found.append(pb.Chunk.FromString(part))
            except Exception as error:  # what gRPC turns away
                raise PeerError(str(error)) from None
            at += 1 + raw[at]
        assert len(uplink._filled(iter(found), size)) == size

    return Harness(seeds=(seed,), read=read)


def _model(directory: Path) -> Harness:
    """The answer to FetchModel, for who joins an agreement that goes on."""
    there = scene("between", directory)
    federation = there.federation
    state = federation.operator.state
    first = there.seat.inst.models.load(
        federation.agreement.digest, federation.agreement.model.initial_state
    )
    from comity_common.agreement import Continuation

    continued = replace(
        federation.agreement,
        continues=Continuation(agreement=Digest("a" * 64), certificate=Digest("b" * 64),
                               certified=1),
    )  # fmt: skip
    true = write_state(first)

    def read(raw: bytes) -> None:
        class Told:
            def fetch_model(self, agreement: Digest, size: int) -> bytearray:
                return bytearray((raw + bytes(size))[:size])

        found = first_model(there.seat.inst, continued, Told(), state)  # type: ignore[arg-type]
        assert write_state(found) == true

    return Harness(seeds=(true,), read=read)


def _agreements(directory: Path) -> Harness:
    """The stream of FetchAgreements: one agreement, signatures, withdrawals, a state."""
    there = scene("between", directory)
    federation, seat = there.federation, there.seat
    operator = federation.operator.keys
    seat.inst.keep_card(_own_card(federation))
    agreement = federation.agreement
    fresh = replace(agreement, nonce=b"\1" * 16, federation="another")
    left = Withdrawal(agreement=fresh.digest, institution=agreement.roster[1], by="operator")  # type: ignore[arg-type]

    def told(one: object) -> bytes:
        return pb.AgreementState(
            agreement=encode(one),
            state="proposed",
            signatures=[pb.PartySignature(party="operator")],
            withdrawals=[pb.Envelope(body=encode(left))],
        ).SerializeToString()

    def read(raw: bytes) -> None:
        try:
            state = pb.AgreementState.FromString(raw)
        except Exception as error:
            raise PeerError(str(error)) from None
        body = state.agreement
        given = {
            InstitutionId(one.party): one.signature
            or operator.sign(Purpose.AGREEMENT, body).signature
            for one in state.signatures
        }
        out = [
            wire.signed(one) if one.signature else operator.sign(Purpose.WITHDRAWAL, one.body)
            for one in state.withdrawals
        ]
        seat.letters._uplink = _Tells(
            [AgreementState(raw=body, state=state.state, signatures=given, withdrawals=tuple(out))]
        )
        before = {one.agreement.digest for one in seat.inst.agreements.known()}
        seat.letters.refresh()
        for known in seat.inst.agreements.known():
            if known.agreement.digest not in before:
                shown = in_words(known.agreement, seat.inst.me)
                assert all(sign.isprintable() or sign == "\n" for sign in shown), "moves the cursor"
        assert seat.inst.agreements.is_in_force(agreement.digest)
        if there.changed():
            there.restore()

    def mutate(raw: bytes, chance: random.Random) -> bytes:
        state = pb.AgreementState.FromString(raw)
        what = chance.random()
        if what < 0.7:
            state.agreement = altered(state.agreement, chance)
        elif what < 0.9:
            state.withdrawals[0].body = altered(state.withdrawals[0].body, chance)
        else:
            return damaged(raw, chance)
        return state.SerializeToString()

    return Harness(seeds=(told(fresh), told(agreement)), read=read, mutate=mutate)


class _Tells:
    """What stands in for the connection: an operator who tells these agreements."""

    def __init__(self, states: list[AgreementState]) -> None:
        self._states = states

    def fetch_agreements(self) -> list[AgreementState]:
        return self._states


def _own_card(federation: Federation) -> Signed:
    class Told:
        agreement = federation.agreement

    return federation.operator.keys.sign(Purpose.CARD, encode(card(Told())))  # type: ignore[arg-type]


def _signing(directory: Path) -> Harness:
    """Signing what the operator proposes: policy, budget and guarantee, at whatever numbers."""
    there = scene("between", directory)
    federation, inst = there.federation, there.seat.inst
    (standing,) = inst.agreements.active()
    fresh = replace(federation.agreement, nonce=b"\2" * 16)

    def read(raw: bytes) -> None:
        inst = there.seat.inst
        try:
            there.hold(
                lambda: inst.agreements.sign(raw, inst.keys, inst.me, inst.policy, standing.dataset)
            )
        except Refusal as refusal:
            assert not there.changed()
            raise PeerError(str(refusal)) from None

    return Harness(seeds=(encode(fresh),), read=read, mutate=altered)


def _activation(directory: Path) -> Harness:
    """Signatures of all parties: 2484 bytes each, in the order of operator and roster."""
    there = scene("between", directory)
    federation = there.federation
    agreement, size = federation.agreement, 64 + 2420
    raw = encode(agreement)
    keys = [
        federation.operator.keys,
        *(federation.seats[who].inst.keys.signing for who in agreement.roster),
    ]
    seed = b"".join(key.sign(Purpose.AGREEMENT, raw).signature for key in keys)

    def read(given: bytes) -> None:
        pieces = [given[at : at + size] for at in range(0, len(given), size)]
        parties = (agreement.operator.id, *agreement.roster)
        check_signatures(agreement, raw, dict(zip(parties, pieces, strict=False)))
        assert given[: len(seed)] == seed

    return Harness(seeds=(seed,), read=read)


def _accepted_card(directory: Path) -> Harness:
    """The operator's card as it is kept: settings must be whole before and after."""
    there = scene("between", directory)
    federation, inst = there.federation, there.seat.inst
    config = inst.home.config.read_bytes()
    seed = _own_card(federation).body

    def read(raw: bytes) -> None:
        inst.home.config.write_bytes(config)
        inst.home.card.unlink(missing_ok=True)
        try:
            accept(inst, federation.operator.keys.sign(Purpose.CARD, raw))
        except PeerError:
            assert inst.home.config.read_bytes() == config, "a refusal has changed the settings"
            assert not inst.home.card.exists()
            raise
        assert inst.home.settings().server == inst.card.transfer

    return Harness(seeds=(seed,), read=read, mutate=altered)


def _order(directory: Path) -> Harness:
    """A line on the vault's socket for orders, through the socket."""
    import socket
    import threading

    from comity_client.intake import LineSocket, order_answer

    there = scene("between", directory)
    vault = there.seat.vault
    faults: list[BaseException] = []
    answer = order_answer(vault.accept_order, lambda refusal: None)

    def guarded(question: dict[str, object]) -> dict[str, object]:
        try:
            return answer(question)
        except BaseException as error:
            faults.append(error)
            raise

    talks = LineSocket.__new__(LineSocket)
    talks._allowed, talks._answer = {os.getuid()}, guarded
    plan = Digest("c" * 64)
    line = f'{{"agreement": "{there.federation.agreement.digest}", "round": 1, "plan": "{plan}"}}\n'

    def read(raw: bytes) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(raw[:4096])
            theirs.shutdown(socket.SHUT_WR)
            talks._talk(ours)
            said = theirs.recv(200)
        if faults:
            raise faults.pop()
        if b'"accepted": true' not in said:
            assert not there.changed()
            raise PeerError("refused")
        there.restore()
        talks._answer = order_answer(there.seat.vault.accept_order, lambda refusal: None)

    _ = threading
    return Harness(seeds=(line.encode(),), read=read, mutate=altered)


PARCELS = (
    ("vault-epoch-open", "epoch-open", "PARCEL_KIND_EPOCH_OPEN"),
    ("vault-epoch-keys", "epoch-keys", "PARCEL_KIND_EPOCH_KEYS"),
    ("vault-epoch-halves", "epoch-halves", "PARCEL_KIND_EPOCH_HALVES"),
    ("vault-epoch-views", "epoch-views", "PARCEL_KIND_EPOCH_VIEWS"),
    ("vault-deadline", "deadline", "PARCEL_KIND_DEADLINE"),
    ("vault-head", "head", "PARCEL_KIND_HEAD"),
    ("vault-cosignature", "cosignature", "PARCEL_KIND_COSIGNATURE"),
    ("vault-objection", "objection", "PARCEL_KIND_OBJECTION"),
    ("vault-survivors", "survivors", "PARCEL_KIND_SURVIVORS"),
    ("vault-certificate", "certificate", "PARCEL_KIND_CERTIFICATE"),
    ("vault-certificate-late", "certificate-late", ""),
)
OPERATOR = "the operator"

TARGETS: list[Target] = [
    *(
        Target(
            name=name,
            reader="comity_client.mailroom.Mailroom.deliver",
            sender=OPERATOR,
            errors=PEER,
            make=_parcels(moment),
            covers=("Transfer.Follow", kind) if kind else (),
        )
        for name, moment, kind in PARCELS
    ),
    *(
        Target(name=name, reader=reader, sender=sender, errors=errors, make=make, covers=covers)
        for name, reader, sender, errors, make, covers in (
            ("vault-plan", "comity_client.vault.Vault.go_on", OPERATOR, (PeerError, Refusal),
             _fetched_plan, ("Transfer.FetchPlan",)),
            ("vault-receipt", "comity_client.vault.Vault.go_on", OPERATOR, PEER, _receipt,
             ("Transfer.FinishUpload",)),
            ("vault-total", "comity_client.releases.accept_certificate", OPERATOR, PEER, _total,
             ("Transfer.FetchTotal",)),
            ("vault-chunks", "comity_client.uplink.Uplink.fetch_total", OPERATOR, PEER, _chunks,
             ()),
            ("vault-model", "comity_client.releases.first_model", OPERATOR, PEER, _model,
             ("Transfer.FetchModel",)),
            ("vault-agreements", "comity_client.correspondence.Correspondence.refresh", OPERATOR,
             PEER, _agreements, ("Transfer.FetchAgreements", "PARCEL_KIND_AGREEMENT_MOVED")),
            ("vault-signing", "comity_client.agreements.Agreements.sign", OPERATOR,
             (PeerError, LocalError), _signing, ()),
            ("vault-activation", "comity_common.membership.check_signatures", OPERATOR, PEER,
             _activation, ()),
            ("vault-card", "comity_client.joining.accept", "who stands in for the operator", PEER,
             _accepted_card, ("Enrolment.Greet",)),
            ("vault-order", "comity_client.intake.LineSocket", "Flower's ClientApp", PEER, _order,
             ("client/comity_client/intake.py:readline", "client/comity_client/intake.py:loads")),
        )
    ),
]  # fmt: skip
"""Against a vault."""
