"""`comity client budget`: a person sees what is left, grants with open eyes, and can look ahead."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.commands import Outcome, comity
from tests.simulation.federation import make_agreement, promising_nothing
from tests.unit.common.dp.book import NOTHING, STEP, charge, nonce, refund, spending

from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_common.agreement import Agreement, TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import SigningKeys
from comity_common.dp.terms import Gate, Guarantee
from comity_common.errors import Refusal
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import BudgetGrant
from comity_common.mechanisms import schedule_event, spending_of

CEILING = Guarantee(epsilon=Decimal(20), delta=Decimal("0.00004"))


@pytest.fixture
def inst(tmp_path: Path) -> Institution:
    settings = VaultConfig(id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1")
    made = Institution.create(tmp_path / "home", settings)
    register(made, "intents")
    return made


def register(inst: Institution, name: str, **where: str) -> None:
    file = inst.home.path.parent / f"{name}.jsonl"
    file.write_text(json.dumps({"text": f"text of {name}", "label": "a"}))
    inst.data.register(
        file, name=name, task=TaskKind.SEQUENCE_CLASSIFICATION, ceiling=CEILING, **where
    )


def budget(inst: Institution, *words: object) -> Outcome:
    return comity("client", "budget", *words, "--home", inst.home.path)


def told(inst: Institution, *words: object):  # type: ignore[no-untyped-def]
    return budget(inst, *words, "--json").data


def code(inst: Institution, *words: object) -> str:
    outcome = budget(inst, *words, "--json")
    assert outcome.exit_code != 0
    return str(outcome.envelope["error"]["code"])


def reserve(inst: Institution, number: int, agreement: Agreement | None = None) -> None:
    """Reserve a round: of an agreement, or of one that is made up."""
    terms = spending_of(agreement) if agreement else spending(number)
    event = schedule_event(agreement, 1) if agreement else STEP
    with inst.store.transaction() as tx:
        made = inst.ledger.budget().reserve(
            inst.data.find("intents"), terms, event, nonce=nonce(number), epoch=1, round=number
        )
        inst.ledger.append(tx, made)


def in_force(
    inst: Institution, changed: Callable[[Agreement], Agreement] = lambda agreement: agreement
) -> Agreement:
    keys = {InstitutionId(f"inst-{k}"): SigningKeys.generate() for k in range(3)}
    agreement = changed(make_agreement(keys, SigningKeys.generate()))
    row = (agreement.digest, encode(agreement), "in-force", inst.data.find("intents"))
    with inst.store.transaction() as tx:
        tx.execute("insert into agreements values (?, ?, ?, ?)", row)
    return agreement


def grants(inst: Institution) -> list[BudgetGrant]:
    bodies = [entry.body for entry in inst.ledger.entries()]
    return [body for body in bodies if isinstance(body, BudgetGrant)]


def test_without_data_there_is_no_budget(tmp_path: Path) -> None:
    settings = VaultConfig(id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1")
    empty = Institution.create(tmp_path / "empty", settings)
    assert told(empty, "show") == told(empty, "history") == []
    assert "there is no budget" in budget(empty, "show").output
    assert "Nothing has happened" in budget(empty, "history").output
    assert code(empty, "grant", "--order", 8) == "COM-BUDGET-008"


@pytest.mark.parametrize("left", [None, b""])
def test_a_budget_is_never_begun_anew_where_a_database_was(
    inst: Institution, left: bytes | None
) -> None:
    found = sorted(inst.home.path.glob("vault.db*"))
    for file in found:
        file.unlink()
    if left is not None:
        inst.home.database.write_bytes(left)
    there = sorted(inst.home.path.rglob("*"))
    for words in (("show",), ("history",), ("grant", "--order", 8)):
        assert code(inst, *words) == "COM-CLIENT-003"
    assert sorted(inst.home.path.rglob("*")) == there


def test_a_budget_that_nobody_granted_is_shown_as_such(inst: Institution) -> None:
    (row,) = told(inst, "show")
    assert (row["budget"], row["unit"], row["data"]) == ("default", "record", ["intents"])
    assert (row["epsilon_ceiling"], row["delta"]) == ("20", "0.00004")
    assert row["grants"] == []
    assert row["not_granted"] == {"epsilon": "20", "delta": "0.00004"}
    text = budget(inst, "show").output
    assert "default: ε = 20 at δ = 0.00004 for any record, for life" in text
    assert f"[{'.' * 40}]" in text


def test_what_is_charged_reserved_and_free_is_drawn_and_told(inst: Institution) -> None:
    told(inst, "grant", "--epsilon", 8, "--delta", "1e-5", "--order", 4)
    for number in (1, 2, 3):
        reserve(inst, number)
    with inst.store.transaction() as tx:
        inst.ledger.append(tx, charge(1))
    (row,) = told(inst, "show")
    (grant,) = row["grants"]
    statement = inst.ledger.budget().statement(row["namespace"])
    assert row["epsilon_charged"] == grant["epsilon_charged"] == statement.epsilon_charged > 0
    assert row["epsilon_reserved"] == statement.epsilon_reserved > statement.epsilon_charged
    assert grant["share"] == pytest.approx(0.75, abs=1e-3)
    assert (grant["gate"], grant["order"], grant["epsilon"]) == ("renyi", 4, "8")
    assert row["not_granted"] == {"epsilon": "12", "delta": "0.00003"}
    text = budget(inst, "show").output
    bar = text.split("[")[1].split("]")[0]
    assert len(bar) == 40
    assert bar.count("#") == -(-40 * statement.epsilon_charged // 20)
    assert bar.count("#") + bar.count("=") == -(-40 * statement.epsilon_reserved // 20)
    assert f"{grant['grant'][:8]}  ε = 8 at δ = 0.00001, by renyi at order 4: 75.0% gone" in text


def test_what_was_agreed_on_and_not_begun_is_told_apart(inst: Institution) -> None:
    agreement = in_force(inst)
    inst.data.grant(inst.data.find("intents"), 8)
    (before,) = told(inst, "show")
    reserve(inst, 1, agreement)
    (after,) = told(inst, "show")
    assert before["epsilon_reserved"] == 0 < before["epsilon_committed"]
    assert after["epsilon_committed"] == before["epsilon_committed"] > after["epsilon_reserved"]


def test_an_agreement_that_is_over_is_not_waited_for(inst: Institution) -> None:
    agreement = in_force(inst)
    inst.data.grant(inst.data.find("intents"), 8)
    reserve(inst, 1, agreement)
    with inst.store.transaction() as tx:
        inst.progress.begin(tx, agreement)
    (running,) = told(inst, "show")
    last = replace(inst.progress.get(agreement.digest), certified=agreement.schedule.rounds)
    with inst.store.transaction() as tx:
        inst.progress.set(tx, agreement.digest, last)
    (over,) = told(inst, "show")
    assert over["epsilon_committed"] == over["epsilon_reserved"] < running["epsilon_committed"]


def test_an_agreement_whose_last_day_is_over_is_not_waited_for(inst: Institution) -> None:
    def until_yesterday(agreement: Agreement) -> Agreement:
        return replace(agreement, schedule=replace(agreement.schedule, expires="2026-01-01"))

    agreement = in_force(inst, until_yesterday)
    inst.data.grant(inst.data.find("intents"), 8)
    reserve(inst, 1, agreement)
    (row,) = told(inst, "show")
    assert row["epsilon_committed"] == row["epsilon_reserved"] > 0


def test_a_grant_is_for_a_part_or_for_the_rest_and_is_asked_for(inst: Institution) -> None:
    assert told(inst, "grant", "--epsilon", 8, "--delta", "1e-5", "--order", 4)["epsilon"] == "8"
    rest = told(inst, "grant", "--gate", "fixed-schedule")
    assert (rest["epsilon"], rest["delta"], rest["order"]) == ("12", "0.00003", None)
    one, two = grants(inst)
    assert (one.gate, one.order) == (Gate.RENYI, 4)
    assert (two.gate, two.order) == (Gate.FIXED_SCHEDULE, 0)
    assert code(inst, "grant", "--gate", "fixed-schedule") == "COM-RULE-001"
    assert len(grants(inst)) == 2


def test_a_grant_is_not_made_without_a_yes(inst: Institution) -> None:
    assert budget(inst, "grant", "--order", 8).exit_code != 0
    assert grants(inst) == []
    assert "Granted: " in budget(inst, "grant", "--order", 8, "--yes").output
    assert len(grants(inst)) == 1


def test_a_grant_is_raised_by_its_name_at_its_terms(inst: Institution) -> None:
    name = told(inst, "grant", "--epsilon", 8, "--delta", "1e-5", "--order", 4)["grant"]
    raised = told(inst, "grant", "--top-up", name[:6], "--epsilon", 11)
    assert (raised["grant"], raised["epsilon"], raised["delta"]) == (name, "11", "0.00001")
    for words, expected in (
        (("--top-up", name, "--epsilon", 11), "COM-RULE-001"),
        (("--top-up", name, "--epsilon", 21), "COM-RULE-001"),
        (("--top-up", "zz", "--epsilon", 12), "COM-BUDGET-006"),
        (("--top-up", name), "COM-BUDGET-009"),
        (("--top-up", name, "--epsilon", 12, "--delta", "1e-5"), "COM-BUDGET-009"),
    ):
        assert code(inst, "grant", *words) == expected
    assert [one.guarantee.epsilon for one in grants(inst)] == [8, 11]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--order", 1), "COM-BUDGET-009"),
        (("--order", 257), "COM-BUDGET-009"),
        ((), "COM-BUDGET-009"),
        (("--gate", "fixed-schedule", "--order", 4), "COM-BUDGET-009"),
        (("--order", 4, "--epsilon", "much"), "COM-DATA-022"),
        (("--order", 4, "--delta", "0"), "COM-DATA-022"),
        (("--order", 4, "--delta", "1"), "COM-DATA-022"),
        (("--epsilon", "-1"), "COM-DATA-022"),
        (("--order", 4, "--epsilon", "21"), "COM-RULE-001"),
        (("--order", 2, "--epsilon", "0.1"), "COM-RULE-001"),
        (("--order", 4, "--data", "none"), "COM-DATA-016"),
        (("--gate", "none"), "COM-ANY-004"),
        (("--without-privacy",), "COM-BUDGET-007"),
        (("--without-privacy", "--epsilon", 1), "COM-BUDGET-009"),
        (("--without-privacy", "--gate", "fixed-schedule"), "COM-BUDGET-009"),
        (("--top-up", "0", "--epsilon", 1, "--gate", "fixed-schedule"), "COM-BUDGET-009"),
    ],
)
def test_a_wrong_grant_changes_nothing(
    inst: Institution, words: tuple[object, ...], expected: str
) -> None:
    before = inst.ledger.entries()
    assert code(inst, "grant", *words) == expected
    assert inst.ledger.entries() == before


def test_what_has_no_privacy_is_shown_as_infinite(inst: Institution) -> None:
    inst.data.grant(inst.data.find("intents"), 4)
    namespace = inst.ledger.budget().namespaces()[0]
    grant = BudgetGrant(
        grant=nonce(9), namespace=namespace, guarantee=None, gate=Gate.NONE, order=0
    )
    with inst.store.transaction() as tx:
        inst.ledger.append(tx, grant)
        terms = spending(1, NOTHING, gate=Gate.NONE)
        made = inst.ledger.budget().reserve(
            inst.data.find("intents"), terms, NOTHING, nonce=nonce(1), epoch=1, round=1
        )
        inst.ledger.append(tx, made)
    (row,) = told(inst, "show")
    assert row["epsilon_reserved"] == "infinite"
    assert told(inst, "history")[-1]["epsilon"] == "infinite"
    assert "nothing is promised any more" in budget(inst, "show").output
    assert told(inst, "forecast", *LIKE_A_STEP)["runs"] == 0
    listed = comity("client", "data", "list", "--home", inst.home.path, "--json").data
    assert listed[0]["epsilon_reserved"] == "infinite"


def test_the_history_has_every_step_and_what_it_came_to(inst: Institution) -> None:
    agreement = in_force(inst)
    inst.data.grant(inst.data.find("intents"), 8)
    for number in (1, 2):
        reserve(inst, number, agreement)
    with inst.store.transaction() as tx:
        inst.ledger.append(tx, charge(1))
        inst.ledger.append(tx, refund(2))
    rows = told(inst, "history")
    assert [row["kind"] for row in rows] == [
        *("dataset.register", "budget.grant", "budget.reserve", "budget.reserve"),
        *("budget.charge", "budget.refund"),
    ]
    assert [row["round"] for row in rows] == [None, None, 1, 2, 1, 2]
    assert [row["steps"] for row in rows] == [None, None, 5, 5, 5, 5]
    assert {row["run"] for row in rows[2:]} == {"simulated"}
    spent = [row["epsilon"] for row in rows]
    assert spent[:2] == [0, 0] < spent[2:3] < spent[3:4] == spent[4:5]
    assert spent[5] == spent[2]
    text = budget(inst, "history").output
    assert "released" in text
    assert "round-void" in text
    assert len(text.splitlines()) == 7


def test_the_history_can_be_of_one_budget(inst: Institution) -> None:
    register(inst, "others", separate="apart")
    assert [row["budget"] for row in told(inst, "history")] == ["default", "apart"]
    assert [row["budget"] for row in told(inst, "history", "--data", "others")] == ["apart"]
    assert code(inst, "grant", "--order", 8) == "COM-BUDGET-008"
    assert told(inst, "grant", "--order", 8, "--data", "others")["epsilon"] == "20"


LIKE_A_STEP = (
    *("--sampling-probability", STEP.sampling_probability),
    *("--noise-multiplier", STEP.noise_multiplier, "--steps", STEP.steps),
    *("--delta", "1e-5"),
)


@pytest.mark.parametrize("gate", ["renyi", "fixed-schedule"])
def test_a_forecast_by_numbers_is_how_many_really_fit(inst: Institution, gate: str) -> None:
    order = ("--order", 4) if gate == "renyi" else ()
    told(inst, "grant", "--epsilon", 12, "--delta", "4e-5", "--gate", gate, *order)
    data = told(inst, "forecast", *LIKE_A_STEP, "--gate", gate)
    claim = Guarantee(epsilon=Decimal(data["epsilon_each"]), delta=Decimal(data["delta_each"]))
    fitted, dataset = 0, inst.data.find("intents")
    for number in range(1, 50):
        terms = spending(number, rounds=1, gate=Gate(gate), guarantee=claim)
        try:
            with inst.store.transaction() as tx:
                made = inst.ledger.budget().reserve(
                    dataset, terms, STEP, nonce=nonce(number), epoch=1, round=1
                )
                inst.ledger.append(tx, made)
        except Refusal:
            break
        fitted += 1
    assert data["runs"] == fitted > 1
    assert f"{fitted} more runs like this fit" not in budget(inst, "forecast", *LIKE_A_STEP).output
    assert told(inst, "forecast", *LIKE_A_STEP, "--gate", gate)["runs"] == 0


def test_a_forecast_like_an_agreement_sets_its_own_rest_aside(inst: Institution) -> None:
    agreement = in_force(inst)
    inst.data.grant(inst.data.find("intents"), 8)
    ledger = inst.ledger.budget()
    fresh = replace(spending_of(agreement), agreement=agreement.model.base)
    alone = ledger.forecast(inst.data.find("intents"), fresh)
    data = told(inst, "forecast", "simulated")
    assert data["runs"] == alone - 1
    assert data["epsilon_each"] == "8"
    number = {0: "No more runs", 1: "One more run"}.get(data["runs"], f"{data['runs']} more runs")
    assert budget(inst, "forecast", "simulated").output.startswith(f"{number} like simulated fit")


def test_of_runs_that_promise_nothing_there_is_no_forecast(inst: Institution) -> None:
    in_force(inst, promising_nothing)
    assert code(inst, "forecast", "simulated") == "COM-BUDGET-009"


def test_a_forecast_like_an_agreement_can_be_asked_for_other_rows(inst: Institution) -> None:
    in_force(inst)
    register(inst, "others", separate="apart")
    for name in ("intents", "others"):
        inst.data.grant(inst.data.find(name), 8)
    here, there = (
        told(inst, "forecast", "simulated", "--data", name)["runs"]
        for name in ("intents", "others")
    )
    assert told(inst, "forecast", "simulated")["runs"] == here
    assert there == here + 1  # nothing is signed there that has its own rest to spend
    assert code(inst, "forecast", "simulated", "--data", "none") == "COM-DATA-016"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "COM-BUDGET-009"),
        (("simulated", *LIKE_A_STEP), "COM-BUDGET-009"),
        (("simulated", *LIKE_A_STEP[:2]), "COM-BUDGET-009"),
        (("simulated", "--delta", "1e-6"), "COM-BUDGET-009"),
        (("simulated", "--gate", "fixed-schedule"), "COM-BUDGET-009"),
        ((*LIKE_A_STEP[:4], "--steps", 1, "--delta", "1"), "COM-DATA-022"),
        (LIKE_A_STEP[:4], "COM-BUDGET-009"),
        (("nobody",), "COM-AGREE-001"),
    ],
)
def test_a_forecast_needs_one_thing_to_go_by(
    inst: Institution, words: tuple[object, ...], expected: str
) -> None:
    assert code(inst, "forecast", *words) == expected
