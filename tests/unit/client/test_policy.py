"""The institution's own rules: default-deny, one code for all, and never a guess at a file."""

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.blocks import blocks
from tests.simulation.federation import make_agreement, promising_nothing

from comity_client.agreements import MAX_KNOWN, MAX_OFFERS
from comity_client.limits import JUDGED_A_DAY, REFUSED_ORDERS_A_DAY
from comity_client.policy import EXPECTED, Policy, load, save
from comity_common.agreement import Agreement, TaskKind, Unit
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import LocalError, Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.masking import vector_bytes
from comity_common.tuning import Tune

ME = InstitutionId("inst-00")
TODAY = date(2099, 12, 1)  # the agreement runs until the end of that month, 31 days


def check(policy: Policy, agreement: Agreement, today: date = TODAY) -> None:
    policy.check(agreement, ME, today)


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    keys = {InstitutionId(f"inst-0{k}"): SigningKeys.generate() for k in range(4)}
    return make_agreement(keys, SigningKeys.generate(), minimum=3)


def on_every_bound(agreement: Agreement) -> Policy:
    """What permits this agreement and hardly another."""
    lanes, width = agreement.model.parameters, agreement.aggregation.ring_width
    return Policy(
        epsilon=agreement.privacy.epsilon,
        delta=agreement.privacy.delta,
        min_participants=3,
        tasks=(TaskKind.SEQUENCE_CLASSIFICATION,),
        purposes=(agreement.purpose,),
        models=(agreement.model.base,),
        tune=(Tune.HEAD,),
        operators=("DE",),
        institutions=("DE",),
        rounds=agreement.schedule.attempts,
        days=31,
        until=date(2099, 12, 31),
        upload_bytes=vector_bytes(lanes, width),
        expires=TODAY,
    )


def test_what_lies_exactly_on_every_bound_is_allowed(agreement: Agreement) -> None:
    check(on_every_bound(agreement), agreement)


STRICTER: list[dict[str, Any]] = [
    {"epsilon": Decimal("7.999999")},
    {"delta": Decimal("0.000009")},
    {"unit": Unit.PERSON},
    {"min_participants": 4},
    {"tasks": (TaskKind.TOKEN_CLASSIFICATION,)},
    {"tasks": ()},
    {"purposes": ("testing ", "Testing", "testing others")},
    {"models": ("minilm", "9" * 64)},
    {"tune": (Tune.LORA, Tune.FULL)},
    {"tune": ()},
    {"operators": ("FR", "NL")},
    {"institutions": ("FR", "NL")},
    {"rounds": 4},
    {"days": 30},
    {"until": date(2099, 12, 30)},
    {"upload_bytes": 215},
]
SAID = {"epsilon": "ε", "delta": "δ"}


def test_every_rule_is_tried_alone() -> None:
    tried = {name for rule in STRICTER for name in rule}
    apart = {"without_privacy", "private_evaluation", "expires"}
    assert tried | apart == set(Policy.model_fields) == set(EXPECTED)


@pytest.mark.parametrize("rule", STRICTER, ids=str)
def test_every_rule_alone_refuses_and_is_named_at_home(
    agreement: Agreement, rule: dict[str, Any]
) -> None:
    with pytest.raises(Refusal) as refusal:
        check(Policy(**rule), agreement)
    assert refusal.value.code is RefusalCode.POLICY
    (name,) = rule
    assert f"expected {SAID.get(name, name)} within" in str(refusal.value)


def test_no_privacy_is_refused_unless_it_is_allowed_by_name(agreement: Agreement) -> None:
    baseline = promising_nothing(agreement)
    with pytest.raises(Refusal, match="expected without_privacy within") as refusal:
        check(Policy(), baseline)
    assert refusal.value.code is RefusalCode.POLICY
    check(Policy(without_privacy=True), baseline)
    check(Policy(without_privacy=True), agreement)


def test_a_person_is_more_than_a_record(agreement: Agreement) -> None:
    person = replace(agreement, privacy=replace(agreement.privacy, unit=Unit.PERSON))
    check(Policy(unit=Unit.PERSON), person)
    check(Policy(unit=Unit.RECORD), person)


def test_a_base_is_meant_by_its_name_or_by_its_digest_and_never_by_a_digest_as_its_name(
    agreement: Agreement,
) -> None:
    check(Policy(models=("other", "none")), agreement)
    allowed = agreement.model.base
    disguised = replace(
        agreement, model=replace(agreement.model, name=allowed, base=Digest("9" * 64))
    )
    with pytest.raises(Refusal):
        check(Policy(models=(allowed,)), disguised)


def test_where_the_others_sit_is_asked_of_every_one_but_this_institution(
    agreement: Agreement,
) -> None:
    first, second, *others = agreement.institutions
    me_abroad = replace(
        agreement, institutions=(replace(first, jurisdiction="JP"), second, *others)
    )
    check(Policy(institutions=("DE",)), me_abroad)
    another = replace(agreement, institutions=(first, replace(second, jurisdiction="JP"), *others))
    with pytest.raises(Refusal, match="the agreement has JP"):
        check(Policy(institutions=("DE",)), another)
    check(Policy(institutions=("DE", "JP")), another)


def test_days_are_counted_from_today_with_both_ends(agreement: Agreement) -> None:
    with pytest.raises(Refusal, match="the agreement has 31"):
        check(Policy(days=30), agreement)
    check(Policy(days=30), agreement, date(2099, 12, 2))
    check(Policy(days=1), agreement, date(2099, 12, 31))


def test_rules_that_have_lapsed_permit_nothing(agreement: Agreement) -> None:
    policy = Policy(expires=TODAY)
    check(policy, agreement, TODAY)
    with pytest.raises(Refusal, match="was good until 2099-12-01") as refusal:
        check(policy, agreement, date(2099, 12, 2))
    assert refusal.value.code is RefusalCode.POLICY


def test_the_defaults_refuse_more_than_epsilon_8_at_1e_5(agreement: Agreement) -> None:
    check(Policy(), agreement)
    for privacy in (
        replace(agreement.privacy, epsilon=Decimal("8.01")),
        replace(agreement.privacy, delta=Decimal("0.0001")),
    ):
        with pytest.raises(Refusal):
            check(Policy(), replace(agreement, privacy=privacy))


def test_every_rule_is_part_of_what_the_ledger_names(agreement: Agreement) -> None:
    policies = [Policy(**rule) for rule in STRICTER]
    policies += [Policy(without_privacy=True), Policy(expires=TODAY), Policy()]
    assert len({policy.commitment(bytes(32)) for policy in policies}) == len(policies)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path / "policy.toml") == Policy()


def test_a_file_is_read_with_exact_decimals(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('epsilon = 0.1\ndelta = 1e-6\ntune = ["head"]\noperators = ["DE"]\n')
    policy = load(file)
    assert (policy.epsilon, policy.delta) == (Decimal("0.1"), Decimal("0.000001"))
    assert (policy.tune, policy.operators, policy.min_participants) == ((Tune.HEAD,), ("DE",), 3)


def test_a_file_with_every_rule_is_written_and_read_back(
    tmp_path: Path, agreement: Agreement
) -> None:
    policy = on_every_bound(agreement).changed({"without_privacy": True, "unit": "person"})
    save(tmp_path / "policy.toml", policy)
    assert load(tmp_path / "policy.toml") == policy
    (tmp_path / "policy.toml").write_text("until = 2027-12-31\nexpires = '2027-01-31'\n")
    assert load(tmp_path / "policy.toml") == Policy(
        until=date(2027, 12, 31), expires=date(2027, 1, 31)
    )


def test_the_example_in_the_document_has_every_rule_and_the_table_explains_it(
    tmp_path: Path,
) -> None:
    page = Path(__file__).parents[3] / "docs" / "policy.md"
    (example,) = (one for one in blocks(page) if one.how == "policy.toml")
    (tmp_path / "policy.toml").write_text(example.text)
    assert load(tmp_path / "policy.toml").model_fields_set == set(Policy.model_fields)
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    explained = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert explained == list(Policy.model_fields)


def test_the_limits_in_the_document_are_those_that_hold() -> None:
    page = (Path(__file__).parents[3] / "docs" / "policy.md").read_text("utf-8")
    for sentence in (
        f"- {JUDGED_A_DAY} agreements are judged in a day.",
        f"- {MAX_OFFERS} offers wait for a decision at a time, and {MAX_KNOWN} agreements are kept",
        f"- {REFUSED_ORDERS_A_DAY} refused orders are answered",
    ):
        assert sentence in page


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("epsilonn = 1", "epsilonn"),
        ("epsilon = 0", "epsilon"),
        ("epsilon = -1", "epsilon"),
        ("epsilon = nan", "epsilon"),
        ("epsilon = inf", "epsilon"),
        ("delta = 1", "delta"),
        ("min_participants = 2", "min_participants"),
        ('tune = ["everything"]', "tune.0"),
        ('operators = "DE"', "operators"),
        ('institutions = ["Germany"]', "institutions.0"),
        ("without_privacy = 1", "without_privacy"),
        ('without_privacy = "yes"', "without_privacy"),
        ('unit = "household"', "unit"),
        ('tasks = ["classification"]', "tasks.0"),
        ('purposes = [""]', "purposes.0"),
        ('models = ["a\\nb"]', "models.0"),
        ("rounds = 0", "rounds"),
        ("days = 0.5", "days"),
        ("until = 7", "until"),
        ('expires = "soon"', "expires"),
        ("upload_bytes = -1", "upload_bytes"),
    ],
)
def test_a_file_with_a_wrong_or_unknown_key_is_not_used(
    tmp_path: Path, text: str, key: str
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(LocalError, match=rf"policy.toml: (unknown key )?{key}\b"):
        load(file)


@pytest.mark.parametrize("raw", [b"epsilon 1", b"\xff\xfe", b"epsilon = 1\nepsilon = 8"])
def test_a_file_that_is_no_toml_is_not_used(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(raw)
    with pytest.raises(LocalError, match=r"cannot read policy\.toml"):
        load(file)


def test_a_policy_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").mkdir()
    with pytest.raises(LocalError):
        load(tmp_path / "policy.toml")
