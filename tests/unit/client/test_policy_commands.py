"""`comity client policy`: only what is named changes, the ledger knows, and words say it."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from tests.commands import comity

from comity_client.config import VaultConfig
from comity_client.institution import Institution
from comity_client.keystore import Keystore
from comity_client.policy import Policy, load
from comity_common.agreement import TaskKind, Unit
from comity_common.ledger.bodies import PolicySet
from comity_common.tuning import Tune


@pytest.fixture
def home(tmp_path: Path) -> Path:
    settings = VaultConfig(
        id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1", sockets=tmp_path / "s"
    )
    Institution.create(tmp_path / "home", settings)
    return tmp_path / "home"


def policies_on_the_ledger(home: Path) -> list[PolicySet]:
    bodies = [entry.body for entry in Institution(home).ledger.entries()]
    return [body for body in bodies if isinstance(body, PolicySet)]


def test_only_what_is_named_changes(home: Path) -> None:
    (home / "policy.toml").write_text('delta = 1e-7\ntune = ["head"]\noperators = ["FR"]\n')
    comity("client", "policy", "set", "--epsilon", "0.5", "--min-participants", "4", "--home", home)
    assert load(home / "policy.toml") == Policy(
        epsilon=Decimal("0.5"),
        delta=Decimal("0.0000001"),
        min_participants=4,
        tune=(Tune.HEAD,),
        operators=("FR",),
    )


def test_a_repeated_option_adds_up_and_any_clears(home: Path) -> None:
    name = home / "policy.toml"
    words = ("--tune", "lora", "--tune", "head", "--operators", "fr", "--operators", "DE")
    comity("client", "policy", "set", *words, "--home", home)
    assert load(name).tune == (Tune.LORA, Tune.HEAD)
    assert load(name).operators == ("DE", "FR")
    comity("client", "policy", "set", "--operators", "any", "--home", home)
    assert load(name) == Policy(tune=(Tune.LORA, Tune.HEAD))


def test_every_rule_can_be_set_and_let_go(home: Path) -> None:
    words = {
        "--without-privacy": "yes",
        "--private-evaluation": "no",
        "--unit": "person",
        "--tasks": "token-classification",
        "--purposes": "sort messages, of customers",
        "--models": "0" * 64,
        "--tune": "head",
        "--institutions": "de",
        "--rounds": "20",
        "--days": "90",
        "--until": "2027-12-31",
        "--upload-bytes": "1000000",
        "--expires": "2027-06-30",
    }
    told = comity("client", "policy", "set", *sum(words.items(), ()), "--home", home, "--json").data
    assert load(home / "policy.toml") == Policy(
        without_privacy=True,
        private_evaluation=False,
        unit=Unit.PERSON,
        tasks=(TaskKind.TOKEN_CLASSIFICATION,),
        purposes=("sort messages, of customers",),
        models=("0" * 64,),
        tune=(Tune.HEAD,),
        institutions=("DE",),
        rounds=20,
        days=90,
        until=date(2027, 12, 31),
        upload_bytes=1_000_000,
        expires=date(2027, 6, 30),
    )
    for sentence in (
        "for any person, not only for any record.",
        "An agreement may also promise no privacy at all (ε = ∞).",
        "A model may learn to mark words in texts.",
        "The purpose may be 'sort messages, of customers'.",
        f"The base model may be {'0' * 64}.",
        "The other institutions may sit in DE.",
        "An agreement may run for at most 20 rounds, spare ones in, over at most 90 more days, "
        "until 2027-12-31.",
        "In a round, at most 1,000,000 bytes may leave, masked.",
        "These rules lapse after 2027-06-30; from then on nothing is permitted.",
    ):
        assert any(line.endswith(sentence) for line in told["words"]), sentence
    back = dict.fromkeys(words, "any") | {"--without-privacy": "no", "--unit": "record"}
    back["--private-evaluation"] = "yes"
    back["--expires"] = "never"
    comity("client", "policy", "set", *sum(back.items(), ()), "--home", home)
    assert load(home / "policy.toml") == Policy()


def test_the_ledger_names_the_rules_by_a_salted_digest_and_nothing_else(home: Path) -> None:
    assert policies_on_the_ledger(home) == []
    comity("client", "policy", "set", "--epsilon", "2", "--home", home)
    salt, policy = Keystore(home / "keys").policy_salt, load(home / "policy.toml")
    assert policies_on_the_ledger(home) == [PolicySet(policy=policy.commitment(salt))]


def test_nobody_can_try_policies_out_on_the_ledger_of_an_institution(tmp_path: Path) -> None:
    named = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        named.add(Policy().commitment(Keystore.create(tmp_path / name).policy_salt))
    assert len(named) == 2


def test_two_spellings_of_one_number_are_one_policy() -> None:
    salt = bytes(32)
    two = Policy(epsilon=Decimal(2)).commitment(salt)
    assert Policy(epsilon=Decimal("2.0")).commitment(salt) == two
    assert Policy(epsilon=Decimal("2.1")).commitment(salt) != two


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epsilon", "0"), "--epsilon: expected a number above 0"),
        (("--epsilon", "-1"), "--epsilon: expected a number above 0"),
        (("--epsilon", "nan"), "--epsilon: expected a number above 0"),
        (("--epsilon", "inf"), "--epsilon: expected a number above 0"),
        (("--epsilon", "much"), "--epsilon: expected a number above 0"),
        (("--epsilon", "1e60"), "40 digits"),
        (("--delta", "1"), "--delta: expected a number above 0 and below 1"),
        (("--min-participants", "2"), "--min-participants: expected a whole number of at least 3"),
        (("--min-participants", "3.5"), "--min-participants: expected a whole number"),
        (("--operators", "Germany"), "--operators: expected countries as two letters"),
        (("--operators", "DE", "--operators", "any"), "--operators: expected countries"),
        (("--without-privacy", "maybe"), "--without-privacy: expected yes or no"),
        (("--unit", "household"), "--unit: expected record or person"),
        (("--tasks", "sorting"), "--tasks: expected sequence-classification or"),
        (("--purposes", " "), "--purposes: expected lines of visible characters"),
        (("--models", "a\nb"), "--models: expected names or digests of base models"),
        (("--institutions", "Europe"), "--institutions: expected countries as two letters"),
        (("--rounds", "0"), "--rounds: expected a whole number of at least 1, or any"),
        (("--rounds", str(2**53)), "--rounds: expected a whole number"),
        (("--days", "soon"), "--days: expected a whole number"),
        (("--until", "2027-02-30"), "--until: expected a day as YYYY-MM-DD, or any"),
        (("--until", "12"), "--until: expected a day as YYYY-MM-DD, or any"),
        (("--upload-bytes", "1.5"), "--upload-bytes: expected a whole number"),
        (("--expires", "2027"), "--expires: expected a day as YYYY-MM-DD, or never"),
        (("--tune", "everything"), "--tune: expected head, lora, lora-plain, bitfit or full"),
        ((), "no rule is named"),
    ],
)
def test_a_wrong_value_is_told_in_one_line_and_changes_nothing(
    home: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = comity("client", "policy", "set", *words, "--home", home, "--json")
    assert outcome.exit_code in (1, 2)
    assert said in outcome.envelope["error"]["message"]
    assert len(outcome.output.splitlines()) == 1
    assert not (home / "policy.toml").exists()
    assert policies_on_the_ledger(home) == []


def test_a_file_that_cannot_be_read_is_not_overwritten(home: Path) -> None:
    (home / "policy.toml").write_text("epsilonn = 1\n")
    outcome = comity("client", "policy", "set", "--epsilon", "2", "--home", home)
    assert outcome.exit_code == 1
    assert "the nearest that exists is epsilon" in outcome.error
    assert (home / "policy.toml").read_text() == "epsilonn = 1\n"


def test_the_ledger_stays_as_it_was_where_the_file_cannot_be_written(home: Path) -> None:
    (home / "policy.toml.draft").mkdir()
    assert comity("client", "policy", "set", "--epsilon", "2", "--home", home).exit_code == 1
    assert policies_on_the_ledger(home) == []


def test_words_say_what_is_permitted(home: Path) -> None:
    words = ("--epsilon", "8", "--min-participants", "4", "--tune", "head", "--tune", "lora")
    told = comity("client", "policy", "set", *words, "--operators", "DE", "--home", home).output
    assert told.startswith("From now on:")
    shown = comity("client", "policy", "show", "--home", home).output
    assert told.splitlines()[1:] == shown.splitlines()[1:]
    for sentence in (
        "at most ε = 8 at δ = 0.00001 for any record",
        "at least 4 institutions in every round",
        "Only the classifier or LoRA (small updates inside the BERT) may be trained, "
        "not both factors of LoRA nor the biases of the BERT nor the whole BERT.",
        "The operator may sit in DE.",
    ):
        assert sentence in shown


def test_without_a_file_the_defaults_are_shown(home: Path) -> None:
    data = comity("client", "policy", "show", "--home", home, "--json").data
    assert (data["epsilon"], data["min_participants"], data["operators"]) == ("8", 3, [])
    assert "The operator may sit in any country." in data["words"]
    assert any(line.startswith("Any part of the model may be trained") for line in data["words"])


def test_where_there_is_no_institution_the_fix_says_how_to_make_one(tmp_path: Path) -> None:
    for words in (("show",), ("set", "--epsilon", "1")):
        outcome = comity("client", "policy", *words, "--home", tmp_path / "none", "--json")
        assert outcome.envelope["error"]["code"] == "COM-CLIENT-002"
        assert not (tmp_path / "none").exists()
