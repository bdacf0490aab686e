"""What a vault refuses: with the right code, before a reserve, before any noise.

Real vaults and an operator in memory, who holds the keys that sign plans and may write what it
likes into them.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulation.operator import Line
from tests.simulation.test_vaults import NOW, Crash, Federation, Seat

from comity.v1 import transfer_pb2 as pb
from comity_client.intake import order_answer
from comity_client.uplink import Delivery
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError, Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import (
    BudgetCharge,
    BudgetReserve,
    Egress,
    Outcome,
    Refused,
    RoundJoin,
    Traffic,
)
from comity_common.mechanisms import schedule_event, spending_of
from comity_common.secagg.collector import Collector
from comity_common.secagg.messages import Deadline, Decline, EpochOpen, Plan, Receipt, Survivors
from comity_common.secagg.plan import make_plan, plan_digest
from comity_common.secagg.round import Phase

ROUNDS = 200


class Bench:
    """A federation of three whose first vault is asked for many rounds."""

    def __init__(self, path: Path, rounds: int = ROUNDS) -> None:
        self.federation = Federation(path, n=3, rounds=rounds, spare=0)
        self.federation.set_up_keys()
        self.agreement = self.federation.agreement
        self.operator = self.federation.operator
        self.seat: Seat = self.federation.seats[self.agreement.roster[0]]
        self.number = 0

    def plan(self, **changes: Any) -> Plan:
        """Write the next round's plan, true but for the changes."""
        self.number += 1
        plan = make_plan(
            self.agreement,
            epoch=1,
            round=self.number,
            participants=self.agreement.roster,
            previous=self.agreement.digest,
            model=self.agreement.model.initial_state,
            nonce=bytes(16),
        )
        return replace(plan, **changes)

    def publish(self, plan: Plan, signed: Signed | None = None) -> Plan:
        """Let the operator have a plan to hand out."""
        signed = signed or self.operator.keys.sign(Purpose.PLAN, encode(plan))
        self.operator.plans[plan_digest(plan)] = signed
        self.operator.collector = Collector(self.agreement, plan)
        return plan

    def order(self, plan: Plan, number: int | None = None) -> None:
        self.seat.vault.accept_order(self.agreement.digest, number or plan.round, plan_digest(plan))

    def phase(self, number: int | None = None) -> Phase:
        round = self.seat.inst.rounds.get(self.agreement.digest, number or self.number)
        assert round is not None
        return round.phase

    def bodies(self, kind: type) -> list[Any]:
        return self.seat.entries(kind)

    def go(self) -> None:
        while self.seat.vault.go_on():
            pass

    def waiting(self) -> list[Decline]:
        """Decode the declines that wait to be sent."""
        return [
            decode(Decline, item.message.body)
            for item in self.seat.inst.outbox.waiting()
            if item.kind == pb.PARCEL_KIND_DECLINE
        ]

    def spent(self) -> tuple[int, int, int, list[Path]]:
        """What must not move when a round is refused."""
        return (
            len(self.bodies(BudgetReserve)),
            len(self.bodies(RoundJoin)),
            self.seat.bench.trained,
            list(self.seat.inst.home.outbox.iterdir()),
        )

    def refuse(self, plan: Plan, code: RefusalCode) -> None:
        """Order a round and check that it is declined with a code, at no cost."""
        number, before = self.number, self.spent()
        refusals, declines = len(self.bodies(Refused)), len(self.waiting())
        chains = self.chains()
        self.order(plan, number)
        self.go()
        assert self.spent() == before
        assert self.chains() == chains
        assert self.phase(number) is Phase.CLOSED
        assert self.bodies(Refused)[refusals:] == [
            Refused(code=code, agreement=self.agreement.digest, round=number)
        ]
        (decline,) = self.waiting()[declines:]
        assert decline == Decline(
            agreement=self.agreement.digest,
            round=number,
            plan=plan_digest(plan),
            institution=self.seat.inst.me,
            code=code,
        )

    def chains(self) -> list[tuple[Any, ...]]:
        return [tuple(r) for r in self.seat.inst.store.reading().execute("select * from chains")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("vault"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, rounds=4)


@pytest.fixture
def later() -> Iterator[Callable[[Bench, datetime], None]]:
    """Turn a bench's clock, until the test is over."""
    turned: list[Bench] = []

    def turn(bench: Bench, to: datetime) -> None:
        turned.append(bench)
        bench.seat.inst.clock = lambda: to

    yield turn
    for bench in turned:
        bench.seat.inst.clock = lambda: NOW


# the plan, field by field

IDS = tuple(InstitutionId(f"inst-0{k}") for k in range(3))
CHANGES: list[tuple[str, Any, RefusalCode]] = [
    ("agreement", Digest("0" * 64), RefusalCode.PLAN),
    ("epoch", 2, RefusalCode.STALE_ROUND),
    ("epoch", 0, RefusalCode.STALE_ROUND),
    ("round", 1, RefusalCode.PLAN),
    ("round", ROUNDS, RefusalCode.PLAN),
    ("round", ROUNDS + 1, RefusalCode.PLAN),
    ("participants", IDS[::-1], RefusalCode.PLAN),
    ("participants", (*IDS, IDS[2]), RefusalCode.PLAN),
    ("participants", (*IDS, InstitutionId("stranger")), RefusalCode.PLAN),
    ("participants", IDS[:2], RefusalCode.PLAN),
    ("participants", IDS[1:], RefusalCode.PLAN),
    ("participants", IDS[:1], RefusalCode.PLAN),
    ("participants", (), RefusalCode.PLAN),
    ("previous", Digest("0" * 64), RefusalCode.BEHIND),
    ("model", Digest("0" * 64), RefusalCode.BEHIND),
    ("nonce", b"", RefusalCode.PLAN),
    ("nonce", bytes(17), RefusalCode.PLAN),
    ("kind", "evaluate", RefusalCode.PLAN),
    ("kind", "", RefusalCode.PLAN),
    ("threshold", 2, RefusalCode.PLAN),
    ("threshold", 0, RefusalCode.PLAN),
    ("minimum", 2, RefusalCode.PLAN),
    ("ring_width", 24, RefusalCode.PLAN),
    ("ring_width", 64, RefusalCode.PLAN),
    ("lanes", 39, RefusalCode.PLAN),
    ("lanes", 41, RefusalCode.PLAN),
    ("lanes", 0, RefusalCode.PLAN),
    ("lane_bound", 1, RefusalCode.PLAN),
    ("lane_bound", 2**31 - 1, RefusalCode.PLAN),
    ("range", Decimal("1.01"), RefusalCode.PLAN),
    ("range", Decimal(0), RefusalCode.PLAN),
    ("sampling_probability", Decimal("0.2"), RefusalCode.PLAN),
    ("sampling_probability", Decimal(1), RefusalCode.PLAN),
    ("noise_multiplier", Decimal("0.5"), RefusalCode.PLAN),
    ("noise_multiplier", Decimal(0), RefusalCode.PLAN),
    ("clip_norm", Decimal(2), RefusalCode.PLAN),
    ("steps", 6, RefusalCode.PLAN),
    ("steps", 4, RefusalCode.PLAN),
    ("steps", 0, RefusalCode.PLAN),
]


@pytest.mark.parametrize(("field", "value", "code"), CHANGES)
def test_a_plan_with_one_field_changed_is_declined_at_no_cost(
    shared: Bench, field: str, value: Any, code: RefusalCode
) -> None:
    if field == "round" and value == 1:
        shared.plan()  # so that it is another round than the one that is ordered
    shared.refuse(shared.publish(shared.plan(**{field: value})), code)


def test_every_field_of_a_plan_was_changed() -> None:
    assert {field for field, _, _ in CHANGES} == {item.name for item in fields(Plan)}


def test_the_true_plan_with_any_nonce_is_accepted(bench: Bench) -> None:
    plan = bench.publish(bench.plan(nonce=b"any sixteen byte"))
    bench.order(plan)
    bench.go()
    assert bench.phase() is Phase.UPLOADED
    assert bench.seat.bench.trained == 1


@pytest.mark.parametrize(
    "forge",
    [
        lambda b, raw: SigningKeys.generate().sign(Purpose.PLAN, raw),
        lambda b, raw: b.seat.inst.keys.signing.sign(Purpose.PLAN, raw),
        lambda b, raw: b.operator.keys.sign(Purpose.CERTIFICATE, raw),
        lambda b, raw: Signed(body=raw, signature=b""),
        lambda b, raw: b.operator.keys.sign(Purpose.PLAN, raw + b"\n"),
        lambda b, raw: b.operator.keys.sign(Purpose.PLAN, b"{}"),
        lambda b, raw: b.operator.keys.sign(Purpose.PLAN, raw.replace(b":5,", b":5.0,")),
        lambda b, raw: b.operator.keys.sign(Purpose.PLAN, encode(b.plan())),
    ],
    ids=[
        "a stranger's", "my own", "a certificate's", "none", "not canonical", "nothing", "a float",
        "another plan",
    ],
)  # fmt: skip
def test_a_plan_that_is_not_the_operators_or_not_the_ordered_one_is_declined(
    shared: Bench, forge: Callable[[Bench, bytes], Signed]
) -> None:
    plan = shared.plan()
    shared.publish(plan, forge(shared, encode(plan)))
    shared.number = plan.round
    shared.refuse(plan, RefusalCode.PLAN)
    shared.number += 1


# orders


def refused(bench: Bench, *order: Any) -> RefusalCode:
    """Bring an order that must be refused at once and change nothing."""
    before = bench.spent()
    rows = bench.seat.inst.store.reading().execute("select * from rounds").fetchall()
    with pytest.raises(Refusal) as refusal:
        bench.seat.vault.accept_order(*order)
    assert bench.spent() == before
    assert bench.seat.inst.store.reading().execute("select * from rounds").fetchall() == rows
    return refusal.value.code


def test_an_order_of_an_unknown_agreement_is_refused(shared: Bench) -> None:
    plan = plan_digest(shared.plan())
    assert refused(shared, Digest("0" * 64), 1, plan) is RefusalCode.UNKNOWN_AGREEMENT


@pytest.mark.parametrize("number", [ROUNDS + 1, 10**6, 2**53, 2**63 - 1])
def test_an_order_beyond_the_schedule_is_refused(shared: Bench, number: int) -> None:
    order = (shared.agreement.digest, number, Digest("1" * 64))
    assert refused(shared, *order) is RefusalCode.PLAN


@pytest.mark.parametrize("number", [0, -1, -(2**62)])
def test_an_order_of_no_round_is_refused(shared: Bench, number: int) -> None:
    order = (shared.agreement.digest, number, Digest("1" * 64))
    assert refused(shared, *order) in (RefusalCode.PLAN, RefusalCode.STALE_ROUND)


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**300])
def test_a_number_that_no_database_holds_is_refused_like_any_other(
    shared: Bench, number: int
) -> None:
    answer = order_answer(shared.seat.vault.accept_order, lambda refusal: None)
    question = {"agreement": shared.agreement.digest, "round": number, "plan": "1" * 64}
    assert answer(question)["accepted"] is False


def test_an_order_that_is_not_newer_than_the_last_is_stale(shared: Bench) -> None:
    plan = shared.publish(shared.plan(steps=1))
    shared.refuse(plan, RefusalCode.PLAN)
    for number in (plan.round, plan.round - 1):
        order = (shared.agreement.digest, number, Digest("1" * 64))
        assert refused(shared, *order) is RefusalCode.STALE_ROUND


def test_the_same_order_again_is_the_same_answer_and_the_same_round(bench: Bench) -> None:
    plan = bench.publish(bench.plan())
    for _ in range(3):
        bench.order(plan)
    bench.go()
    for _ in range(3):
        bench.order(plan)
        bench.go()
    bench.seat.wake()
    bench.order(plan)
    bench.go()
    assert bench.seat.bench.trained == len(bench.bodies(BudgetReserve)) == 1
    assert len(bench.bodies(RoundJoin)) == 1
    mechanisms = [e for e in bench.bodies(Egress) if e.traffic is Traffic.MECHANISM]
    assert len(mechanisms) == 1
    assert {len(sent) for sent in bench.operator.headers.values()} == {1}
    assert bench.phase() is Phase.UPLOADED


def test_an_extended_deadline_is_kept_and_shown_while_the_upload_is_due(bench: Bench) -> None:
    plan = bench.publish(bench.plan())
    bench.order(plan)
    before = bench.spent()

    def told(until: int, **changes: Any) -> Signed:
        deadline = replace(Deadline(plan=plan_digest(plan), until=until), **changes)
        return bench.operator.keys.sign(Purpose.DEADLINE, encode(deadline))

    assert bench.seat.vault.upload_until() is None
    for wrong in (
        bench.seat.inst.keys.signing.sign(Purpose.DEADLINE, told(9).body),
        bench.operator.keys.sign(Purpose.PLAN, told(9).body),
        told(9, plan=Digest("1" * 64)),
        told(0),
        told(2**52),
    ):
        with pytest.raises(PeerError):
            bench.seat.vault.note_deadline((wrong,))
    assert bench.seat.vault.upload_until() is None
    bench.seat.vault.note_deadline((told(2000),))
    bench.seat.vault.note_deadline((told(1000),))  # came late
    bench.seat.wake()
    assert bench.seat.vault.upload_until() == 2000
    assert (bench.phase(), bench.spent()) == (Phase.ORDERED, before)
    bench.go()
    assert bench.phase() is Phase.UPLOADED
    assert bench.seat.vault.upload_until() is None


def test_another_plan_for_a_round_that_is_at_work_is_refused(bench: Bench) -> None:
    plan = bench.publish(bench.plan())
    bench.order(plan)
    other = bench.publish(replace(plan, nonce=b"another sixteen!"))
    order = (bench.agreement.digest, plan.round, plan_digest(other))
    assert refused(bench, *order) is RefusalCode.STALE_ROUND
    bench.go()
    assert refused(bench, *order) is RefusalCode.STALE_ROUND
    assert bench.seat.bench.trained == 1


# expiry, policy, budget

AFTER = datetime(2100, 1, 1, tzinfo=UTC)


def test_no_order_is_accepted_after_the_last_day(
    shared: Bench, later: Callable[[Bench, datetime], None]
) -> None:
    plan = shared.plan()
    order = (shared.agreement.digest, plan.round, plan_digest(plan))
    later(shared, AFTER)
    assert refused(shared, *order) is RefusalCode.AGREEMENT_EXPIRED


def test_an_order_that_waited_until_the_agreement_ended_is_declined(
    bench: Bench, later: Callable[[Bench, datetime], None]
) -> None:
    """The operator was away between the order and its plan."""
    plan = bench.publish(bench.plan())
    bench.order(plan)
    later(bench, AFTER)
    before = bench.spent()
    bench.go()
    assert [decline.code for decline in bench.waiting()] == [RefusalCode.AGREEMENT_EXPIRED]
    assert bench.spent() == before


def test_a_policy_that_has_become_stricter_refuses_orders(bench: Bench) -> None:
    bench.seat.inst.home.policy.write_text("epsilon = 1")
    bench.seat.wake()
    plan = bench.plan()
    order = (bench.agreement.digest, plan.round, plan_digest(plan))
    assert refused(bench, *order) is RefusalCode.POLICY


def spend_all(bench: Bench) -> None:
    """Spend the whole ceiling under other agreements."""
    inst = bench.seat.inst
    dataset = inst.agreements.get(bench.agreement.digest).dataset
    terms = spending_of(bench.agreement)
    (grant,) = inst.ledger.budget().grants(dataset)
    for k in range(bench.agreement.schedule.attempts):
        with inst.store.transaction() as tx:
            inst.ledger.append(
                tx,
                BudgetReserve(
                    dataset=dataset,
                    grant=grant.grant,
                    nonce=bytes([k]) * 16,
                    agreement=Digest("9" * 64),
                    epoch=1,
                    round=k + 1,
                    unit=terms.unit,
                    event=schedule_event(bench.agreement, 1),
                    schedule=terms.schedule,
                    guarantee=terms.guarantee,
                ),
            )


def test_an_exhausted_budget_refuses_orders(bench: Bench) -> None:
    spend_all(bench)
    plan = bench.plan()
    order = (bench.agreement.digest, plan.round, plan_digest(plan))
    assert refused(bench, *order) is RefusalCode.BUDGET


def test_a_budget_that_was_exhausted_after_the_order_declines_the_round(bench: Bench) -> None:
    plan = bench.publish(bench.plan())
    bench.order(plan)
    spend_all(bench)
    before = bench.spent()
    bench.go()
    assert bench.spent() == before
    assert [decline.code for decline in bench.waiting()] == [RefusalCode.BUDGET]
    assert bench.bodies(Refused)[-1].code is RefusalCode.BUDGET


def test_the_last_round_that_fits_is_allowed_and_the_next_is_not(bench: Bench) -> None:
    for _ in range(bench.agreement.schedule.attempts):
        bench.order(bench.publish(bench.plan()))
        bench.go()
    assert bench.seat.bench.trained == bench.agreement.schedule.attempts
    dataset = bench.bodies(BudgetReserve)[0].dataset
    assert bench.seat.inst.ledger.budget().share(dataset) <= 1
    with pytest.raises(Refusal):
        bench.seat.inst.ledger.budget().check(
            dataset, spending_of(bench.agreement), schedule_event(bench.agreement, 1)
        )


def test_a_vault_without_a_key_epoch_declines(tmp_path: Path) -> None:
    federation = Federation(tmp_path, n=3)
    seat = federation.seats[federation.agreement.roster[0]]
    plan = federation.operator.begin_round(list(federation.agreement.roster))
    assert federation.order(plan, [seat.inst.me]) == {}
    seat.work()
    assert seat.entries(Refused)[-1].code is RefusalCode.STALE_ROUND
    assert seat.bench.trained == len(seat.entries(BudgetReserve)) == 0


# what was reserved is spent


@pytest.mark.parametrize("error", [MemoryError, RuntimeError("CUDA"), ValueError])
def test_training_that_fails_forfeits_its_reserve_and_declines(
    bench: Bench, error: BaseException
) -> None:
    def fail(start: Any, moments: Any, on_step: Any) -> Any:
        raise error

    bench.seat.bench.train = fail  # type: ignore[method-assign]
    check_forfeited(bench)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_delta_that_is_not_finite_forfeits_its_reserve_and_declines(
    bench: Bench, value: float
) -> None:
    train = bench.seat.bench.train

    def spoil(start: Any, moments: Any, on_step: Any) -> Any:
        delta, after = train(start, moments, on_step)
        delta[3] = value
        return delta, after

    bench.seat.bench.train = spoil  # type: ignore[method-assign]
    check_forfeited(bench)


def check_forfeited(bench: Bench) -> None:
    bench.order(bench.publish(bench.plan()))
    bench.go()  # a worker that died here would take the whole vault with it
    (reserve,) = bench.bodies(BudgetReserve)
    (charge,) = bench.bodies(BudgetCharge)
    assert charge == BudgetCharge(
        nonce=reserve.nonce, outcome=Outcome.FORFEITED, released=Digest("")
    )
    assert [decline.code for decline in bench.waiting()] == [RefusalCode.UNAVAILABLE]
    assert bench.phase() is Phase.CLOSED
    assert bench.seat.inst.models.load_moments(bench.agreement.digest) is None
    assert list(bench.seat.inst.home.outbox.iterdir()) == []


def test_a_vault_that_slept_through_999_rounds_can_join_the_last(tmp_path: Path) -> None:
    bench = Bench(tmp_path, rounds=1000)
    bench.number = 999
    bench.order(bench.publish(bench.plan()))
    bench.go()
    assert bench.phase(1000) is Phase.UPLOADED


# receipts


class ForgedReceipts(Line):
    """An operator whose receipts are not to be believed."""

    def __init__(self, line: Line, forge: Callable[[Bench, Signed], Signed], bench: Bench) -> None:
        super().__init__(line.operator, line.me)
        self.forge, self.bench, self.uploads = forge, bench, 0

    def upload(self, *arguments: Any) -> Signed:
        self.uploads += 1
        return self.forge(self.bench, super().upload(*arguments))


@pytest.mark.parametrize(
    "forge",
    [
        lambda b, true: SigningKeys.generate().sign(Purpose.RECEIPT, true.body),
        lambda b, true: b.operator.keys.sign(Purpose.PLAN, true.body),
        lambda b, true: b.operator.keys.sign(
            Purpose.RECEIPT, encode(Receipt(header=Digest("0" * 64)))
        ),
        lambda b, true: b.operator.keys.sign(Purpose.RECEIPT, true.body + b" "),
        lambda b, true: Signed(body=b"", signature=b""),
    ],
    ids=["a stranger's", "another purpose", "another header", "not canonical", "empty"],
)
def test_a_forged_receipt_ends_the_round_here_and_refunds_nothing(
    bench: Bench, forge: Callable[[Bench, Signed], Signed]
) -> None:
    line = ForgedReceipts(bench.seat.line, forge, bench)
    bench.seat.vault._uplink = line
    bench.order(bench.publish(bench.plan()))
    bench.go()
    assert line.uploads == 1  # it is not offered again
    assert bench.phase() is Phase.CLOSED
    round = bench.seat.inst.rounds.get(bench.agreement.digest, bench.number)
    assert (round.held, round.upload) == (None, None)
    assert list(bench.seat.inst.home.outbox.iterdir()) == []
    (charge,) = bench.bodies(BudgetCharge)
    assert charge.outcome is Outcome.RELEASED
    assert len(bench.seat.inst.ledger.budget().spent(bench.bodies(BudgetReserve)[0].dataset)) == 1


# hostile parcels


def trace(seat: Seat, agreement: Digest) -> list[Any]:
    reading = seat.inst.store.reading()
    tables = ("rounds", "epochs", "chains", "models", "outbox")
    return [
        *([tuple(row) for row in reading.execute(f"select * from {table}")] for table in tables),
        len(seat.inst.ledger.entries()),
    ]


def deliver(bench: Bench, kind: int, messages: tuple[Signed, ...], boxes: tuple[bytes, ...] = (),
            agreement: str | None = None) -> None:  # fmt: skip
    """Deliver a parcel that must change nothing and keep nobody from the next one.

    At most one line is written to the ledger: that a parcel was refused.
    """
    seat, mailbox = bench.seat, bench.seat.mailbox
    (*before, count), place = trace(seat, bench.agreement.digest), mailbox.cursor() + 1
    seat.deliver(Delivery(place, agreement or bench.agreement.digest, kind, messages, boxes))
    assert mailbox.cursor() == place
    assert trace(seat, bench.agreement.digest)[:-1] == before
    added = [entry.body for entry in seat.inst.ledger.entries()[count:]]
    assert [one.code for one in added] in ([], [RefusalCode.PARCEL])


KINDS = [*pb.ParcelKind.values(), 99, -1]
GARBAGE: dict[str, Callable[[Bench], tuple[Signed, ...]]] = {
    "nothing": lambda b: (),
    "empty": lambda b: (Signed(body=b"", signature=b""),),
    "noise": lambda b: (Signed(body=b"\xff" * 100, signature=b"\0" * 64),) * 3,
    "signed noise": lambda b: tuple(
        b.operator.keys.sign(purpose, b"{}") for purpose in list(Purpose)[:6]
    ),
    "deep": lambda b: (b.operator.keys.sign(Purpose.SURVIVORS, b"[" * 100_000),) * 2,
    "an old epoch": lambda b: (
        b.operator.keys.sign(
            Purpose.EPOCH_OPEN,
            encode(
                EpochOpen(agreement=b.agreement.digest, epoch=1, members=b.agreement.roster)
            ),
        ),
    ),
    "survivors of no round": lambda b: (
        b.operator.keys.sign(
            Purpose.SURVIVORS,
            encode(
                Survivors(
                    plan=Digest("0" * 64), survivors=IDS, headers=(Digest("1" * 64),) * 3,
                    uploads=(Digest("2" * 64),) * 3,
                )
            ),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(GARBAGE))
def test_a_hostile_parcel_changes_nothing_and_is_passed_over(
    shared: Bench, kind: int, name: str
) -> None:
    deliver(shared, kind, GARBAGE[name](shared), (b"box", b""))


def test_refused_parcels_leave_one_line_in_the_ledger_for_each_round(bench: Bench) -> None:
    seat, refused = bench.seat, bench.bodies(Refused)
    for number in range(1, 4):
        for kind in (pb.PARCEL_KIND_SURVIVORS, pb.PARCEL_KIND_EPOCH_OPEN):
            deliver(bench, kind, GARBAGE["noise"](bench))
        if number == 1:
            roster = list(bench.agreement.roster)
            plan = bench.operator.begin_round(roster)
            seat.vault.accept_order(bench.agreement.digest, plan.round, plan_digest(plan))
    added = bench.bodies(Refused)[len(refused) :]
    assert [(one.code, one.round) for one in added] == [
        (RefusalCode.PARCEL, None),
        (RefusalCode.PARCEL, 1),
    ]


@pytest.mark.parametrize("agreement", ["", "x", "0" * 64, "../" * 30])
def test_a_parcel_of_another_agreement_is_passed_over(shared: Bench, agreement: str) -> None:
    deliver(shared, pb.PARCEL_KIND_SURVIVORS, GARBAGE["noise"](shared), agreement=agreement)


def test_a_parcel_whose_place_no_database_holds_harms_nobody(bench: Bench) -> None:
    before = trace(bench.seat, bench.agreement.digest)
    cursor = bench.seat.mailbox.cursor()
    bench.seat.deliver(
        Delivery(2**64 - 1, bench.agreement.digest, pb.PARCEL_KIND_SURVIVORS, (), ())
    )
    assert trace(bench.seat, bench.agreement.digest) == before
    assert bench.seat.mailbox.cursor() == cursor


@pytest.mark.parametrize(
    "mangle",
    ["without headers", "without uploads", "without boxes", "unsigned", "short", "swapped boxes"],
)
def test_a_survivor_list_that_is_not_whole_is_not_answered(tmp_path: Path, mangle: str) -> None:
    federation = Federation(tmp_path, n=3)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    plan = federation.operator.begin_round(roster)
    federation.order(plan, roster)
    for seat in federation.seats.values():
        seat.work()
    federation.operator.ask_reveals()
    seat = federation.seats[roster[0]]
    true = federation.operator.mail[roster[0]].pop()
    signed, *others = true.messages
    headers, uploads = others[:3], others[3:]
    listed = decode(Survivors, signed.body)
    short = replace(
        listed,
        survivors=listed.survivors[:2],
        headers=listed.headers[:2],
        uploads=listed.uploads[:2],
    )
    mangled = {
        "without headers": ((signed,), true.boxes),
        "without boxes": (true.messages, ()),
        "without uploads": ((signed, *headers), true.boxes),
        "unsigned": ((Signed(body=signed.body, signature=b""), *others), true.boxes),
        "short": (
            (
                federation.operator.keys.sign(Purpose.SURVIVORS, encode(short)),
                *headers[:2],
                *uploads[:2],
            ),
            true.boxes[:2],
        ),
        "swapped boxes": (true.messages, (true.boxes[0], true.boxes[2], true.boxes[1])),
    }[mangle]
    before = trace(seat, federation.agreement.digest)
    seat.deliver(replace(true, messages=mangled[0], boxes=mangled[1]))
    *after, entries = trace(seat, federation.agreement.digest)
    assert after == before[:-1]
    seen = [RefusalCode.PARCEL if mangle == "unsigned" else RefusalCode.SURVIVORS]
    assert entries == before[-1] + len(seen)
    assert [refused.code for refused in seat.entries(Refused)] == seen
    round = seat.inst.rounds.get(federation.agreement.digest, 1)
    assert (round.phase, round.survivors) == (Phase.UPLOADED, None)
    seat.deliver(replace(true, sequence=true.sequence + 1))
    assert seat.inst.rounds.get(federation.agreement.digest, 1).phase is Phase.REVEALED


# A disk on which there is hardly any room


def test_an_interrupted_round_is_charged_once_however_often_there_is_no_room_to_say_so(
    bench: Bench,
) -> None:
    plan = bench.publish(bench.plan())
    bench.order(plan)
    bench.seat.crash_at = ("joined", plan.round)
    with pytest.raises(Crash):
        bench.go()
    with bench.seat.inst.store.transaction() as tx:
        letter = Signed(body=bytes(500), signature=bytes(3373))
        bench.seat.inst.outbox.put(tx, plan.nonce.hex(), pb.PARCEL_KIND_WITHDRAWAL, letter)
    database = bench.seat.inst.store.reading()
    pages = database.execute("pragma page_count").fetchone()[0]
    database.execute(f"pragma max_page_count = {pages + 1}")
    database.execute("create table filler (pages blob)")
    with suppress(sqlite3.OperationalError):
        while True:
            database.execute("insert into filler values (zeroblob(3000))")
    for spare in range(1, 20):  # in one of these, the charge still fits and the decline does not
        database.execute(f"pragma max_page_count = {pages + spare}")
        with suppress(sqlite3.OperationalError):
            bench.seat.vault.recover()
            break
    assert spare > 1
    assert bench.phase() is Phase.CLOSED
    (reserve,) = bench.bodies(BudgetReserve)
    assert [charge.nonce for charge in bench.bodies(BudgetCharge)] == [reserve.nonce]
    assert bench.seat.inst.ledger.budget().open_reserves() == ()
    assert [decline.code for decline in bench.waiting()] == [RefusalCode.INTERRUPTED]


def test_a_disk_that_is_full_when_a_vector_is_written_is_told_and_the_round_is_given_up_once(
    bench: Bench,
) -> None:
    plan = bench.publish(bench.plan())
    bench.order(plan)
    vault, inst = bench.seat.vault, bench.seat.inst
    file = vault._masked_file(inst.rounds.get(bench.agreement.digest, plan.round))
    file.with_name(file.name + ".draft").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        bench.go()
    assert bench.phase() is Phase.STARTED
    assert list(inst.home.outbox.iterdir()) == []
    vault.recover()
    (reserve,) = bench.bodies(BudgetReserve)
    assert [charge.nonce for charge in bench.bodies(BudgetCharge)] == [reserve.nonce]
    assert [decline.code for decline in bench.waiting()] == [RefusalCode.INTERRUPTED]
