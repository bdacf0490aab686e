"""Real vaults with their real stores, an operator in memory, and crashes at every boundary.

A crash drops the vault object at a boundary and opens the same directory again, as a restarted
daemon would. What must hold whatever happens: the exact sum, one upload and one reveal per round,
and a ledger that never says less than was spent.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from comity.v1 import transfer_pb2 as pb
from comity_client.config import VaultConfig
from comity_client.correspondence import Correspondence
from comity_client.cosigning import Cosigner
from comity_client.institution import Institution
from comity_client.mailbox import Mailbox
from comity_client.mailroom import Mailroom
from comity_client.uplink import Delivery
from comity_client.vault import Vault
from comity_common.agreement import Agreement, TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.dp.accountant import calibrate
from comity_common.dp.terms import Guarantee
from comity_common.errors import Refusal, RefusalCode
from comity_common.fixedpoint import RING_WIDTHS, scale, signed
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import BudgetCharge, BudgetReserve, Egress, Outcome, Traffic
from comity_common.ledger.entries import check_order
from comity_common.mechanisms import schedule_events
from comity_common.optimizer import ModelState, first_state, state_digest
from comity_common.secagg.masking import sections
from comity_common.secagg.messages import Plan
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage

from .federation import make_agreement
from .operator import Line, Operator

LANES = 40
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Crash(BaseException):
    """The process died."""


class Bench:
    """Trains by giving back a delta that the test knows."""

    def __init__(self, lanes: int = LANES) -> None:
        self.lanes = lanes
        self.trained = 0

    def train(self, start, moments, on_step):
        """Return a fresh random delta on the grid of the ring, so that the sum is exact."""
        self.trained += 1
        on_step(1, 2)
        chance = np.random.default_rng(self.trained)
        self.last = chance.uniform(-0.9, 0.9, self.lanes).astype(np.float32)
        on_step(2, 2)
        return self.last, b"moments"

    def score(self, parameters):
        """Score ten units that are all right, and lose nothing."""
        return [(64, 0, 0)] * 10

    def look(self, parameters):
        """See nothing."""
        return 0.5, 0.5


class Seat:
    """One institution's directory, and whoever works in it now."""

    def __init__(self, path: Path, agreement: Agreement, operator: Operator) -> None:
        self.path, self.agreement, self.operator = path, agreement, operator
        self.bench = Bench(agreement.model.parameters)
        self.crash_at: tuple[str, int] | None = None
        self.crashes = 0
        self.wake()

    def wake(self) -> None:
        """Start (again)."""
        self.inst = Institution(self.path, clock=lambda: NOW)
        standing = self.inst.agreements.get(self.agreement.digest)
        with self.inst.store.transaction() as tx:
            self.inst.progress.begin(tx, self.agreement)
        self.line = self.connect()
        self.standing = standing
        self.vault = Vault(self.inst, standing, self.bench, self.line, self._at)
        letters = Correspondence(self.inst, self.line)
        self.mailbox, self.letters = Mailbox(self.inst.store), letters
        self.mailroom = Mailroom(
            self.inst, self.agreement, self.vault, self.line, letters, self.bench
        )
        self.cosigner = Cosigner(self.inst, self.line.send)
        self.operator.ears[self.inst.me] = self.hear
        self.vault.recover()

    def connect(self) -> Line:
        """Return the way out."""
        return Line(self.operator, self.inst.me)

    def hear(self, delivery: Delivery) -> None:
        """Hear what witnesses say, as the mailbox's own thread does."""
        match delivery.kind:
            case pb.PARCEL_KIND_HEAD:
                self.cosigner.answer(self.agreement.digest, delivery.messages)
            case pb.PARCEL_KIND_COSIGNATURE:
                self.vault.witnesses.take_cosignature(delivery.messages)
            case _:
                self.vault.witnesses.take_objection(delivery.messages)

    def deliver(self, delivery: Delivery) -> None:
        """Take one parcel out of the mailbox."""
        self.mailbox.take(delivery, self.mailroom.deliver)

    def _at(self, name: str, round: int) -> None:
        if self.crash_at == (name, round):
            self.crash_at = None
            raise Crash

    def work(self) -> None:
        """Do all that is due, starting again after a crash."""
        while True:
            try:
                for delivery in list(self.operator.mail[self.inst.me]):
                    self.deliver(delivery)
                while self.vault.go_on():
                    pass
                self.letters.send_waiting()
                return
            except Crash:
                self.crashes += 1
                self.wake()

    def entries(self, kind: type) -> list:
        """Read the ledger's entries of a kind."""
        bodies = [entry.body for entry in self.inst.ledger.entries()]
        return [body for body in bodies if isinstance(body, kind)]


def of_zeros(draft: Agreement) -> tuple[Agreement, ModelState]:
    """Let a model of zeros be what is trained."""
    state = first_state(np.zeros(draft.model.parameters, np.float32), draft.aggregation)
    return draft, state


def one_row(id: InstitutionId) -> str:
    """Write a row of an institution's own."""
    return f'{{"text": "a row of {id}", "label": "a"}}\n'


class Federation:
    """An operator and its seats, with an agreement that all have signed.

    Args:
        terms: puts a model into a draft, and returns the model's first state with it.
        rows: what an institution trains on, as lines of JSON.
    """

    seat: type[Seat] = Seat

    def __init__(
        self,
        path: Path,
        n: int = 5,
        rounds: int = 3,
        spare: int = 2,
        *,
        minimum: int | None = None,
        ring_width: int = 32,
        terms: Callable[[Agreement], tuple[Agreement, ModelState]] = of_zeros,
        rows: Callable[[InstitutionId], str] = one_row,
    ) -> None:
        parts = {}
        for k in range(n):
            id = InstitutionId(f"inst-{k:02d}")
            settings = VaultConfig(
                id=id,
                name=id,
                jurisdiction="DE",
                server="127.0.0.1:1",
                sockets=path / "s" / id,
                slot_s=0,
            )
            parts[id] = Institution.create(path / id, settings)
        keys = SigningKeys.generate()
        draft = make_agreement(
            {id: inst.keys.signing for id, inst in parts.items()},
            keys,
            lanes=LANES,
            minimum=minimum,
            rounds=rounds,
            spare_rounds=spare,
            ring_width=ring_width,
        )
        draft, state = terms(draft)
        self.agreement = _calibrated(draft, state, parts)
        self.operator = Operator(self.agreement, keys, state)
        raw = encode(self.agreement)
        signatures = {self.agreement.operator.id: keys.sign(Purpose.AGREEMENT, raw).signature}
        privacy = self.agreement.privacy
        ceiling = Guarantee(epsilon=privacy.epsilon, delta=privacy.delta)
        for id, inst in parts.items():
            file = path / id / "rows.jsonl"
            file.write_text(rows(id))
            dataset = inst.data.register(
                file, name="rows", task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=ceiling
            )
            inst.data.grant(dataset, privacy.order)
            signed = inst.agreements.sign(raw, inst.keys, id, inst.policy, dataset)
            signatures[id] = signed.signature
        for inst in parts.values():
            inst.agreements.activate(raw, signatures)
            inst.models.save(self.agreement.digest, state)
        self.seats = {
            id: self.seat(path / id, self.agreement, self.operator) for id in self.agreement.roster
        }

    def set_up_keys(self) -> None:
        """Run a key epoch."""
        self.operator.open_epoch(1)
        for _ in range(4):
            for seat in self.seats.values():
                seat.work()

    def order(self, plan: Plan, who: list[InstitutionId]) -> dict[InstitutionId, str]:
        """Bring orders, as Flower does; return the refusals."""
        refusals = {}
        for id in who:
            seat = self.seats[id]
            try:
                seat.vault.accept_order(self.agreement.digest, plan.round, plan_digest(plan))
            except Refusal as refusal:
                refusals[id] = refusal.code
        return refusals

    def finish(self, awake: list[InstitutionId]) -> None:
        """Bring a round to its end with those who are awake, then let the others catch up."""
        collector = self.operator.collector
        if collector.stage is Stage.COLLECTING:
            collector.expire()
        if collector.stage is Stage.REVEALING:
            self.operator.ask_reveals()
            for id in awake:
                self.seats[id].work()
            if collector.stage is Stage.REVEALING:
                collector.expire()
        self.operator.certify()
        for id in awake:
            self.seats[id].work()
        self.operator.let_the_others_catch_up()

    def check(self) -> None:
        """What must hold whatever happened."""
        for seat in self.seats.values():
            check_order(seat.inst.ledger.entries())
            reserves = seat.entries(BudgetReserve)
            assert len(reserves) >= seat.bench.trained  # never less than what was drawn
            assert len({reserve.nonce for reserve in reserves}) == len(reserves)
            assert len(reserves) <= self.agreement.attempts
            uploads = [e for e in seat.entries(Egress) if e.traffic is Traffic.MECHANISM]
            charged = [c for c in seat.entries(BudgetCharge) if c.outcome is Outcome.RELEASED]
            assert {u.nonce for u in uploads} == {c.nonce for c in charged}
        for sent in (self.operator.headers, self.operator.reveals):
            assert all(len(versions) == 1 for versions in sent.values())


def _calibrated(agreement: Agreement, state: ModelState, parts: dict) -> Agreement:
    from dataclasses import replace

    training, privacy, schedule = agreement.training, agreement.privacy, agreement.schedule
    noise, order = calibrate(
        training.sampling_probability,
        training.local_steps * schedule.attempts,
        privacy.epsilon,
        privacy.delta,
        beside=schedule_events(agreement)[1:],
    )
    parties = tuple(
        replace(party, identity=parts[party.id].keys.identity) for party in agreement.institutions
    )
    return replace(
        agreement,
        institutions=parties,
        model=replace(agreement.model, initial_state=state_digest(state)),
        training=replace(training, noise_multiplier=noise),
        privacy=replace(privacy, order=order),
    )


def check_sum(federation: Federation, survivors: list[InstitutionId]) -> None:
    """Compare the released sum with the survivors' deltas, added as plain integers."""
    operator = federation.operator
    plan = operator.plan
    total, _ = sections(operator.totals[plan.round], LANES, plan.ring_width)
    total = signed(total[:LANES], plan.ring_width).astype(int)
    grid = scale(plan.range, plan.lane_bound)
    exact = sum(federation.seats[id].bench.last.astype(float) * grid for id in survivors)
    assert np.all(np.abs(total - exact) <= len(survivors))  # one unit of rounding each


@pytest.mark.parametrize("ring_width", RING_WIDTHS)
def test_three_rounds_give_every_vault_the_operators_model(tmp_path, ring_width):
    federation = Federation(tmp_path, ring_width=ring_width)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    for _ in range(3):
        plan = federation.operator.begin_round(roster)
        assert federation.order(plan, roster) == {}
        for seat in federation.seats.values():
            seat.work()
        federation.finish(roster)
        check_sum(federation, roster)
        models = {
            seat.inst.progress.get(federation.agreement.digest).model
            for seat in federation.seats.values()
        }
        assert models == {state_digest(federation.operator.state)}
    federation.check()


class Listened(Line):
    """A line on which all that is said is written down."""

    def __init__(self, operator: Operator, me: InstitutionId) -> None:
        super().__init__(operator, me)
        self.said: list[int] = []

    def send(self, agreement: Digest, kind: int, message: Signed) -> None:
        """Take a small message, and note its kind."""
        self.said.append(kind)
        super().send(agreement, kind, message)


def in_a_slot(path: Path, length: int) -> tuple[Federation, Seat]:
    """Let a vault that has slots of so many seconds join a round, witnessed."""
    federation = Federation(path, n=3)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    seat = federation.seats[roster[0]]
    seat.inst.config = seat.inst.config.model_copy(update={"slot_s": length})
    seat.line = Listened(federation.operator, seat.inst.me)
    seat.vault = Vault(seat.inst, seat.standing, seat.bench, seat.line, seat._at)
    federation.order(federation.operator.begin_round(roster), roster)
    assert seat.vault.go_on()  # joins
    return federation, seat


def test_nothing_shows_that_a_vault_has_trained_before_its_slot_begins(tmp_path):
    federation, seat = in_a_slot(tmp_path, length=2)
    began, entries = time.monotonic(), len(seat.inst.ledger.entries())
    assert seat.vault.go_on()  # asks for witnesses, who answer at once, and trains
    assert seat.bench.trained == 1
    assert 0 < seat.vault.wait_s() <= 2
    assert seat.vault.doing == "waiting for its slot to upload"
    said = list(seat.line.said)
    assert not seat.vault.go_on()
    assert seat.line.said == said
    assert len(seat.inst.ledger.entries()) == entries
    assert not federation.operator.vectors
    while seat.vault.wait_s():
        time.sleep(seat.vault.wait_s())
    roster = list(federation.agreement.roster)
    for id in roster:
        federation.seats[id].work()
    assert time.monotonic() - began > 1
    assert seat.line.said[len(said) :] == [pb.PARCEL_KIND_HEAD]
    assert federation.operator.vectors.keys() == set(roster)
    federation.finish(roster)
    check_sum(federation, roster)
    federation.check()


def test_a_vault_that_dies_before_its_slot_has_spent_the_round(tmp_path):
    federation, seat = in_a_slot(tmp_path, length=3600)
    assert seat.vault.go_on()  # trains
    seat.wake()
    (charge,) = seat.entries(BudgetCharge)
    assert charge.outcome is Outcome.FORFEITED
    assert [one for one in seat.entries(Egress) if one.traffic is Traffic.MECHANISM] == []
    assert list(seat.inst.home.outbox.iterdir()) == []
    seat.work()
    assert not federation.operator.vectors
    federation.check()


BOUNDARIES = ["joined", "witnessed", "started", "training", "masked", "before-upload",
              "uploaded", "before-reveal", "revealed"]  # fmt: skip


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_one_crash_at_any_boundary_costs_at_most_that_vaults_part(tmp_path, boundary):
    federation = Federation(tmp_path)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    victim = federation.seats[roster[2]]
    for round in (1, 2):
        plan = federation.operator.begin_round(roster)
        federation.order(plan, roster)
        if round == 1:
            victim.crash_at = (boundary, 1)
        for seat in federation.seats.values():
            seat.work()
        federation.finish(roster)
        for seat in federation.seats.values():
            seat.work()
        lost = round == 1 and boundary in ("joined", "witnessed", "started", "training")
        survivors = [id for id in roster if not (lost and id == victim.inst.me)]
        assert federation.operator.collector.stage is Stage.CERTIFIED
        assert list(federation.operator.collector.survivors.survivors) == survivors
        check_sum(federation, survivors)
    assert victim.crashes == 1
    progress = victim.inst.progress.get(federation.agreement.digest)
    assert progress.model == state_digest(federation.operator.state)  # it caught up
    federation.check()


def test_two_silent_vaults_void_the_round_and_the_next_one_goes_on(tmp_path):
    federation = Federation(tmp_path)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    before = state_digest(federation.operator.state)
    plan = federation.operator.begin_round(roster)
    federation.order(plan, roster[:3])
    for id in roster[:3]:
        federation.seats[id].work()
    federation.finish(roster)
    assert federation.operator.collector.reason == "3 of 5 uploads arrived, 4 are needed"
    assert not federation.operator.reveals
    assert state_digest(federation.operator.state) == before

    plan = federation.operator.begin_round(roster[:4])
    assert federation.order(plan, roster[:4]) == {}
    for id in roster[:4]:
        federation.seats[id].work()
    federation.finish(roster[:4])
    check_sum(federation, roster[:4])
    federation.seats[roster[4]].work()
    late = federation.seats[roster[4]].inst.progress.get(federation.agreement.digest)
    assert late.model == state_digest(federation.operator.state)
    budget = federation.seats[roster[0]].inst.ledger.budget()
    dataset = federation.seats[roster[0]].entries(BudgetReserve)[0].dataset
    assert len(budget.spent(dataset)) == 2  # the void round counts
    federation.check()


def test_an_order_beyond_the_schedule_or_of_another_agreement_is_refused(tmp_path):
    federation = Federation(tmp_path, n=3, rounds=1, spare=0)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    plan = federation.operator.begin_round(roster)
    vault = federation.seats[roster[0]].vault
    with pytest.raises(Refusal) as beyond:
        vault.accept_order(federation.agreement.digest, 2, plan_digest(plan))
    assert beyond.value.code is RefusalCode.PLAN
    with pytest.raises(Refusal) as foreign:
        vault.accept_order(Digest("0" * 64), 1, plan_digest(plan))
    assert foreign.value.code is RefusalCode.UNKNOWN_AGREEMENT
    assert federation.seats[roster[0]].entries(BudgetReserve) == []


def test_an_agreement_that_would_pass_the_ceiling_is_not_signed(tmp_path):
    federation = Federation(tmp_path, n=3)
    inst = federation.seats[federation.agreement.roster[0]].inst
    from dataclasses import replace

    longer = replace(
        federation.agreement,
        schedule=replace(federation.agreement.schedule, rounds=40),
        nonce=b"another nonce 16",
    )
    dataset = inst.agreements.get(federation.agreement.digest).dataset
    before = len(inst.ledger.entries())
    with pytest.raises(Refusal) as refusal:
        inst.agreements.sign(encode(longer), inst.keys, inst.me, inst.policy, dataset)
    assert refusal.value.code is RefusalCode.BUDGET
    assert len(inst.ledger.entries()) == before


@pytest.mark.parametrize("seed", range(6))
def test_random_crashes_and_absences_never_break_a_rule(tmp_path, seed):
    chance = random.Random(seed)
    federation = Federation(tmp_path, rounds=4, spare=2)
    federation.set_up_keys()
    roster = list(federation.agreement.roster)
    for round in range(1, 7):
        plan = federation.operator.begin_round(roster)
        asleep = set(chance.sample(roster, chance.choice([0, 0, 1, 2])))
        awake = [id for id in roster if id not in asleep]
        for id in awake:
            if chance.random() < 0.4:
                federation.seats[id].crash_at = (chance.choice(BOUNDARIES), round)
        federation.order(plan, awake)
        chance.shuffle(awake)
        for id in awake:
            federation.seats[id].work()
        federation.finish(awake)
        for seat in federation.seats.values():
            seat.crash_at = None
            seat.work()
        if federation.operator.collector.stage is Stage.CERTIFIED:
            check_sum(federation, list(federation.operator.collector.survivors.survivors))
        federation.check()
        models = {
            seat.inst.progress.get(federation.agreement.digest).model
            for seat in federation.seats.values()
        }
        assert models == {state_digest(federation.operator.state)}
