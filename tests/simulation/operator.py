"""An operator in memory that real vaults talk to: the `Uplink`'s calls, answered by the core.

Mailboxes are lists, uploads are files read at once, and the clock stands still. What the vaults
hand in is kept, so that a test can look for what must never have left.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from comity.v1 import transfer_pb2 as pb
from comity_client.failures import Unreachable
from comity_client.rounds import StoredUpload
from comity_client.uplink import Delivery
from comity_common import chunks
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.witness import Cosignature, Objection
from comity_common.optimizer import ModelState, next_state, state_digest
from comity_common.secagg.collector import Collector
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import CANARIES, q_bytes, sections
from comity_common.secagg.messages import Endorsement, EpochOpen, Header, Plan, Receipt
from comity_common.secagg.packing import pack
from comity_common.secagg.participant import certificate_digest
from comity_common.secagg.plan import make_plan, plan_digest
from comity_common.secagg.round import Stage

STEPS = {
    pb.PARCEL_KIND_EPOCH_KEYS,
    pb.PARCEL_KIND_EPOCH_HALVES,
    pb.PARCEL_KIND_EPOCH_VIEWS,
}
WITNESSES = {
    pb.PARCEL_KIND_HEAD,
    pb.PARCEL_KIND_COSIGNATURE,
    pb.PARCEL_KIND_OBJECTION,
}


class Operator:
    """One agreement at an operator."""

    def __init__(self, agreement: Agreement, keys: SigningKeys, state: ModelState) -> None:
        self.agreement = agreement
        self.keys = keys
        self.state = state
        self.previous = agreement.digest
        self.round = 0
        self.mail: dict[InstitutionId, list[Delivery]] = defaultdict(list)
        self.steps: dict[int, dict[InstitutionId, Signed]] = defaultdict(dict)
        self.plans: dict[Digest, Signed] = {}
        self.vectors: dict[InstitutionId, bytes] = {}
        self.headers: dict[tuple[InstitutionId, Digest], set[bytes]] = defaultdict(set)
        self.reveals: dict[tuple[InstitutionId, Digest], set[bytes]] = defaultdict(set)
        self.endorsements: list[Signed] = []
        self.totals: dict[int, bytes] = {}
        self.collector: Collector | None = None
        self.plan: Plan | None = None
        # Who hears at once what witnesses say, as a vault's mailbox thread does; others by post.
        self.ears: dict[InstitutionId, Callable[[Delivery], None]] = {}

    def post(self, who: InstitutionId, kind: int, messages: list[Signed], boxes=()) -> None:
        """Put a parcel into a mailbox."""
        box = self.mail[who]
        box.append(
            Delivery(len(box) + 1, self.agreement.digest, kind, tuple(messages), tuple(boxes))
        )

    def relay(self, sender: InstitutionId, kind: int, message: Signed) -> None:
        """Carry what witnesses say to each other."""
        if kind == pb.PARCEL_KIND_HEAD:
            receivers = [who for who in self.agreement.roster if who != sender]
        elif kind == pb.PARCEL_KIND_COSIGNATURE:
            receivers = [decode(Cosignature, message.body).head.institution]
        else:
            receivers = [decode(Objection, message.body).institution]
        for who in receivers:
            if who in self.ears:
                self.ears[who](Delivery(0, self.agreement.digest, kind, (message,), ()))
            else:
                self.post(who, kind, [message])

    def open_epoch(self, epoch: int) -> None:
        """Invite all to a key epoch."""
        opened = EpochOpen(
            agreement=self.agreement.digest, epoch=epoch, members=self.agreement.roster
        )
        signed = self.keys.sign(Purpose.EPOCH_OPEN, encode(opened))
        self.steps.clear()
        for who in self.agreement.roster:
            self.post(who, pb.PARCEL_KIND_EPOCH_OPEN, [signed])

    def begin_round(
        self, participants: list[InstitutionId], kind: RoundKind = RoundKind.TRAIN
    ) -> Plan:
        """Write and sign the next plan."""
        self.round += 1
        self.plan = make_plan(
            self.agreement,
            epoch=1,
            round=self.round,
            participants=participants,
            previous=self.previous,
            model=state_digest(self.state),
            nonce=os.urandom(16),
            kind=kind,
        )
        self.plans[plan_digest(self.plan)] = self.keys.sign(Purpose.PLAN, encode(self.plan))
        self.collector = Collector(self.agreement, self.plan)
        self.vectors.clear()
        self.endorsements.clear()
        return self.plan

    def ask_reveals(self) -> None:
        """Post the survivor list."""
        collector, plan = self.collector, self.plan
        signed = self.keys.sign(Purpose.SURVIVORS, encode(collector.survivors))
        listed = collector.survivors.survivors
        headers = [collector.uploads[party].signed_header for party in listed]
        uploads = [collector.uploads[party].signed_upload for party in listed]
        for who in listed:
            slot = plan.participants.index(who)
            boxes = [collector.uploads[party].boxes[slot] for party in listed]
            self.post(who, pb.PARCEL_KIND_SURVIVORS, [signed, *headers, *uploads], boxes)

    def certify(self) -> None:
        """Sum, unmask, certify and post."""
        collector, plan = self.collector, self.plan
        root = b""
        if collector.stage is Stage.SUMMING:
            width = plan.ring_width
            q = np.zeros(plan.lanes + CANARIES, np.uint32)
            z = np.zeros(1, np.uint64)
            for party in collector.survivors.survivors:
                more_q, more_z = sections(self.vectors[party], plan.lanes, width)
                q += more_q
                z += more_z
            collector.residue.masks("q").apply(q)
            collector.residue.masks("z").apply(z)
            total = bytearray(q_bytes(plan.lanes, width))
            pack(q, width, memoryview(total))
            total += z.tobytes()
            self.totals[self.round] = bytes(total)
            leaves = [
                chunks.leaf(total[k : k + chunks.CHUNK_BYTES])
                for k in range(0, len(total), chunks.CHUNK_BYTES)
            ]
            root = chunks.root(len(total), leaves)
            collector.summed()
            if plan.kind is RoundKind.TRAIN:
                self.state = next_state(
                    self.state,
                    np.ascontiguousarray(q[: plan.lanes]),
                    len(collector.survivors.survivors),
                    len(plan.participants),
                    self.agreement.aggregation,
                )
        body = collector.certificate(root)
        self.previous = certificate_digest(body)
        self.certificate = self.keys.sign(Purpose.CERTIFICATE, encode(body))
        for who in body.survivors or self.agreement.roster:
            self.post(
                who,
                pb.PARCEL_KIND_CERTIFICATE,
                [self.certificate, self.plans[plan_digest(plan)]],
            )

    def let_the_others_catch_up(self) -> None:
        """Post certificate, plan and endorsements to those who were not survivors."""
        body = self.collector.certificate(b"\0" * 32)
        for who in self.agreement.roster:
            if body.survivors and who not in body.survivors:
                plan = self.plans[plan_digest(self.plan)]
                messages = [self.certificate, plan, *self.endorsements]
                self.post(who, pb.PARCEL_KIND_CERTIFICATE, messages)
        self.endorsements.clear()


class Line:
    """What one vault has in place of its `Uplink`."""

    def __init__(self, operator: Operator, me: InstitutionId) -> None:
        self.operator, self.me = operator, me
        self.sent = self.received = 0
        self.cut = False

    def _check(self) -> None:
        if self.cut:
            raise Unreachable("the line is cut")

    def send(self, agreement: Digest, kind: int, message: Signed) -> None:
        """Take a small message."""
        self._check()
        operator = self.operator
        if kind in WITNESSES:
            operator.relay(self.me, kind, message)
        elif kind in STEPS:
            answers = operator.steps[kind]
            answers[self.me] = message
            if len(answers) == len(operator.agreement.roster):
                for who in operator.agreement.roster:
                    operator.post(who, kind, list(answers.values()))
        elif kind == pb.PARCEL_KIND_REVEAL:
            operator.reveals[self.me, operator.collector.plan.nonce.hex()].add(message.body)
            operator.collector.reveal(message)
        elif kind == pb.PARCEL_KIND_DECLINE:
            operator.collector.decline(message)
        elif kind == pb.PARCEL_KIND_ENDORSEMENT and (
            decode(Endorsement, message.body).certificate == operator.previous
        ):
            operator.endorsements.append(message)

    def fetch_plan(self, agreement: Digest, plan: Digest) -> Signed:
        """Hand out a plan."""
        self._check()
        return self.operator.plans[plan]

    def upload(self, agreement: Digest, stored: StoredUpload, file: Path) -> Signed:
        """Take a whole upload."""
        return self.take(stored, file.read_bytes())

    def take(self, stored: StoredUpload, vector: bytes) -> Signed:
        """Take a whole upload, as bytes."""
        self._check()
        operator = self.operator
        header = decode(Header, stored.header)
        operator.headers[self.me, header.plan].add(stored.header)
        leaves = [
            chunks.leaf(vector[k : k + chunks.CHUNK_BYTES])
            for k in range(0, len(vector), chunks.CHUNK_BYTES)
        ]
        if tuple(leaves) != stored.leaves:
            raise PeerError("expected the chunks that were declared")
        operator.collector.upload(
            Signed(body=stored.header, signature=stored.header_signature),
            Signed(body=stored.upload, signature=stored.upload_signature),
            stored.boxes,
        )
        operator.vectors[self.me] = vector
        from comity_common.secagg.participant import header_digest

        return operator.keys.sign(Purpose.RECEIPT, encode(Receipt(header=header_digest(header))))

    def fetch_total(self, agreement: Digest, round: int, size: int) -> bytearray:
        """Hand out a sum."""
        self._check()
        return bytearray(self.operator.totals[round])
