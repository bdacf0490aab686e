"""Whatever a malicious operator tries on an honest vault is refused, at no cost, and leaves a code.

The cases are in `malice`. Each is tried on real vaults, and each is followed by a round in which
the same vault takes part as if nothing had been; every now and then, by one of all vaults.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from comity.v1 import transfer_pb2 as pb
from comity_client.agreements import MAX_OFFERS
from comity_client.limits import JUDGED_A_DAY, REFUSED_ORDERS_A_DAY
from comity_common.canonical import decode
from comity_common.errors import Refusal, RefusalCode
from comity_common.ledger.bodies import AgreementSign, BudgetReserve, Refused
from comity_common.secagg.messages import Decline
from comity_common.secagg.round import Phase
from tests.unit.client.test_vault import Bench, spend_all

from . import test_vaults as vaults
from .malice import (
    ATTACKS,
    CASES,
    DONE_BEFORE,
    GROUPS,
    UNHEARD,
    Case,
    Malice,
    rewritten,
    say,
    withdraw,
)

CODES = {code.value for code in RefusalCode}


@pytest.fixture(scope="module")
def malice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Malice]:
    before = vaults.NOW
    made = Malice(tmp_path_factory.mktemp("malice"))
    yield made
    made.close()
    vaults.NOW = before


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Malice]:
    before = vaults.NOW
    made = Malice(tmp_path)
    yield made
    made.close()
    vaults.NOW = before


def traces(malice: Malice) -> dict[str, Any]:
    """What must be after an attempt as it was before."""
    reading = malice.inst.store.reading()
    return {
        "trained": malice.target.bench.trained,  # where noise is drawn
        "uploads": malice.line.uploads,
        "masked files": list(malice.inst.home.outbox.iterdir()),
        "keys": [tuple(row) for row in reading.execute("select * from chains")],
        "model": malice.inst.progress.get(malice.agreement.digest),
        "in force": [one.agreement.digest for one in malice.inst.agreements.active()],
        "revealed": [tuple(r) for r in reading.execute("select reveal, survivors from rounds")
                     if any(r)],
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_it_is_refused_at_no_cost_and_the_next_round_goes_on(malice: Malice, case: Case) -> None:
    malice.tomorrow()
    before, entries = traces(malice), malice.length()
    said = say(malice, case)
    assert traces(malice) == before

    declines = [decode(Decline, m.body) for kind, m in malice.line.left
                if kind == pb.PARCEL_KIND_DECLINE]  # fmt: skip
    assert len(declines) == len(malice.line.left) <= 1  # nothing left but a code
    if said == "":
        assert [decline.code.value for decline in declines] == [case.code]
    else:
        assert said == case.code
    assert said in CODES | {"", UNHEARD, DONE_BEFORE} or said.startswith("COM-")

    added = malice.written_since(entries)
    refused = [body for body in added if isinstance(body, Refused)]
    signed = [body for body in added if isinstance(body, AgreementSign)]
    assert len(refused) + len(signed) == len(added) <= REFUSED_ORDERS_A_DAY
    if said in ("", *CODES) and said != "unavailable":
        assert case.code in {body.code.value for body in refused}
    malice.withdraw_offers()
    malice.takes_part()
    if any(case is group[-1] for group in GROUPS):
        malice.honest_round()


def test_there_are_many_cases_and_no_two_of_one_name() -> None:
    assert len({case.what for case in CASES}) == len(CASES) >= 70


def test_an_agreement_that_is_in_order_is_signed(malice: Malice) -> None:
    """Without which no refusal of an agreement would say anything."""
    malice.tomorrow()
    malice.line.left.clear()
    assert malice.propose(malice.draft()) == ""
    assert [kind for kind, _ in malice.line.left] == [pb.PARCEL_KIND_SIGNATURE]


def test_of_two_rounds_that_are_open_at_once_one_is_trained_and_the_other_given_up(
    malice: Malice,
) -> None:
    before = len(malice.target.entries(BudgetReserve))
    first, second = malice.true_plan(), malice.true_plan()
    assert malice.order(first) == malice.order(second) == ""
    malice.target.work()
    assert len(malice.target.entries(BudgetReserve)) == before + 1
    phases = [
        malice.inst.rounds.get(malice.agreement.digest, plan.round).phase
        for plan in (first, second)
    ]
    assert phases == [Phase.CLOSED, Phase.UPLOADED]
    malice.honest_round()


def test_a_plan_with_an_institution_that_has_left_is_declined(alone: Malice) -> None:
    withdraw(alone, alone.roster[3])
    before = traces(alone)
    alone.line.left.clear()
    assert alone.order(alone.true_plan()) == ""
    alone.target.work()
    ((kind, message),) = alone.line.left
    assert kind == pb.PARCEL_KIND_DECLINE
    assert decode(Decline, message.body).code is RefusalCode.PLAN
    assert traces(alone) == before


def test_who_has_nothing_left_to_spend_spends_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, rounds=4)
    plan = bench.publish(bench.plan())
    bench.order(plan)
    spend_all(bench)
    before = bench.spent()
    bench.go()
    assert [decline.code for decline in bench.waiting()] == [RefusalCode.BUDGET]
    with pytest.raises(Refusal) as refusal:
        bench.order(replace(plan, round=plan.round + 1))
    assert refusal.value.code is RefusalCode.BUDGET
    assert bench.spent() == before


# the policy is not to be found by asking


def judged(malice: Malice, epsilon: str) -> str:
    """Propose an ε; return "signed", or what was told at home."""
    privacy = replace(malice.agreement.privacy, epsilon=Decimal(epsilon))
    said = say(malice, Case("", "", lambda m: m.propose(m.draft(privacy=privacy))))
    signatures = [message for kind, message in malice.line.left if kind == pb.PARCEL_KIND_SIGNATURE]
    assert len(signatures) == len(malice.line.left) == (said == "")
    malice.withdraw_offers()
    return "signed" if signatures else said


def halve(malice: Malice, low: float, high: float, questions: int) -> tuple[list[str], float]:
    """Ask as one does who wants to know the ε that is permitted; return answers and what is left.

    A proposal that is not signed is taken to be against the policy: the operator sees no more.
    """
    answers = []
    for _ in range(questions):
        middle = (low + high) / 2
        answers.append(judged(malice, f"{middle:.9f}"))
        low, high = (middle, high) if answers[-1] == "signed" else (low, middle)
    return answers, high - low


def test_halving_learns_as_many_bits_as_are_judged_in_a_day_and_then_nothing(
    malice: Malice,
) -> None:
    malice.tomorrow()
    answers, _ = halve(malice, 6, 9, JUDGED_A_DAY)
    assert set(answers) == {"signed", "policy"}  # it works, as far as it goes
    for epsilon in ("1", "7.9", "8", "8.1", "100"):
        assert judged(malice, epsilon) == "COM-AGREE-009"
    malice.restart()
    assert judged(malice, "7.9") == "COM-AGREE-009"
    malice.tomorrow()
    assert judged(malice, "7.9") == "signed"


def test_the_same_agreement_may_be_judged_as_often_as_its_people_like(malice: Malice) -> None:
    malice.tomorrow()
    agreement = malice.draft()
    with malice.policy(epsilon=1):
        for _ in range(JUDGED_A_DAY + 2):
            assert say(malice, Case("", "", lambda m: m.propose(agreement))) == "policy"
    assert say(malice, Case("", "", lambda m: m.propose(agreement))) == ""


def test_refused_orders_lose_their_reason_and_a_good_one_is_accepted_all_the_same(
    alone: Malice,
) -> None:
    plan = alone.true_plan()
    with alone.policy(epsilon=1):
        codes = [alone.order(plan) for _ in range(REFUSED_ORDERS_A_DAY)]
        assert set(codes) == {"policy"}
        entries = alone.length()
        assert alone.order(plan) == alone.order(plan, agreement=plan.model) == "unavailable"
        alone.restart()  # begins nothing anew
        assert alone.order(plan) == "unavailable"
        assert alone.length() == entries  # nobody fills the disk
    alone.honest_round()
    alone.tomorrow()
    with alone.policy(epsilon=1):
        assert alone.order(alone.true_plan()) == "policy"


def test_a_flood_of_offers_is_not_kept_and_what_was_kept_can_be_signed(alone: Malice) -> None:
    offers = [alone.draft() for _ in range(MAX_OFFERS + 5)]
    for offer in offers:
        alone.tell(offer)
    known = [one.agreement for one in alone.inst.agreements.known()]
    assert known == [alone.agreement, *offers[:MAX_OFFERS]]
    assert alone.propose(offers[3]) == ""
    alone.tell(offers[-1])  # there is room for one again
    assert offers[-1] in [one.agreement for one in alone.inst.agreements.known()]


# the document


def test_the_table_of_cases_in_the_document_is_that_of_the_cases() -> None:
    """`python -m tests.simulation.malice` writes it."""
    text = ATTACKS.read_text("utf-8")
    assert "<!-- cases -->" in text
    assert rewritten(text) == text
