"""Vaults with unlike rows, and all that an adversary sees of each: its ledger and its messages.

Real are the vaults with their stores and ledgers, the masks, the DP-SGD of a head on a tiny BERT
with its noise and its Poisson batches, and the uplink with the bytes that it hands to gRPC. The
operator is in memory, and there is no network; the clock stands still, as times are outside.

    watched = Watched(path, base, lots)
    watched.play(away, mute)
    watched.told()
"""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from comity.v1 import transfer_pb2 as pb
from comity_client.compute import Compute
from comity_client.rounds import StoredUpload
from comity_client.selftest import gate
from comity_client.uplink import Uplink
from comity_client.workbench import Workbench
from comity_common import chunks
from comity_common.agreement import Agreement, PrivateEvaluation
from comity_common.canonical import encode
from comity_common.crypto.derive import digest
from comity_common.crypto.sign import Purpose
from comity_common.errors import Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.entries import Entry
from comity_common.optimizer import ModelState
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import Plan
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage
from comity_common.wire import envelope, signed
from tests.kill.world import LABELS, WORDS, Terms, terms_on

from .operator import Line, Operator
from .test_vaults import Federation, Seat

INSTITUTIONS = 5
SCORES = PrivateEvaluation(
    share=Decimal("0.2"),
    after=(1,),
    spare=1,
    units=50,
    noise_multiplier=Decimal(30),
    loss_clip=Decimal(4),
    grid=64,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as it would go to gRPC."""

    method: str
    raw: bytes
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What nobody may learn of an institution.

    Attributes:
        rows: N.
        share: of its rows, those with the first label.
        drawn: rows in its batches of the first round, in which all train: who is away in a later
            one draws less, as everybody may know.
        surplus: how many more than were to be expected, in standard deviations.
    """

    rows: int
    share: float
    drawn: int
    surplus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What everybody may see of an institution.

    Attributes:
        entries: its ledger.
        sent: its requests, in order.
        answers: to orders: the code of a refusal, or nothing.
    """

    entries: tuple[Entry, ...]
    sent: tuple[Sent, ...]
    answers: tuple[str, ...]


class Stub:
    """What stands in for gRPC: writes requests down and asks the operator in memory."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._uploads: dict[str, tuple[StoredUpload, dict[int, bytes]]] = {}
        self.sent: list[Sent] = []

    def note(self, method: str, request: Any) -> None:
        """Write a request down."""
        raw = request.SerializeToString()
        self.sent.append(Sent(method=method, raw=raw, message=request))

    def Send(self, request: Any, timeout: float) -> Any:
        """Take a small message."""
        self.note("Send", request)
        (item,) = request.envelopes
        self._line.send(Digest(request.agreement), request.kind, signed(item))
        return pb.SendReply()

    def FetchPlan(self, request: Any, timeout: float) -> Any:
        """Hand out a plan."""
        self.note("FetchPlan", request)
        return envelope(self._line.fetch_plan(request.agreement, request.plan))

    def FetchTotal(self, request: Any, timeout: float) -> Iterator[Any]:
        """Hand out a sum."""
        self.note("FetchTotal", request)
        total = self._line.fetch_total(request.agreement, request.round, 0)
        yield pb.Chunk(offset=0, data=bytes(total))

    def BeginUpload(self, request: Any, timeout: float) -> Any:
        """Take the declaration of an upload."""
        self.note("BeginUpload", request)
        stored = StoredUpload(
            header=request.header.body,
            header_signature=request.header.signature,
            upload=request.upload.body,
            upload_signature=request.upload.signature,
            boxes=tuple(request.boxes),
            leaves=tuple(request.leaves),
        )
        self._uploads[digest("header", stored.header).hex()] = stored, {}
        places = len(stored.leaves)
        return pb.UploadState(held=chunks.bitmap(places, set(range(places))))

    def put(self, chunk: Any) -> None:
        """Take a chunk."""
        self.note("PutChunks", chunk)
        self._uploads[chunk.header][1][chunk.offset] = chunk.data

    def FinishUpload(self, request: Any, timeout: float) -> Any:
        """Give the whole upload to the operator."""
        self.note("FinishUpload", request)
        stored, taken = self._uploads[request.header]
        vector = b"".join(data for _, data in sorted(taken.items()))
        return envelope(self._line.take(stored, vector))


class Overheard(Uplink):
    """The real uplink, but for the network."""

    def __init__(self, seat: Seat, operator: Operator) -> None:
        inst = seat.inst
        party = seat.agreement.operator
        super().__init__("", b"", (b"", b""), inst.recorder(party.id, party.jurisdiction))
        self.stub = Stub(Line(operator, inst.me))

    def _connect(self) -> Any:
        return self.stub

    def _send_chunks(self, header: Digest, file: Path, places: Any) -> None:
        whole = file.read_bytes()
        for place in places:
            offset = place * chunks.CHUNK_BYTES
            data = whole[offset : offset + chunks.CHUNK_BYTES]
            self.stub.put(pb.Chunk(header=header, offset=offset, data=data))


class WatchedSeat(Seat):
    """A vault that trains for real, and whose line is tapped."""

    def connect(self) -> Any:
        """Return the tapped line; the first lasts."""
        if not hasattr(self, "tapped"):
            self.tapped = Overheard(self, self.operator)
        return self.tapped

    def train_for_real(self) -> None:
        """Take a real workbench, whose batches are counted, and say that it is fit."""
        source = self.inst.data.source(self.standing.dataset)
        self.bench = Workbench(self.agreement, source, Compute(device="cpu", precision="float32"))
        sampler = self.bench._trainer._sampler
        draw, self.trained_on = sampler.draw, sampler._records
        self.batches: list[int] = []

        def counted() -> Any:
            batch = draw()
            self.batches.append(len(batch))
            return batch

        sampler.draw = counted
        gate.passes(self.inst, self.agreement.digest, Untried)
        self.wake()

    def truth(self, rows: int, share: float) -> Truth:
        """Tell what nobody may learn."""
        training = self.agreement.training
        q, steps = float(training.sampling_probability), training.local_steps
        drawn, tried = sum(self.batches[:steps]), self.trained_on * steps
        surplus = (drawn - tried * q) / (math.sqrt(tried * q * (1 - q)) or 1.0)
        return Truth(rows=rows, share=share, drawn=drawn, surplus=surplus)

    def shared(self, answers: list[str]) -> Shared:
        """Tell what everybody may see."""
        entries = tuple(self.inst.ledger.entries())
        return Shared(entries=entries, sent=tuple(self.tapped.stub.sent), answers=tuple(answers))


class Untried:
    """A self-test that was left out."""

    tests, failed = ("left-out",), ()


class Watched(Federation):
    """Vaults with unlike rows.

    Args:
        lots: by institution, how many rows it has and which share of them has the first label.
    """

    seat = WatchedSeat

    def __init__(
        self, path: Path, base: Path, lots: dict[InstitutionId, tuple[int, float]]
    ) -> None:
        self.lots = lots
        chance = random.Random(repr(lots))
        super().__init__(
            path,
            n=INSTITUTIONS,
            rounds=2,
            terms=scored(terms_on(base)),
            rows=lambda id: rows_of(*lots[id], chance),
        )
        for seat in self.seats.values():
            seat.train_for_real()
        self.answers: dict[InstitutionId, list[str]] = {id: [] for id in lots}
        self.set_up_keys()

    def play(self, away: InstitutionId, mute: InstitutionId) -> None:
        """Train, score and train again; then try to have a plan accepted that nobody may accept.

        Args:
            away: is gone in the second round of training.
            mute: is gone after the upload in the first.
        """
        roster = list(self.agreement.roster)
        self._round(RoundKind.TRAIN, roster, [id for id in roster if id != mute])
        self._round(RoundKind.EVALUATE, roster, roster)
        present = [id for id in roster if id != away]
        self._round(RoundKind.TRAIN, present, present)
        self._offer_what_nobody_may_accept()

    def _round(
        self, kind: RoundKind, uploading: list[InstitutionId], revealing: list[InstitutionId]
    ) -> None:
        plan = self.operator.begin_round(list(self.agreement.roster), kind)
        self._order(plan, uploading)
        for id in uploading:
            self.seats[id].work()
        self.finish(revealing)
        assert self.operator.collector.stage is Stage.CERTIFIED
        for seat in self.seats.values():
            seat.work()

    def _order(self, plan: Plan, who: list[InstitutionId]) -> None:
        refused = self.order(plan, who)
        for id in who:
            self.answers[id].append(refused.get(id, ""))

    def _offer_what_nobody_may_accept(self) -> None:
        """Order a plan with too little noise, which is declined, and an old round, refused."""
        roster = list(self.agreement.roster)
        plan = self.operator.begin_round(roster)
        greedy = replace(plan, noise_multiplier=Decimal("0.001"))
        by_operator = self.operator.keys.sign(Purpose.PLAN, encode(greedy))
        self.operator.plans[plan_digest(greedy)] = by_operator
        self._order(greedy, roster)
        for seat in self.seats.values():
            seat.work()
        self._order(replace(plan, round=1), roster)
        for seat in self.seats.values():
            refusal = Refusal(RefusalCode.STALE_ROUND, "expected a newer round")
            with seat.inst.store.transaction() as tx:  # as the daemon notes it
                seat.inst.note_refusal(tx, refusal, Digest(""), None)
        assert {tuple(given[-2:]) for given in self.answers.values()} == {("", "stale-round")}

    def told(self) -> list[tuple[Shared, Truth]]:
        """Return what is seen of each institution, and what is not."""
        return [
            (seat.shared(self.answers[id]), seat.truth(*self.lots[id]))
            for id, seat in self.seats.items()
        ]


def scored(terms: Terms) -> Terms:
    """Let the model be scored on private rows as well."""

    def also(draft: Agreement) -> tuple[Agreement, ModelState]:
        return terms(replace(draft, private_evaluation=SCORES))

    return also


def rows_of(count: int, share: float, chance: random.Random) -> str:
    """Write rows of unlike lengths, a share of them with the first label."""
    labels = [LABELS[0]] * round(count * share)
    labels += [chance.choice(LABELS[1:]) for _ in range(count - len(labels))]
    lines = []
    for label in labels:
        text = " ".join(chance.choices(WORDS, k=chance.randint(1, 20)))
        lines.append(json.dumps({"text": text, "label": label}) + "\n")
    return "".join(lines)
