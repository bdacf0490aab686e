"""The same rows find the same budget, however they are written; others only by name and proof."""

import csv
import io
import json
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.client.test_registrations import CEILING, Vault
from tests.unit.common.dp.book import spending

from comity_client.datasets import read_records
from comity_client.fingerprints import fingerprints, normal
from comity_client.rows import Record
from comity_common.agreement import TaskKind
from comity_common.dp.terms import Gate, Unit
from comity_common.errors import LocalError, Problem, Refusal
from comity_common.ledger.bodies import BudgetGrant, DatasetRegister

TEXTS = [f"Où est ma carte n°{k} ?  Ça ﬁt  STRASSE" for k in range(40)]
NAMES = [f"Müller, {chr(65 + k % 7)}." for k in range(40)]
Rows = list[tuple[str, str, str]]
ROWS: Rows = [
    (text, "ab"[k % 2], name) for k, (text, name) in enumerate(zip(TEXTS, NAMES, strict=True))
]


def as_jsonl(rows: Iterable[tuple[str, str, str]], *, ascii_: bool = False) -> bytes:
    lines = (
        json.dumps({"text": text, "label": label, "person": person}, ensure_ascii=ascii_)
        for text, label, person in rows
    )
    return "\n".join(lines).encode()


def as_csv(rows: Iterable[tuple[str, str, str]], columns: str = "text label person") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    order = [["text", "label", "person"].index(name) for name in columns.split()]
    writer.writerow(columns.split())
    writer.writerows([row[place] for place in order] for row in rows)
    return out.getvalue().encode()


def each(change: Callable[[str], str], rows: Rows = ROWS) -> Rows:
    return [(change(text), label, person) for text, label, person in rows]


AGAIN = {
    "reordered": ("b.jsonl", as_jsonl(reversed(ROWS))),
    "as-csv": ("b.csv", as_csv(ROWS)),
    "columns-swapped": ("b.csv", as_csv(ROWS, "person label text")),
    "escaped": ("b.jsonl", as_jsonl(ROWS, ascii_=True)),
    "byte-order-mark": ("b.jsonl", b"\xef\xbb\xbf" + as_jsonl(ROWS)),
    "decomposed": ("b.jsonl", as_jsonl(each(lambda text: unicodedata.normalize("NFD", text)))),
    "upper-case": ("b.jsonl", as_jsonl(each(str.upper))),
    "spaced-out": ("b.jsonl", as_jsonl(each(lambda text: f"  {text.replace(' ', '   ')}\t"))),
    "relabelled": ("b.jsonl", as_jsonl([(text, "c", name) for text, _, name in ROWS])),
    "a-subset": ("b.jsonl", as_jsonl(ROWS[7:9])),
    "one-row": ("b.csv", as_csv(ROWS[-1:])),
    "one-row-more": ("b.jsonl", as_jsonl([*ROWS, ("quite new", "a", "New")])),
    "one-row-less": ("b.jsonl", as_jsonl(ROWS[1:])),
    "one-old-row-among-new": (
        "b.jsonl",
        as_jsonl([*[(f"new {k}", "a", f"N{k}") for k in range(30)], ROWS[3]]),
    ),
}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "home")


def write(directory: Path, name: str, content: bytes) -> Path:
    file = directory / name
    file.write_bytes(content)
    return file


def namespaces(vault: Vault) -> list[str]:
    return [body.namespace for body in vault.bodies(DatasetRegister)]


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("removed", [False, True])
def test_the_same_rows_in_other_clothes_have_the_same_budget(
    vault: Vault, tmp_path: Path, again: str, removed: bool
) -> None:
    """Registered apart from all others, so that nothing but the rows can tell where they belong."""
    first = vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a", separate="apart")
    if removed:
        vault.data.remove("a")
    second = vault.register(write(tmp_path, *AGAIN[again]), None, name="b")
    budget = vault.ledger.budget()

    assert first != second
    assert budget.namespace(first) == budget.namespace(second)
    assert [one.budget for one in vault.data.all()] == ["apart", "apart"]
    assert len(vault.bodies(BudgetGrant)) == 1
    third = vault.register(
        write(tmp_path, "c.csv", as_csv([("other rows", "a", "Other")])), name="c"
    )
    assert budget.namespace(first) != vault.ledger.budget().namespace(third)


@pytest.mark.parametrize("again", AGAIN)
def test_rows_that_are_registered_do_not_get_another_budget_by_name(
    vault: Vault, tmp_path: Path, again: str
) -> None:
    vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a")
    with pytest.raises(Problem) as problem:
        vault.register(write(tmp_path, *AGAIN[again]), name="b", separate="apart")
    assert problem.value.code == "COM-BUDGET-002"
    assert problem.value.facts["name"] == "default"
    assert len(vault.bodies(DatasetRegister)) == 1
    assert [one.name for one in vault.data.namespaces()] == ["default"]


def test_other_rows_fall_into_the_one_budget_unless_they_are_set_apart(
    vault: Vault, tmp_path: Path
) -> None:
    for k, where in enumerate(({}, {}, {"separate": "apart"}, {"separate": "apart"})):
        content = as_jsonl([(f"text {k}", "a", f"Person {k}")])
        vault.register(write(tmp_path, f"{k}.jsonl", content), name=f"d{k}", **where)
    one, two, three, four = namespaces(vault)
    assert one == two != three == four
    assert [one.name for one in vault.data.namespaces()] == ["default", "apart"]


def test_rows_of_two_budgets_are_not_registered_in_one_file(vault: Vault, tmp_path: Path) -> None:
    vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS[:5])), name="a")
    apart = {"separate": "apart"}
    vault.register(write(tmp_path, "b.jsonl", as_jsonl(ROWS[5:9])), name="b", **apart)
    for where in ({}, apart):
        with pytest.raises(Problem) as problem:
            vault.register(write(tmp_path, "c.jsonl", as_jsonl(ROWS[3:7])), name="c", **where)
        assert problem.value.code == "COM-BUDGET-001"
        assert problem.value.facts["names"] == "default, apart"


def test_a_person_who_is_in_one_budget_is_not_in_another(vault: Vault, tmp_path: Path) -> None:
    """Other rows of the same person: by the text alone nobody could tell."""
    key = {"unit_key": "person"}
    vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a", **key)
    other = write(tmp_path, "b.csv", as_csv([("another text", "a", " müller,  c. ")]))
    with pytest.raises(Problem) as problem:
        vault.register(other, name="b", separate="apart", **key)
    assert problem.value.code == "COM-BUDGET-002"
    vault.register(other, name="b", **key)
    one, two = namespaces(vault)
    assert one == two


@pytest.mark.parametrize("blank", ["", "   ", None, True, 1.5, ["a"]])
def test_a_row_that_belongs_to_nobody_is_refused(
    vault: Vault, tmp_path: Path, blank: object
) -> None:
    rows = [{"text": "a", "label": "b", "person": "P"}, {"text": "c", "label": "b"}]
    rows[1]["person"] = blank  # type: ignore[assignment]
    file = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)).encode())
    for column, code in (("person", "COM-DATA-040"), ("nobody", "COM-DATA-007")):
        with pytest.raises(Problem) as problem:
            vault.register(file, name="a", unit_key=column)
        assert problem.value.code == code
        assert problem.value.facts["line"] == (2 if column == "person" else 1)
    assert vault.data.all() == []
    assert vault.bodies(DatasetRegister) == []


def test_a_number_is_the_same_person_in_csv_and_json(vault: Vault, tmp_path: Path) -> None:
    key = {"unit_key": "person"}
    rows = [{"text": "a", "label": "b", "person": 4711}]
    vault.register(write(tmp_path, "a.jsonl", json.dumps(rows[0]).encode()), name="a", **key)
    other = write(tmp_path, "b.csv", as_csv([("another text", "a", "4711")]))
    with pytest.raises(Problem, match="budget default already"):
        vault.register(other, name="b", separate="apart", **key)


def test_a_budget_of_persons_takes_only_rows_with_persons(vault: Vault, tmp_path: Path) -> None:
    first = vault.register(
        write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a", unit_key="person", order=4
    )
    assert vault.ledger.budget().statement(vault.data.all()[0].namespace).unit is Unit.PERSON
    with pytest.raises(Problem) as problem:
        vault.register(write(tmp_path, "b.csv", as_csv([("new", "a", "N")])), name="b")
    assert problem.value.code == "COM-BUDGET-003"
    terms = spending(order=4, guarantee=CEILING)
    with pytest.raises(Refusal, match="protects persons"):
        vault.ledger.budget().check_whole(first, terms)
    vault.ledger.budget().check_whole(first, replace(terms, unit=Unit.PERSON))


def test_an_agreement_on_persons_needs_a_key_column(vault: Vault, tmp_path: Path) -> None:
    dataset = vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a")
    terms = spending(order=8, guarantee=CEILING, unit=Unit.PERSON)
    with pytest.raises(Refusal, match="key column"):
        vault.ledger.budget().check_whole(dataset, terms)


def test_the_same_bytes_keep_their_key_column(vault: Vault, tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", as_jsonl(ROWS))
    first = vault.register(file, name="a", unit_key="person")
    assert vault.register(file, name="a", unit_key="person") == first
    for column in ("", "label"):
        with pytest.raises(Problem) as problem:
            vault.register(file, name="a", unit_key=column)
        assert problem.value.code == "COM-BUDGET-005"


def test_the_first_ceiling_of_a_budget_is_for_all_that_come_later(
    vault: Vault, tmp_path: Path
) -> None:
    with pytest.raises(LocalError, match="ceiling for a new budget"):
        vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), None, name="a")
    vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a")
    vault.data.remove("a")
    other = write(tmp_path, "b.csv", as_csv([("new", "a", "N")]))
    with pytest.raises(Problem) as problem:
        vault.register(other, replace(CEILING, epsilon=Decimal(9)), name="b")
    assert (problem.value.code, problem.value.facts["name"]) == ("COM-DATA-015", "default")
    vault.register(other, None, name="b")
    first, second = vault.bodies(DatasetRegister)
    assert first.ceiling == second.ceiling == CEILING


def test_the_schema_names_task_and_key_and_nothing_else(vault: Vault, tmp_path: Path) -> None:
    for k, key in enumerate(("person", "", "label", "person")):
        place = Vault(tmp_path / str(k))
        file = write(tmp_path, f"{k}.jsonl", as_jsonl(ROWS))
        place.register(file, name="a", unit_key=key)
        vault.bodies(DatasetRegister)
        (body,) = place.bodies(DatasetRegister)
        if k == 0:
            first = body
        assert (body.schema == first.schema) is (key == "person")
        assert body.unit is (Unit.PERSON if key else Unit.RECORD)


def test_nothing_of_rows_or_persons_is_kept_in_the_clear(vault: Vault, tmp_path: Path) -> None:
    vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a", unit_key="person")
    raw = "\n".join(vault.store.reading().iterdump()).casefold()
    for trace in ("carte", "müller", "muller", "strasse"):
        assert trace not in raw
    kept = vault.store.reading().execute("select digest from fingerprints").fetchall()
    assert len(kept) == len({normal(text) for text in TEXTS}) + len(set(NAMES))
    assert {len(row["digest"]) for row in kept} == {16}


def test_another_vault_has_other_fingerprints(vault: Vault, tmp_path: Path) -> None:
    other = Vault(tmp_path / "other")
    found = []
    for one in (vault, other):
        one.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a")
        rows = one.store.reading().execute("select digest from fingerprints")
        found.append({row["digest"] for row in rows})
    assert found[0].isdisjoint(found[1])


def test_a_registration_that_fails_leaves_no_fingerprint(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(vault.ledger, "append", full)
    with pytest.raises(sqlite3.OperationalError):
        vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a")
    for table in ("fingerprints", "datasets", "namespaces"):
        assert vault.store.reading().execute(f"select * from {table}").fetchall() == []


def test_a_gate_that_is_granted_already_is_not_granted_again(vault: Vault, tmp_path: Path) -> None:
    dataset = vault.register(write(tmp_path, "a.jsonl", as_jsonl(ROWS)), name="a")
    vault.data.grant(dataset, 8)
    vault.data.grant(dataset, 0, gate=Gate.NONE)  # never by itself
    with pytest.raises(Refusal, match="not granted yet"):
        vault.data.grant(dataset, 0, gate=Gate.FIXED_SCHEDULE)
    assert len(vault.bodies(BudgetGrant)) == 1


def test_a_row_of_tokens_is_the_row_of_its_words(tmp_path: Path) -> None:
    tokens = json.dumps({"tokens": ["Ma", "carte", "?"], "tags": ["O", "O", "O"]}).encode()
    text = json.dumps({"text": "ma carte ?", "label": "a"}).encode()
    found = [
        fingerprints(read_records(write(tmp_path, f"{k}.jsonl", raw)), bytes(32))
        for k, raw in enumerate((tokens, text))
    ]
    assert found[0] == found[1]
    assert TaskKind.TOKEN_CLASSIFICATION in TaskKind


def test_a_text_is_no_person() -> None:
    one = fingerprints([Record(text="same", unit="same")], bytes(32))
    assert len(one) == 2


def test_a_record_does_not_show() -> None:
    assert "secret" not in repr(Record(text="secret", unit="secret"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_a_normal_text_stays_as_it_is(text: str) -> None:
    once = normal(text)
    assert normal(once) == once
    assert normal(unicodedata.normalize("NFD", text)) == once
    assert normal(f" {text}\u00a0 ") == once
