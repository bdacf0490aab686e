"""`comity client data`: an institution sees its rows, and nobody else; a ceiling is for life."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.commands import Outcome, comity
from tests.simulation.federation import make_agreement
from tests.unit.client.conftest import TEXTS, WORDS
from tests.unit.common.dp.book import reserve

from comity_client.cli.data import TASKS
from comity_client.config import VaultConfig
from comity_client.datareport import LABELS_SHOWN, Report, count_tokens
from comity_client.institution import Institution
from comity_client.rows import Labelled
from comity_common.agreement import TaskKind
from comity_common.canonical import encode
from comity_common.crypto.sign import SigningKeys
from comity_common.dp.terms import Guarantee, SampledGaussian
from comity_common.ids import InstitutionId
from comity_common.ledger.bodies import DatasetRegister, Genesis

SECRET = "account 4711"
Add = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    settings = VaultConfig(id="inst-00", name="A", jurisdiction="DE", server="127.0.0.1:1")
    Institution.create(tmp_path / "home", settings)
    return tmp_path / "home"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    lines = [
        json.dumps({"text": f"{text} {SECRET} {number}", "label": ("card", "loan")[number % 2]})
        for number, text in enumerate(TEXTS * 4)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture
def add(home: Path, rows: Path, tiny_base: Path) -> Add:
    """Call `comity client data add intents` with a tiny model."""

    def call(*words: object, file: Path = rows, name: str = "intents") -> Outcome:
        model = () if "--model" in words else ("--model", tiny_base)
        return comity("client", "data", "add", name, file, *model, "--home", home, *words)

    return call


def kinds_on_the_ledger(home: Path) -> list[type]:
    return [type(entry.body) for entry in Institution(home).ledger.entries()]


def listed(home: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = comity("client", "data", "list", "--home", home, "--json").data
    return found


def test_a_file_is_registered_with_the_ceiling_of_the_policy(add: Add, home: Path) -> None:
    (home / "policy.toml").write_text("epsilon = 2.5\ndelta = 1e-6\n")
    data = add("--json").data
    assert (data["epsilon_ceiling"], data["delta"]) == ("2.5", "0.000001")
    (known,) = Institution(home).data.all()
    assert known.ceiling == Guarantee(epsilon=Decimal("2.5"), delta=Decimal("0.000001"))
    assert (known.name, known.task) == ("intents", TaskKind.SEQUENCE_CLASSIFICATION)
    assert kinds_on_the_ledger(home) == [Genesis, DatasetRegister]  # no budget without agreement


def test_a_ceiling_can_be_named_and_is_for_life(add: Add, home: Path) -> None:
    add("--ceiling-epsilon", "3", "--ceiling-delta", "1e-7")
    (known,) = Institution(home).data.all()
    assert known.ceiling == Guarantee(epsilon=Decimal(3), delta=Decimal("0.0000001"))
    again = add("--ceiling-epsilon", "4", "--json")
    assert again.envelope["error"]["code"] == "COM-DATA-015"
    assert "--ceiling-epsilon 3 --ceiling-delta 0.0000001" in again.envelope["error"]["fix"]
    assert add("--ceiling-epsilon", "3.0", "--ceiling-delta", "1e-7").exit_code == 0
    assert add().exit_code == 0  # what is there already need not be said again
    assert kinds_on_the_ledger(home) == [Genesis, DatasetRegister]


def test_rows_that_count_in_a_budget_of_their_own_come_back_with_its_ceiling(
    add: Add, home: Path
) -> None:
    add("--separate", "trial", "--ceiling-epsilon", "3")
    comity("client", "data", "remove", "intents", "--home", home)
    back = add("--json")  # there is no default budget
    assert (back.data["budget"], back.data["epsilon_ceiling"]) == ("trial", "3")
    assert add("--ceiling-epsilon", "4", "--json").envelope["error"]["code"] == "COM-DATA-015"


def test_a_ceiling_is_told_for_what_its_budget_counts(add: Add, home: Path, tmp_path: Path) -> None:
    add()
    rows = [{"text": f"another text {k}", "label": "a", "who": f"p{k}"} for k in range(3)]
    file = tmp_path / "persons.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    words = ("client", "data", "add", "persons", file, "--home", home, "--unit-key", "who")
    assert "for any record, for life" in comity(*words).output
    persons = listed(home)[-1]
    assert (persons["unit"], persons["budget_unit"]) == ("person", "record")


def test_every_task_of_an_agreement_can_be_named() -> None:
    assert tuple(kind.value for kind in TaskKind) == TASKS


def test_words_with_labels_are_registered_and_counted_by_word(add: Add, tmp_path: Path) -> None:
    file = tmp_path / "words.jsonl"
    row = {"tokens": ["my", "card", SECRET], "tags": ["O", "B-Thing", "I-Thing"]}
    file.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    words = ("--task", "token-classification")
    added = add(*words, "--json", file=file)
    assert added.exit_code == 0
    assert added.data["task"] == "token-classification"
    report = added.data["report"]
    assert (report["rows"], report["labelled"], report["duplicates"]) == (2, "words", 1.0)
    assert report["labels"] == {"O": 2, "B-Thing": 2, "I-Thing": 2}
    assert report["tokens"]["unknown"] > 0.1
    assert any("fewer than 10 words here" in warning for warning in report["warnings"])
    assert SECRET not in added.output + added.error


def test_words_without_a_label_each_are_not_registered(
    add: Add, rows: Path, home: Path, tmp_path: Path
) -> None:
    words = ("--task", "token-classification", "--json")
    assert add(*words, file=rows).envelope["error"]["code"] == "COM-DATA-007"
    uneven = tmp_path / "uneven.jsonl"
    uneven.write_text(json.dumps({"tokens": [SECRET, "x"], "labels": ["O"]}))
    refused = add(*words, file=uneven)
    assert refused.envelope["error"]["code"] == "COM-DATA-032"
    assert SECRET not in refused.output + refused.error
    assert listed(home) == []


def test_the_institution_is_told_what_is_in_its_rows(add: Add, rows: Path) -> None:
    report = add("--json").data["report"]
    assert report["rows"] == 28
    assert report["labels"] == {"card": 14, "loan": 14}
    assert report["duplicates"] == 0
    assert report["tokens"]["unknown"] > 0.05  # account, 4711 and the numbers
    text = add().output
    assert "rows        28" in text
    assert re.search("card +14\n", text)
    assert "are [UNK]" in text
    assert SECRET not in text


def test_what_it_is_told_is_neither_on_the_ledger_nor_in_the_store(
    add: Add, home: Path, rows: Path
) -> None:
    add()
    inst = Institution(home)
    body = json.loads(encode(inst.ledger.entries()[-1].body))
    assert set(body) == {
        *("dataset", "namespace", "commitment", "schema", "unit", "ceiling", "parent")
    }
    (row,) = inst.store.reading().execute("select * from datasets").fetchall()
    sequence_classification = TaskKind.SEQUENCE_CLASSIFICATION.value
    known = {body["dataset"], body["commitment"], "intents", sequence_classification, str(rows)}
    assert set(row) - known == {row["salt"], body["namespace"], "", 0}
    tables = "\n".join(inst.store.reading().iterdump())
    assert not any(trace in tables for trace in (SECRET, "'card'", "'loan'"))


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("rows.csv", f"text,category\n{SECRET},card\n", "COM-DATA-007"),
        ("rows.csv", f"text,label\n{SECRET}\n", "COM-DATA-006"),
        ("rows.jsonl", "", "COM-DATA-011"),
        ("rows.jsonl", f'{{"text": "{SECRET}", "label": 1}}', "COM-DATA-008"),
        ("rows.jsonl", f'{{"text": "{SECRET}"', "COM-DATA-004"),
        ("rows.csv", b"text,label\n" + SECRET.encode() + b"\xff,card\n", "COM-DATA-003"),
        ("rows.xlsx", SECRET, "COM-DATA-002"),
    ],
)
def test_a_bad_file_is_told_in_one_line_and_not_registered(
    add: Add, home: Path, tmp_path: Path, name: str, content: str | bytes, code: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = add("--json", file=file)
    assert (outcome.exit_code, outcome.envelope["error"]["code"]) == (1, code)
    assert name in outcome.envelope["error"]["message"]
    told = add(file=file)
    assert told.error.splitlines()[-1].startswith(f"{code} {name}")
    assert SECRET not in outcome.output + outcome.error + told.output + told.error
    assert listed(home) == []
    assert kinds_on_the_ledger(home) == [Genesis]


def test_a_missing_file_and_a_directory_are_told_alike(add: Add, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for file in (tmp_path / "none.csv", tmp_path / "folder.csv"):
        assert add("--json", file=file).envelope["error"]["code"] == "COM-DATA-001"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--ceiling-epsilon", "0"), "COM-DATA-022"),
        (("--ceiling-epsilon", "-1"), "COM-DATA-022"),
        (("--ceiling-epsilon", "nan"), "COM-DATA-022"),
        (("--ceiling-epsilon", "inf"), "COM-DATA-022"),
        (("--ceiling-epsilon", "much"), "COM-DATA-022"),
        (("--ceiling-delta", "1"), "COM-DATA-022"),
        (("--ceiling-delta", "-0"), "COM-DATA-022"),
        (("--ceiling-epsilon", "1e-9"), "COM-DATA-020"),
        (("--task", "regression"), "COM-ANY-004"),
        (("--model", "no-such-model"), "COM-DATA-023"),
    ],
)
def test_a_wrong_option_registers_nothing(
    add: Add, home: Path, words: tuple[str, ...], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    outcome = add(*words, "--json")
    assert outcome.exit_code != 0
    assert outcome.envelope["error"]["code"] == code
    assert len(outcome.output.splitlines()) == 1
    assert kinds_on_the_ledger(home) == [Genesis]


def test_name_and_ceiling_are_looked_at_before_the_file_is_read(add: Add) -> None:
    outcome = add("--json", name="My rows", file=Path("none.jsonl"))
    assert outcome.envelope["error"]["code"] == "COM-DATA-013"
    outcome = add("--json", "--ceiling-epsilon", "1e-9", file=Path("none.jsonl"))
    assert outcome.envelope["error"]["code"] == "COM-DATA-020"


def test_a_model_without_a_tokenizer_is_refused(add: Add, home: Path, tmp_path: Path) -> None:
    for broken in ("{}", '{"max_position_embeddings": 64, "model_type": "bert"}'):
        (tmp_path / "config.json").write_text(broken)
        (tmp_path / "tokenizer.json").write_text("{")
        outcome = add("--model", tmp_path, "--json")
        assert outcome.envelope["error"]["code"] == "COM-DATA-023"
    assert listed(home) == []


def test_what_cannot_be_registered_is_told_before_the_rows_are_looked_at(
    add: Add, home: Path, tmp_path: Path
) -> None:
    assert add("--json").exit_code == 0
    other, pipe = tmp_path / "other.jsonl", tmp_path / "pipe.jsonl"
    other.write_text('{"text": "a", "label": "b"}\n')
    os.mkfifo(pipe)
    unknown = ("--model", "nobody/nothing", "--json")
    for file, name, code in (
        (other, "intents", "COM-DATA-014"),
        (None, "again", "COM-DATA-021"),
        (pipe, "pipe", "COM-DATA-001"),
    ):
        found = add(*unknown, name=name, **({"file": file} if file else {}))
        assert found.envelope["error"]["code"] == code
    assert len(listed(home)) == 1


def test_looking_at_rows_opens_no_connection(home: Path, rows: Path) -> None:
    script = (
        "import os, sys\n"
        "from comity_host.cli import run\n"
        "calls = ('socket.connect', 'socket.getaddrinfo', 'socket.sendto')\n"
        "sys.addaudithook(lambda event, args: event in calls and os._exit(99))\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    words = ("client", "data", "add", "intents", rows, "--home", home, "--json")
    ended = subprocess.run(
        [sys.executable, "-c", script, *map(str, words), "--model", "nobody/nothing"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert json.loads(ended.stdout)["error"]["code"] == "COM-DATA-023"


def test_progress_is_shown_on_stderr_and_leaves_stdout_alone(
    add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = add("--json")
    assert plain.error.splitlines() == ["reading the rows", "counting tokens"]
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    moving = add("--json")
    assert "counting tokens" in moving.error
    assert len(moving.output.splitlines()) == 1
    assert moving.data["name"] == "intents"


def test_the_list_says_what_was_spent_and_what_for(add: Add, home: Path, rows: Path) -> None:
    add()
    assert "not granted yet" in comity("client", "data", "list", "--home", home).output
    (row,) = listed(home)
    assert (row["epsilon_charged"], row["epsilon_reserved"], row["agreements"]) == (None, None, [])
    dataset, agreement = sign_and_reserve(Institution(home))
    others = rows.with_name("others.jsonl")
    others.write_text(rows.read_text() + "\n")
    add(name="others", file=others)
    row, other = listed(home)
    budget = Institution(home).ledger.budget()
    assert (other["name"], other["agreements"]) == ("others", [])
    assert other["epsilon_reserved"] == row["epsilon_reserved"]  # they share a budget
    assert (row["shares_with"], other["shares_with"]) == (["others"], ["intents"])
    assert row["epsilon_charged"] == 0.0
    assert row["epsilon_reserved"] == budget.epsilon_reserved(dataset) > 0
    (used,) = row["agreements"]  # type: ignore[misc]
    assert used["federation"] == agreement.federation
    line = comity("client", "data", "list", "--home", home).output.splitlines()[1]
    assert f"ε = {budget.epsilon_reserved(dataset):.2f}" in line
    assert f"{agreement.federation} (in-force)" in line


def sign_and_reserve(inst: Institution):  # type: ignore[no-untyped-def]
    """Let an agreement be in force on the only data set, with one reserve that is open."""
    keys = {InstitutionId(f"inst-{k}"): SigningKeys.generate() for k in range(3)}
    agreement = make_agreement(keys, SigningKeys.generate())
    (known,) = inst.data.all()
    inst.data.grant(known.id, 8)
    event = SampledGaussian(
        sampling_probability=Decimal("0.01"), noise_multiplier=Decimal(2), steps=5
    )
    (grant,) = inst.ledger.budget().grants(known.id)
    with inst.store.transaction() as tx:
        inst.ledger.append(tx, replace(reserve(1, event, known.id), grant=grant.grant))
        row = (agreement.digest, encode(agreement), "in-force", known.id)
        tx.execute("insert into agreements values (?, ?, ?, ?)", row)
    return known.id, agreement


def test_the_list_says_whether_a_file_is_still_the_one_that_was_registered(
    add: Add, home: Path, rows: Path
) -> None:
    add()
    assert listed(home)[0]["file_state"] == "as registered"
    rows.write_text(rows.read_text() + "\n")
    assert listed(home)[0]["file_state"] == "changed"
    assert f"{rows} (changed)" in comity("client", "data", "list", "--home", home).output
    rows.unlink()
    assert (listed(home)[0]["file_state"], listed(home)[0]["as_registered"]) == (
        "cannot be read",
        False,
    )


def test_a_data_set_that_is_removed_is_listed_no_more_and_can_come_back(
    add: Add, home: Path, rows: Path
) -> None:
    first = add("--json").data["id"]
    assert comity("client", "data", "remove", "intents", "--home", home).exit_code == 0
    assert listed(home) == []
    assert comity("client", "data", "list", "--home", home).output == "No data set is registered.\n"
    assert rows.exists()
    assert add("--json", name="again").data["id"] == first


def test_what_an_agreement_uses_is_not_removed(add: Add, home: Path) -> None:
    add()
    _, agreement = sign_and_reserve(Institution(home))
    error = comity("client", "data", "remove", "intents", "--home", home, "--json").envelope[
        "error"
    ]
    assert error["code"] == "COM-DATA-017"
    assert agreement.federation in error["message"]
    assert len(listed(home)) == 1


def test_a_name_that_nobody_has_cannot_be_removed(home: Path) -> None:
    outcome = comity("client", "data", "remove", "intents", "--home", home, "--json")
    assert outcome.envelope["error"]["code"] == "COM-DATA-016"


def test_without_an_institution_there_is_no_data(tmp_path: Path) -> None:
    for words in (("list",), ("remove", "a"), ("add", "a", "b.csv")):
        outcome = comity("client", "data", *words, "--home", tmp_path / "none", "--json")
        assert outcome.envelope["error"]["code"] == "COM-CLIENT-002"
        assert not (tmp_path / "none").exists()


def of(texts: list[str], labels: list[str] | None = None) -> Report:
    labels = labels or ["a"] * len(texts)
    return Report.of(Labelled(texts=tuple(texts), labels=tuple(labels)), None)


def test_a_duplicate_counts_on_every_row_on_which_it_stands() -> None:
    assert of(["a", "b", "a", "c"]).duplicates == 0.5
    assert of(["a", "b"]).duplicates == 0


def test_one_in_a_hundred_duplicates_is_not_worth_a_warning_and_more_is() -> None:
    texts = [str(number) for number in range(198)]
    assert of([*texts, "x", "x"]).warnings() == []
    (warning,) = of([*texts, "x", "x", "x"]).warnings()
    assert warning.startswith("1.5% of the rows")
    assert "A record that stands twice is protected half as well" in warning


def test_a_label_with_fewer_than_ten_rows_is_worth_a_warning() -> None:
    def with_rows(count: int) -> Report:
        labels = ["often"] * 20 + ["rare"] * count
        return of([str(number) for number in range(len(labels))], labels)

    assert with_rows(10).warnings() == []
    (warning,) = with_rows(9).warnings()
    assert "1 of 2 labels" in warning
    assert "rare" in warning


def test_labels_cannot_move_the_cursor_nor_fill_the_screen() -> None:
    labels = ["\x1b[2J\n" + "x" * 1000, *map(str, range(LABELS_SHOWN + 5))]
    lines = of(["a"] * len(labels), labels).in_words()
    assert all(line.isprintable() and len(line) < 100 for line in lines)
    assert "and 6 more" in "\n".join(lines)


def test_tokens_are_counted_as_the_model_would_see_them(tiny_base: Path) -> None:
    long = " ".join((WORDS * 6)[:63])  # with [CLS] and [SEP] one more than there are positions
    fits = " ".join((WORDS * 6)[:62])
    texts = ["my card", "\u200b\x07", "zebra", long, fits]
    parts: list[float] = []
    found = count_tokens(texts, str(tiny_base), parts.append)
    assert found.unknown == pytest.approx(1 / (2 + 1 + 63 + 62))
    assert (found.empty, found.long, found.limit) == (0.2, 0.2, 64)
    assert parts == [1.0]


def test_many_unknown_tokens_are_worth_a_warning(tiny_base: Path) -> None:
    def warnings(texts: list[str]) -> list[str]:
        rows = Labelled(texts=tuple(texts), labels=("a",) * len(texts))
        return Report.of(rows, count_tokens(texts, str(tiny_base))).warnings()

    known = [f"{first} {second}" for first in WORDS[:6] for second in WORDS]  # 132 tokens
    assert warnings([*known, "zebra"]) == []
    (warning,) = warnings([*known, "zebra lion tiger bear wolf fox owl"])
    assert warning.startswith("5.0% of the tokens are [UNK]")


def test_a_report_shows_nothing_when_it_is_printed_by_chance() -> None:
    report = of([SECRET, "b"], ["card", "loan"])
    assert "card" not in repr(report)
    assert "2" not in repr(report).split(" at ")[0]
