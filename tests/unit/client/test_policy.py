"""The institution's own rules: default-deny, one code for all, and never a guess at a file."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.federation import make_agreement

from comity_client.policy import Policy, load
from comity_common.agreement import Agreement
from comity_common.crypto.sign import SigningKeys
from comity_common.errors import LocalError, Refusal, RefusalCode
from comity_common.ids import InstitutionId
from comity_common.tuning import Tune


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    keys = {InstitutionId(f"inst-0{k}"): SigningKeys.generate() for k in range(4)}
    return make_agreement(keys, SigningKeys.generate(), minimum=3)


def test_what_lies_exactly_on_every_bound_is_allowed(agreement: Agreement) -> None:
    Policy(
        epsilon=agreement.privacy.epsilon,
        delta=agreement.privacy.delta,
        min_participants=3,
        tune=(Tune.HEAD,),
        operators=("DE",),
    ).check(agreement)


STRICTER: list[dict[str, Any]] = [
    {"epsilon": Decimal("7.999999")},
    {"delta": Decimal("0.000009")},
    {"min_participants": 4},
    {"tune": (Tune.LORA, Tune.FULL)},
    {"tune": ()},
    {"operators": ("FR", "NL")},
]
SAID = {"epsilon": "ε", "delta": "δ"}


@pytest.mark.parametrize("rule", STRICTER, ids=lambda rule: next(iter(rule)))
def test_every_rule_alone_refuses(agreement: Agreement, rule: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refusal:
        Policy(**rule).check(agreement)
    assert refusal.value.code is RefusalCode.POLICY


def test_a_refusal_names_the_rule_at_home_and_has_one_code_for_all(agreement: Agreement) -> None:
    codes = set()
    for rule in STRICTER:
        with pytest.raises(Refusal) as refusal:
            Policy(**rule).check(agreement)
        codes.add(refusal.value.code)
        (name,) = rule
        assert f"expected {SAID.get(name, name)} within" in str(refusal.value)
    assert codes == {RefusalCode.POLICY}


def test_the_defaults_refuse_more_than_epsilon_8_at_1e_5(agreement: Agreement) -> None:
    Policy().check(agreement)
    for privacy in (
        replace(agreement.privacy, epsilon=Decimal("8.01")),
        replace(agreement.privacy, delta=Decimal("0.0001")),
    ):
        with pytest.raises(Refusal):
            Policy().check(replace(agreement, privacy=privacy))


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path / "policy.toml") == Policy()


def test_a_file_is_read_with_exact_decimals(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('epsilon = 0.1\ndelta = 1e-6\ntune = ["head"]\noperators = ["DE"]\n')
    policy = load(file)
    assert (policy.epsilon, policy.delta) == (Decimal("0.1"), Decimal("0.000001"))
    assert (policy.tune, policy.operators, policy.min_participants) == ((Tune.HEAD,), ("DE",), 3)


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
