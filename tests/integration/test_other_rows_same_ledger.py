"""One agreement, one vault, other rows: what it shares is the same, byte for byte under a mask.

Three real daemons train a real BERT over gRPC. The homes are put back to where nobody had signed
yet, one vault gets other rows, and all is done once more: a key epoch, a round, and two orders that
are refused. Then its ledger is held against the one of the first run, every field but those that
are random or a time (`comity_common.ledger.tags`), and so is what arrived from it.

Two threads of a vault write to its ledger: the worker, and the one that hears the mailbox and
cosigns what others ask for while the worker trains. Each writes in an order of its own, how they
interleave is up to the scheduler, also between two runs over the same rows. So the worker's entries
are compared in their order, and the others as a bag. Interleaving moves the numbers of entries that
heads and cosignatures speak of, and so their sizes; that these follow from the numbers is checked.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.integration.loopback import LABELS, WORDS, Federation, Listener, Request, until, untried
from tests.masked import Mask, masked
from tests.simulation.guessing import SIGNED

import comity_client.daemon
import comity_client.witnesses
from comity.v1 import transfer_pb2 as pb
from comity_client.daemon import Works
from comity_client.institution import Institution
from comity_client.training.sampler import PoissonSampler
from comity_common.agreement import TaskKind
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed
from comity_common.dp.terms import Guarantee
from comity_common.errors import Problem
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import DatasetId, DatasetRegister, Egress, Refused
from comity_common.ledger.entries import Entry, check_order
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import HeadRequest
from comity_common.secagg.messages import (
    Header,
    Upload,
)
from comity_common.secagg.plan import plan_digest
from comity_common.tuning import Tune
from comity_common.wire import parcel

A, *OTHERS = (InstitutionId(f"inst-0{k}") for k in range(3))
HEARING = ("follow", "parcel_kind_cosignature")
"""What the thread that hears the mailbox sends."""

Rows = list[tuple[str, str]]


def rows(count: int, words: int = 6, labels: Iterable[str] = LABELS) -> Rows:
    """Write rows of some words each, the labels in turn."""
    made = []
    for k, label in zip(range(count), cycle(labels), strict=False):
        text = " ".join(WORDS[(5 * k + j) % len(WORDS)] for j in range(words))
        made.append((f"{text} {k}", label))
    return made


USUAL = rows(40)
ODD: Rows = [
    ("NaN", "card"),
    ("🜂", "loan"),
    ("\u200b\u0301x", "fraud"),
    (" ".join(WORDS * 200), "card"),  # cut where the agreement says
    ("x" * 5000, "loan"),
]
OTHER_ROWS = {
    "the same rows": USUAL,
    "one row more": [*USUAL, ("velvet canyon", "fraud")],
    "odd rows": USUAL + ODD,
    "a missing class, short texts": rows(40, words=1, labels=LABELS[:2]),
    "nearly one class alone, long texts": rows(38, words=60, labels=LABELS[2:]) + USUAL[:2],
    "ten times the rows": rows(400),
    "one row and empty batches": USUAL[:1],
}


@dataclass(frozen=True, slots=True)
class Told:
    """What one run shared.

    Attributes:
        entries: of the vault's ledger.
        requests: as they arrived from it.
        batches: how many rows each step drew: what nobody may learn.
    """

    entries: list[Entry]
    requests: list[Request]
    batches: list[int]


class Retold(Federation):
    """A federation whose agreement can be signed again, as if for the first time."""

    own: Rows = USUAL
    before: Rows | None = None
    """Rows that are registered first, and removed again: an erasure makes them the own ones."""

    def begin(self, rows: dict[InstitutionId, list[str]]) -> None:
        """Put all homes back to where they were founded, and let all register and sign."""
        founded = self.path / "founded"
        for id, part in self.parts.items():
            if founded.exists() and (founded / id).exists():
                part.store.reading().close()
                shutil.rmtree(self.path / id)
                shutil.copytree(founded / id, self.path / id)
                self.parts[id] = Institution(self.path / id)
            else:
                shutil.copytree(self.path / id, founded / id)
        for listener in self.listeners.values():
            listener.requests.clear()
        super().begin(rows)

    def register(
        self, part: Institution, rows: Iterable[tuple[str, str]], ceiling: Guarantee, name: str = ""
    ) -> DatasetId:
        """Register rows; of the one vault, those that this run is about."""
        if part.me != A:
            return super().register(part, rows, ceiling)
        if self.before is not None:
            super().register(part, self.before, ceiling, "before")
            part.data.remove("before")
        return super().register(part, self.own, ceiling)

    def tell(self, own: Rows, before: Rows | None = None) -> Told:
        """Let all begin anew, the one vault with these rows, and take them through a round."""
        self.own, self.before = own, before
        self.begin({id: [" ".join(WORDS[:5])] * 9 for id in self.parts})
        batches: list[int] = []
        try:
            with pytest.MonkeyPatch.context() as patch:
                draw = PoissonSampler.draw

                def counted(self: PoissonSampler) -> Any:
                    drawn = draw(self)
                    if self._records == len(own):
                        batches.append(len(drawn))
                    return drawn

                patch.setattr(PoissonSampler, "draw", counted)
                self._take_part()
        finally:
            self.stop()
        return Told(self.parts[A].ledger.entries(), list(self.listeners[A].requests), batches)

    def _take_part(self) -> None:
        mine = self.listeners[A]

        def once_connected(*about: Any) -> Works:
            """Load model and rows when the mailbox is open: which comes first is up to clocks."""
            until("the mailbox", lambda: self.heard(mine, "Follow") > 0)
            return untried(*about)

        self.start(A, set_up=once_connected)
        self.is_ready(mine)  # before others say anything: a mailbox is followed from some place on
        for id in OTHERS:
            self.start(id)
        self.set_up_keys()
        self.run_round()
        self._order_what_nobody_may_accept()
        until("all heads", lambda: self._cosigned(mine) == self._asked() >= 3 * len(OTHERS))

    def _order_what_nobody_may_accept(self) -> None:
        plan = self.operator.begin_round(list(self.agreement.roster))
        greedy = replace(plan, noise_multiplier=Decimal("0.001"))
        signed = self.operator.keys.sign(Purpose.PLAN, encode(greedy))
        self.operator.plans[plan_digest(greedy)] = signed
        assert self.order(A, greedy)["accepted"]
        declined = pb.PARCEL_KIND_DECLINE
        until("the refusal", lambda: declined in map(kind, self.listeners[A].requests))
        assert self.order(A, replace(plan, round=1000))["code"] == "plan"

    def _cosigned(self, mine: Listener) -> int:
        return [kind(request) for request in mine.requests].count(pb.PARCEL_KIND_COSIGNATURE)

    def _asked(self) -> int:
        return [one.kind for one in self.operator.mail[A]].count(pb.PARCEL_KIND_HEAD)


def kind(request: Request) -> int:
    """Return the kind of a small message; 0 for any other request."""
    return int(request.message.kind) if request.method == "Send" else 0


@pytest.fixture(scope="module")
def retold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retold]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comity_client.daemon, "IDLE_S", 0.02)
        patch.setattr(comity_client.daemon, "BACKOFF_S", (0.02, 0.5))
        patch.setattr(comity_client.witnesses, "AGAIN_S", 1e9)  # nothing is lost here
        rows = {id: ["zebra"] for id in (A, *OTHERS)}
        made = Retold(tmp_path_factory.mktemp("t"), rows, Tune.LORA)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def usual(retold: Retold) -> Told:
    return retold.tell(USUAL)


def by_worker(entries: list[Entry]) -> list[bytes]:
    """Return the worker's entries, masked; those about heads without their size."""
    kept = [entry for entry in entries if not is_heard(entry)]
    return [encode(without_size(entry)) for entry in masked(kept)]


def beside(entries: list[Entry]) -> Counter[bytes]:
    """Return the entries of the thread that hears, masked; cosignatures without their size."""
    heard = [
        replace(without_size(entry), sequence=0) for entry in masked(filter(is_heard, entries))
    ]
    blank = [replace(entry, body=replace(entry.body, digest="0" * 64)) for entry in heard]
    return Counter(map(encode, blank))


def is_heard(entry: Entry) -> bool:
    return isinstance(entry.body, Egress) and entry.body.message in HEARING


def without_size(entry: Entry) -> Entry:
    """Take out the size of what speaks of numbers of entries; see the test of them."""
    body = entry.body
    if isinstance(body, Egress) and body.message in ("parcel_kind_head", "parcel_kind_cosignature"):
        return replace(entry, body=replace(body, size_bytes=0))
    return entry


def crossed(told: Told) -> list[Any]:
    """Return what the worker sent, in order, masked, with its exact size; heads without theirs."""
    mask, sent = Mask(), []
    for request in told.requests:
        message, name = request.message, kind(request)
        if request.method == "Follow" or name == pb.PARCEL_KIND_COSIGNATURE:
            continue
        if name == pb.PARCEL_KIND_HEAD:
            sent.append(HeadRequest)
        elif name:
            (item,) = message.envelopes
            sent.append((len(request.raw), mask(decode(SIGNED[name], item.body))))
        elif request.method == "BeginUpload":
            header = mask(decode(Header, message.header.body))
            upload = mask(decode(Upload, message.upload.body))
            boxes = list(map(len, message.boxes))
            sent.append((len(request.raw), header, upload, boxes, len(message.leaves)))
        else:
            sent.append((request.method, len(request.raw)))
    return sent


@pytest.mark.parametrize("which", OTHER_ROWS)
def test_over_other_rows_a_vault_shares_the_same_bytes(
    retold: Retold, usual: Told, which: str
) -> None:
    told = retold.tell(OTHER_ROWS[which])
    check_order(told.entries)
    assert len(told.entries) == len(usual.entries)
    assert by_worker(told.entries) == by_worker(usual.entries)
    assert beside(told.entries) == beside(usual.entries)
    assert crossed(told) == crossed(usual)
    check_sizes(told)
    if "empty" in which:
        assert 0 in told.batches


def test_an_erasure_adds_a_registration_and_says_nothing_of_what_was_erased(
    retold: Retold, usual: Told
) -> None:
    one, most = (retold.tell(USUAL[:left], before=USUAL) for left in (len(USUAL) - 1, 2))
    assert by_worker(one.entries) == by_worker(most.entries)
    assert beside(one.entries) == beside(most.entries)
    assert crossed(one) == crossed(most) == crossed(usual)
    registered = [entry for entry in one.entries if isinstance(entry.body, DatasetRegister)]
    assert len(registered) == 2
    others = [entry for entry in one.entries if entry != registered[0]]
    assert by_worker(others) == by_worker(usual.entries)


def test_the_runs_had_all_that_a_vault_says_in_a_round(usual: Told) -> None:
    bodies = [entry.body for entry in usual.entries]
    refused = [body.code for body in bodies if isinstance(body, Refused)]
    assert refused == ["plan", "plan"]
    assert {kind(request) for request in usual.requests} == {0, *SIGNED}
    assert len(usual.batches) == 2


def check_sizes(told: Told) -> None:
    """Check that heads and cosignatures are as long as the numbers in them make them."""
    asked: list[int] = []
    for request in told.requests:
        if kind(request) not in (pb.PARCEL_KIND_HEAD, pb.PARCEL_KIND_COSIGNATURE):
            continue
        (item,) = request.message.envelopes
        message = decode(SIGNED[kind(request)], item.body)
        if isinstance(message, HeadRequest):
            own = message.head.size
            assert {growth.size for growth in message.growths} <= set(asked)
            assert own <= len(told.entries)
            asked.append(own)
            tree = Tree()
            for _ in range(own):
                tree.append(b"any")
            for growth in message.growths:
                assert len(growth.path) == len(tree.consistency(growth.size, own))
        like = Signed(body=encode(Mask()(message)), signature=bytes(len(item.signature)))
        made = parcel(request.message.agreement, request.message.kind, [like])
        assert made.ByteSize() == len(request.raw)


@pytest.mark.parametrize(
    "line",
    [
        '{"text": NaN, "label": "card"}',
        '{"text": "   ", "label": "card"}',
        '{"text": null, "label": "card"}',
        '{"label": "card"}',
        "{",
    ],
)
def test_rows_that_cannot_be_are_told_at_home_and_not_on_the_ledger(
    retold: Retold, tmp_path: Path, line: str
) -> None:
    part = retold.parts[A]
    before = part.ledger.entries()
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(json.dumps({"text": t, "label": one}) + "\n" for t, one in USUAL) + line
    )
    ceiling = Guarantee(epsilon=Decimal(8), delta=Decimal("0.00001"))
    with pytest.raises(Problem, match="line 41"):
        part.data.register(file, name="odd", task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=ceiling)
    assert part.ledger.entries() == before


def test_a_ledger_that_said_more_of_its_rows_would_be_found(usual: Told) -> None:
    """The comparison can fail: a byte more, a size, a kind, an order, a digest that comes again."""
    entries = usual.entries
    (at,) = [k for k, entry in enumerate(entries) if getattr(entry.body, "message", "") == "upload"]
    body = entries[at].body
    fetched = next(e.body for e in entries if getattr(e.body, "message", "") == "fetch-plan")
    for other in (
        replace(body, size_bytes=body.size_bytes + 1),
        replace(body, purpose="federated-evaluation"),
        replace(body, digest=fetched.digest),
    ):
        leaking = [*entries[:at], replace(entries[at], body=other), *entries[at + 1 :]]
        assert by_worker(leaking) != by_worker(entries)
    swapped = [*entries[: at - 1], entries[at], entries[at - 1], *entries[at + 1 :]]
    assert by_worker(swapped) != by_worker(entries)
    assert by_worker([*entries, entries[at]]) != by_worker(entries)
