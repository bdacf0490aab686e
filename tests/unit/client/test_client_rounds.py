"""A vault's rounds move along the table of `secagg.round` and along nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.federation import make_agreement

from comity_client.rounds import Round, Rounds, StoredUpload
from comity_client.store import Store
from comity_common.crypto.sign import Signed, SigningKeys
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.messages import Plan, Survivors
from comity_common.secagg.participant import Held
from comity_common.secagg.plan import make_plan
from comity_common.secagg.round import INSTITUTION, Phase, Step

IDS = [InstitutionId(f"inst-0{k}") for k in range(3)]
AGREEMENT, PLANNED = Digest("a" * 64), Digest("b" * 64)
NONCE = b"reserve of round"
UPLOAD = StoredUpload(
    header=b"header",
    header_signature=b"signature",
    upload=b"upload",
    upload_signature=b"signature",
    boxes=(b"", b"box", b"box"),
    leaves=(b"leaf",),
)
HELD = Held(header=Digest("c" * 64), own_share=b"own share", box_roots=(b"", b"root", b"root"))
NAMES = tuple(Digest(c * 64) for c in "def")
LISTED = Survivors(plan=PLANNED, survivors=tuple(IDS), headers=NAMES, uploads=NAMES)
REVEAL = Signed(body=b"reveal", signature=b"signature")


@pytest.fixture(scope="module")
def plan() -> Plan:
    agreement = make_agreement({id: SigningKeys.generate() for id in IDS}, SigningKeys.generate())
    return make_plan(
        agreement,
        epoch=1,
        round=1,
        participants=IDS,
        previous=agreement.digest,
        model=agreement.model.initial_state,
        nonce=bytes(16),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "vault.db")


@pytest.fixture
def rounds(store: Store) -> Rounds:
    return Rounds(store)


Take = Callable[[Rounds, Any, Round, Plan], None]
STEPS: dict[Step, Take] = {
    Step.JOIN: lambda rounds, tx, round, plan: rounds.join(tx, round, plan, NONCE, 7),
    Step.START: lambda rounds, tx, round, plan: rounds.start(tx, round),
    Step.MASK: lambda rounds, tx, round, plan: rounds.mask(tx, round, UPLOAD, HELD, 9),
    Step.RECEIPT: lambda rounds, tx, round, plan: rounds.receipt(tx, round),
    Step.REVEAL: lambda rounds, tx, round, plan: rounds.reveal(tx, round, LISTED, REVEAL),
    Step.CLOSE: lambda rounds, tx, round, plan: rounds.close(tx, round, "void"),
}
WAY = (Step.JOIN, Step.START, Step.MASK, Step.RECEIPT, Step.REVEAL, Step.CLOSE)
LEGAL = {Step.JOIN: Phase.ORDERED, Step.START: Phase.JOINED, Step.MASK: Phase.STARTED}
TO = {phase: WAY[:k] for k, phase in enumerate(Phase)}  # the steps that lead to each phase


def order(store: Store, rounds: Rounds, number: int) -> None:
    with store.transaction() as tx:
        rounds.order(tx, AGREEMENT, number, PLANNED)


def take(store: Store, rounds: Rounds, number: int, step: Step, plan: Plan) -> None:
    with store.transaction() as tx:
        STEPS[step](rounds, tx, get(rounds, number), plan)


def bring_to(store: Store, rounds: Rounds, number: int, phase: Phase, plan: Plan) -> None:
    order(store, rounds, number)
    for step in TO[phase]:
        take(store, rounds, number, step, plan)
    assert get(rounds, number).phase is phase


def get(rounds: Rounds, number: int) -> Round:
    round = rounds.get(AGREEMENT, number)
    assert round is not None
    return round


def rows(store: Store) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.reading().execute("select * from rounds order by number")]


@pytest.mark.parametrize(("phase", "step"), [(p, s) for p in Phase for s in Step])
def test_a_step_moves_as_the_table_says_or_raises_and_changes_nothing(
    store: Store, rounds: Rounds, plan: Plan, phase: Phase, step: Step
) -> None:
    bring_to(store, rounds, 1, Phase.MASKED, plan)  # an earlier one that an illegal join must spare
    bring_to(store, rounds, 2, phase, plan)
    if phase is Phase.ORDERED:
        assert get(rounds, 1).phase is Phase.MASKED
    before = rows(store)
    if (phase, step) in INSTITUTION:
        take(store, rounds, 2, step, plan)
        assert get(rounds, 2).phase is INSTITUTION[phase, step]
    else:
        with pytest.raises(PeerError, match=f"expected no {step} of a round that is {phase}"):
            take(store, rounds, 2, step, plan)
        assert rows(store) == before


@pytest.mark.parametrize("step", list(Step))
def test_a_step_from_a_phase_that_was_left_meanwhile_changes_nothing(
    store: Store, rounds: Rounds, plan: Plan, step: Step
) -> None:
    legal = LEGAL.get(step, Phase.MASKED)
    bring_to(store, rounds, 1, legal, plan)
    seen = get(rounds, 1)
    take(store, rounds, 1, Step.CLOSE, plan)
    before = rows(store)
    with pytest.raises(PeerError, match=f"to be {legal}"), store.transaction() as tx:
        STEPS[step](rounds, tx, seen, plan)
    assert rows(store) == before


def test_a_round_that_was_never_ordered_cannot_be_joined(
    store: Store, rounds: Rounds, plan: Plan
) -> None:
    bring_to(store, rounds, 1, Phase.ORDERED, plan)
    stranger = replace(get(rounds, 1), number=9)
    with pytest.raises(PeerError), store.transaction() as tx:
        rounds.join(tx, stranger, plan, NONCE, 7)
    assert get(rounds, 1).phase is Phase.ORDERED
    assert rounds.get(AGREEMENT, 9) is None


def test_what_is_stored_comes_back(store: Store, rounds: Rounds, plan: Plan) -> None:
    bring_to(store, rounds, 1, Phase.REVEALED, plan)
    round = get(rounds, 1)
    assert (round.plan, round.plan_digest, round.reserve) == (plan, PLANNED, NONCE)
    assert (round.reserve_size, round.egress_size) == (7, 9)
    assert (round.upload, round.held, round.survivors) == (UPLOAD, HELD, LISTED)


def test_the_same_order_again_changes_nothing_and_another_plan_does_not_replace_it(
    store: Store, rounds: Rounds, plan: Plan
) -> None:
    bring_to(store, rounds, 1, Phase.JOINED, plan)
    before = rows(store)
    with store.transaction() as tx:
        rounds.order(tx, AGREEMENT, 1, PLANNED)
        rounds.order(tx, AGREEMENT, 1, Digest("9" * 64))
    assert rows(store) == before


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.CLOSED])
def test_closing_erases_what_could_unmask_anything(
    store: Store, rounds: Rounds, plan: Plan, phase: Phase
) -> None:
    bring_to(store, rounds, 1, phase, plan)
    take(store, rounds, 1, Step.CLOSE, plan)
    (row,) = store.reading().execute("select * from rounds").fetchall()
    assert (row["upload"], row["held"], row["reveal"]) == (None, None, None)
    assert row["outcome"] == "void"


def test_joining_closes_every_earlier_round_for_good(
    store: Store, rounds: Rounds, plan: Plan
) -> None:
    for number, phase in ((1, Phase.CLOSED), (2, Phase.REVEALED)):
        bring_to(store, rounds, number, phase, plan)
    order(store, rounds, 3)
    order(store, rounds, 4)
    take(store, rounds, 3, Step.JOIN, plan)
    phases = {number: get(rounds, number).phase for number in (1, 2, 3, 4)}
    assert phases == {1: Phase.CLOSED, 2: Phase.CLOSED, 3: Phase.JOINED, 4: Phase.ORDERED}
    outcomes = [row["outcome"] for row in store.reading().execute("select outcome from rounds")]
    assert outcomes == ["void", "overtaken", None, None]
    assert get(rounds, 2).held is None


def test_a_join_that_fails_closes_no_earlier_round(
    store: Store, rounds: Rounds, plan: Plan
) -> None:
    bring_to(store, rounds, 1, Phase.MASKED, plan)
    order(store, rounds, 2)
    stale = get(rounds, 2)
    take(store, rounds, 2, Step.CLOSE, plan)
    with pytest.raises(PeerError), store.transaction() as tx:
        rounds.join(tx, stale, plan, NONCE, 7)
    assert get(rounds, 1).phase is Phase.MASKED
    assert get(rounds, 1).held == HELD


@pytest.mark.parametrize(
    "other",
    [
        replace(LISTED, survivors=tuple(IDS[:2]), headers=LISTED.headers[:2]),
        replace(LISTED, headers=(*LISTED.headers[:2], Digest("0" * 64))),
    ],
    ids=["other survivors", "another header"],
)
def test_a_second_different_survivor_list_is_refused(
    store: Store, rounds: Rounds, plan: Plan, other: Survivors
) -> None:
    bring_to(store, rounds, 1, Phase.REVEALED, plan)
    before = rows(store)
    with pytest.raises(PeerError, match="another is refused"), store.transaction() as tx:
        rounds.reveal(tx, get(rounds, 1), other, REVEAL)
    assert rows(store) == before
    take(store, rounds, 1, Step.REVEAL, plan)  # the same list again
    assert get(rounds, 1).survivors == LISTED


def test_a_list_from_before_another_was_answered_is_not_answered_either(
    store: Store, rounds: Rounds, plan: Plan
) -> None:
    """Two deliveries that both saw the round before the first reveal."""
    bring_to(store, rounds, 1, Phase.UPLOADED, plan)
    seen = get(rounds, 1)
    take(store, rounds, 1, Step.REVEAL, plan)
    other = replace(LISTED, headers=(*LISTED.headers[:2], Digest("0" * 64)))
    with pytest.raises(PeerError), store.transaction() as tx:
        rounds.reveal(tx, seen, other, REVEAL)
    assert get(rounds, 1).survivors == LISTED


def test_open_rounds_are_listed_in_order_and_per_agreement(
    store: Store, rounds: Rounds, plan: Plan
) -> None:
    for number in (2, 1):
        order(store, rounds, number)
    bring_to(store, rounds, 3, Phase.CLOSED, plan)
    with store.transaction() as tx:
        rounds.order(tx, Digest("f" * 64), 8, PLANNED)
    assert rounds.open(AGREEMENT) == []  # the third, when it was joined, closed the others
    assert rounds.newest(AGREEMENT) == 3
    assert [round.number for round in rounds.open(Digest("f" * 64))] == [8]
    assert rounds.newest(Digest("0" * 64)) == 0


def test_printing_a_round_shows_no_share_and_no_key(
    store: Store, rounds: Rounds, plan: Plan
) -> None:
    bring_to(store, rounds, 1, Phase.REVEALED, plan)
    shown = repr(get(rounds, 1))
    for secret in ("own share", "root", "box'", "signature'"):
        assert secret not in shown
