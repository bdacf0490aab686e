import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comity_client.datasets import (
    evaluation_set_digest,
    read_for,
    read_labelled,
    read_labelled_words,
    read_records,
    read_rows,
    read_word_rows,
)
from comity_client.rowfiles import MAX_LINE_BYTES
from comity_client.rows import Rows, WordRows
from comity_common.agreement import Task, TaskKind
from comity_common.errors import LocalError, Problem

LABELS = ("card", "loan")
SECRET = "account 4711 of Ada Lovelace"
MEDICAL = Path(__file__).parents[4] / "shared" / "data" / "med_bc5cdr"


def _write(path: Path, *lines: str | bytes) -> Path:
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(b"\n".join(raw))
    return path


def _row(text: str = SECRET, label: str = "loan") -> str:
    return json.dumps({"id": "1", "region": "de", "text": text, "label": label})


def test_rows_are_read_in_order_with_the_place_of_their_label(tmp_path: Path) -> None:
    rows = read_rows(_write(tmp_path / "d.jsonl", _row("a", "loan"), _row("b", "card"), ""), LABELS)
    assert rows.texts == ("a", "b")
    assert rows.labels.tolist() == [1, 0]
    assert rows.labels.dtype == np.int64


def test_a_line_separator_inside_a_text_does_not_end_its_line(tmp_path: Path) -> None:
    line = '{"text": "one\u2028two", "label": "card"}'
    assert read_rows(_write(tmp_path / "d.jsonl", line), LABELS).texts == ("one\u2028two",)


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r:>90}".format])
def test_rows_show_neither_content_nor_count(show, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    few = read_rows(_write(tmp_path / "d.jsonl", _row()), LABELS)
    many = read_rows(_write(tmp_path / "d.jsonl", *[_row(f"text {n}") for n in range(9)]), LABELS)
    assert SECRET not in show(few)
    assert show(few) == show(many)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (json.dumps({"text": SECRET}), "the column label"),
        (json.dumps({"label": SECRET}), "the column text"),
        (json.dumps({"text": 3, "label": "card"}), "the column text with a string"),
        (json.dumps({"text": SECRET + "\ud800", "label": "card"}), "expected UTF-8"),
        (json.dumps({"text": "  ", "label": "card"}), "not blank"),
        (_row(label=SECRET), "one of the 2 declared labels"),
        (SECRET.encode() + b"\xff", "expected UTF-8"),
        ('{"text": "' + SECRET, "a JSON object"),
        (json.dumps([SECRET]), "a JSON object"),
        ("[" * 100_000, "a JSON object"),
        ("", "a JSON object"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number_and_never_shown(
    bad: str | bytes, expected: str, tmp_path: Path
) -> None:
    path = _write(tmp_path / "rows.jsonl", _row(), bad, _row())
    for problem in (_problem_of(path), _problem_of(path, declared=False)):
        if problem is None:  # any label is one before it is declared
            assert "declared" in expected
            continue
        assert str(problem).startswith("rows.jsonl line 2: expected")
        assert expected in str(problem)
        _check_nothing_is_shown(problem)


CSV = "id,text,label"


@pytest.mark.parametrize(
    ("lines", "line", "expected"),
    [
        ((CSV, f"1,{SECRET},card,4711"), 2, "3 columns, as in the header"),
        ((CSV, f"1,{SECRET}"), 2, "3 columns, as in the header"),
        ((CSV, f"1,{SECRET},card", "", f"2,{SECRET},card"), 3, "3 columns, as in the header"),
        ((CSV, f'1,"{SECRET}"x,card'), 2, "quotes that close"),
        ((CSV, "1,fine,card", f'2,"{SECRET}\nand on,card', "3,fine,card"), 3, "quotes that close"),
        ((CSV, f"1,{SECRET}\rand,card"), 2, "quotes that close"),
        ((CSV, '1,"two\nlines",card', f"2,{SECRET},Karte 4711"), 4, "one of the 2 declared labels"),
        ((CSV, f"1,{SECRET}, "), 2, "a label that is not blank"),
        ((CSV, "1, ,card"), 2, "a text that is not blank"),
        ((CSV, f"1,{SECRET},card".encode() + b"\xe4"), 2, "expected UTF-8"),
        (("text", SECRET), 1, "the column label"),
        (("text;label", f"{SECRET};card"), 1, "the column text"),
        (("Text,Label", f"{SECRET},card"), 1, "the column text"),
        (("text,label,text", f"{SECRET},card,x"), 1, "the column text"),
        ((f"1,{SECRET},card",), 1, "the column text"),
    ],
)
def test_a_bad_row_of_a_table_is_named_by_the_line_on_which_it_begins(
    lines: tuple[str | bytes, ...], line: int, expected: str, tmp_path: Path
) -> None:
    problem = _problem_of(_write(tmp_path / "rows.csv", *lines))
    assert problem is not None
    assert str(problem).startswith(f"rows.csv line {line}: expected")
    assert expected in str(problem)
    _check_nothing_is_shown(problem)


def _problem_of(path: Path, *, declared: bool = True) -> Problem | None:
    try:
        read_rows(path, LABELS) if declared else read_labelled(path)
    except Problem as problem:
        return problem
    return None


def _check_nothing_is_shown(problem: Problem) -> None:
    """Look for content in an error, and in what it was raised from."""
    error: BaseException | None = problem
    while error is not None:
        assert "4711" not in str(error)
        assert "4711" not in repr(vars(error))
        error = error.__cause__ or error.__context__


def test_a_table_is_read_with_quotes_line_breaks_and_columns_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.CSV"
    path.write_bytes(
        b'label,id,text\r\nloan,1,"a ""good"", large\r\nloan"\r\ncard,"2,3",Stra\xc3\x9fe'
    )
    rows = read_rows(path, LABELS)
    assert rows.texts == ('a "good", large\r\nloan', "Straße")
    assert rows.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "content"),
    [("d.csv", "text,label\nhello,card\n"), ("d.jsonl", '{"text": "hello", "label": "card"}')],
)
def test_a_byte_order_mark_is_no_part_of_the_rows(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8-sig")
    assert read_rows(path, LABELS).texts == ("hello",)


def test_labels_that_are_not_all_strings_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.jsonl", _row(label="1"), json.dumps({"text": "a", "label": 1}))
    with pytest.raises(Problem, match=r"rows.jsonl line 2: expected the column label with a str"):
        read_labelled(path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("rows.jsonl", '{"text": "%s", "label": "card"}'),
        ("rows.csv", "%s,card"),
    ],
)
def test_a_line_of_a_mebibyte_is_read_and_a_longer_one_is_not(
    name: str, line: str, tmp_path: Path
) -> None:
    longest = line % ("x" * (MAX_LINE_BYTES - len(line) + 1))  # with its line feed
    path = _write(tmp_path / name, "text,label" if name.endswith("csv") else _row(), longest, "")
    assert read_rows(path, LABELS).texts[-1].startswith("xxx")
    _write(path, *path.read_text().splitlines()[:1], longest + " ", "")
    with pytest.raises(Problem, match=f"{name} line 2: expected at most 1 MiB"):
        read_rows(path, LABELS)


@pytest.mark.parametrize("end", ["", '",card'])
def test_a_quote_that_closes_late_or_never_does_not_swallow_the_file(
    end: str, tmp_path: Path
) -> None:
    lines = [CSV, '1,"' + SECRET, *[f"{n},another row,card" for n in range(100_000)], end]
    problem = _problem_of(_write(tmp_path / "rows.csv", *lines))
    assert str(problem).startswith("rows.csv line 2: expected comma-separated values")


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.jsonl.gz", ".csv"])
def test_a_file_of_another_kind_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    path = _write(tmp_path / name, _row())
    with pytest.raises(Problem, match=r"ends in \.jsonl or \.csv"):
        read_rows(path, LABELS)


def test_labels_are_read_as_they_stand_before_they_are_declared(tmp_path: Path) -> None:
    rows = read_labelled(_write(tmp_path / "d.jsonl", _row("a", "new"), _row("b", "card")))
    assert (rows.texts, rows.labels, len(rows)) == (("a", "b"), ("new", "card"), 2)
    assert repr(rows) == str(rows) == "Labelled(texts and labels)"


def test_reading_says_how_far_it_is(tmp_path: Path) -> None:
    parts: list[float] = []
    read_labelled(_write(tmp_path / "d.jsonl", *[_row()] * 4000, ""), parts.append)
    assert parts == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", ""), ("rows.csv", ""), ("rows.csv", CSV), ("rows.csv", CSV + "\n")],
)
def test_an_empty_file_is_refused(name: str, content: str, tmp_path: Path) -> None:
    for declared in (True, False):
        problem = _problem_of(_write(tmp_path / name, content), declared=declared)
        assert str(problem) == f"{name}: expected at least one row, got an empty file"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"rows.jsonl: expected a readable file"):
        read_rows(tmp_path / "rows.jsonl", LABELS)


def test_labels_cannot_be_changed_after_reading(tmp_path: Path) -> None:
    rows = read_rows(_write(tmp_path / "d.jsonl", _row()), LABELS)
    with pytest.raises(ValueError, match="read-only"):
        rows.labels[0] = 0


def test_the_evaluation_set_digest_depends_on_texts_labels_and_order() -> None:
    def of(texts: tuple[str, ...], labels: list[int]) -> str:
        return evaluation_set_digest(Rows(texts=texts, labels=np.array(labels, dtype=np.int64)))

    sets = [(("a", "b"), [0, 1]), (("b", "a"), [0, 1]), (("a", "b"), [1, 1]), (("a",), [0])]
    assert len({of(*each) for each in sets}) == len(sets)
    assert of(*sets[0]) == of(*sets[0])
    assert len(of(*sets[0])) == 64


WORD_LABELS = ("O", "B-Drug", "I-Drug")


def _words(**columns: object) -> str:
    return json.dumps({"tokens": ["take", "aspirin"], "labels": ["O", "B-Drug"]} | columns)


def test_words_are_read_with_the_class_of_each(tmp_path: Path) -> None:
    tags = json.dumps({"id": 7, "tokens": ["x"], "tags": ["I-Drug"]})
    rows = read_word_rows(_write(tmp_path / "d.jsonl", _words(), tags, ""), WORD_LABELS)
    assert rows.texts == (("take", "aspirin"), ("x",))
    assert [classes.tolist() for classes in rows.labels] == [[0, 1], [2]]
    assert all(classes.dtype == np.int64 for classes in rows.labels)
    assert len(rows) == 2
    assert rows.first(1).texts == rows.texts[:1]
    with pytest.raises(ValueError, match="read-only"):
        rows.labels[0][0] = 2


def test_labels_of_words_are_read_as_they_stand_before_they_are_declared(tmp_path: Path) -> None:
    rows = read_labelled_words(_write(tmp_path / "d.jsonl", _words(labels=["a", "new"])))
    assert (rows.texts, rows.labels, len(rows)) == ((("take", "aspirin"),), (("a", "new"),), 1)


def test_words_do_not_show_when_they_are_printed(tmp_path: Path) -> None:
    path = _write(tmp_path / "d.jsonl", _words(), _words())
    assert repr(read_word_rows(path, WORD_LABELS)) == "WordRows(words and labels)"
    assert repr(read_labelled_words(path)) == "LabelledWords(words and labels)"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"tokens": f"{SECRET}"}, "the column tokens with a list of strings"),
        ({"tokens": ["a", 4711]}, "the column tokens with a list of strings"),
        ({"labels": "OO"}, "the column labels with a list of strings"),
        ({"labels": None}, "the column labels with a list of strings"),
        ({"tokens": [SECRET]}, "at least one word, and as many in tokens as in labels"),
        ({"tokens": [], "labels": []}, "at least one word, and as many in tokens as in labels"),
        ({"tokens": [SECRET, " "]}, "a token that is not blank"),
        ({"labels": ["O", ""]}, "a label that is not blank"),
        ({"labels": ["O", f"B-{SECRET}"]}, "one of the 3 declared labels"),
        ({"tokens": ["a", "\ud800"]}, "UTF-8"),
    ],
)
def test_a_bad_row_of_words_is_named_and_not_shown(
    columns: dict[str, object], expected: str, tmp_path: Path
) -> None:
    path = _write(tmp_path / "rows.jsonl", _words(), _words(**columns))
    with pytest.raises(Problem) as caught:
        read_word_rows(path, WORD_LABELS)
    assert str(caught.value).startswith("rows.jsonl line 2: expected")
    assert expected in str(caught.value)
    _check_nothing_is_shown(caught.value)


def test_words_without_their_columns_are_refused(tmp_path: Path) -> None:
    for row, column in (({"labels": ["O"]}, "tokens"), ({"tokens": ["a"]}, "labels")):
        with pytest.raises(Problem, match=f"rows.jsonl line 1: expected the column {column}"):
            read_word_rows(_write(tmp_path / "rows.jsonl", json.dumps(row)), WORD_LABELS)


def test_words_do_not_come_in_a_table(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.csv", "tokens,labels", "a,O")
    with pytest.raises(Problem, match=r"ends in \.jsonl, as every word has a label"):
        read_word_rows(path, WORD_LABELS)


def test_a_task_decides_which_columns_are_read(tmp_path: Path) -> None:
    both = json.dumps({"text": "a", "label": "O", "tokens": ["a"], "labels": ["O"]})
    path = _write(tmp_path / "rows.jsonl", both)
    texts = Task(kind=TaskKind.SEQUENCE_CLASSIFICATION, labels=WORD_LABELS, max_tokens=16)
    assert read_for(path, texts).texts == ("a",)
    assert read_for(path, replace(texts, kind=TaskKind.TOKEN_CLASSIFICATION)).texts == (("a",),)


def test_the_digest_of_an_evaluation_set_of_words_depends_on_words_labels_and_order() -> None:
    def digest(texts: tuple[tuple[str, ...], ...], labels: list[list[int]]) -> str:
        arrays = tuple(np.array(row, dtype=np.int64) for row in labels)
        return evaluation_set_digest(WordRows(texts=texts, labels=arrays))

    digests = [
        digest((("a", "b"), ("c",)), [[0, 1], [0]]),
        digest((("a",), ("b", "c")), [[0], [1, 0]]),
        digest((("a", "b"), ("c",)), [[1, 0], [0]]),
        digest((("c",), ("a", "b")), [[0], [0, 1]]),
        digest((("ab",), ("c",)), [[0], [0]]),
        evaluation_set_digest(Rows(texts=("a", "c"), labels=np.array([0, 0], dtype=np.int64))),
    ]
    assert len(set(digests)) == len(digests)
    assert digest((("a", "b"), ("c",)), [[0, 1], [0]]) == digests[0]


def test_words_and_labels_of_another_number_are_no_rows() -> None:
    with pytest.raises(LocalError, match="one int64 label for each word"):
        WordRows(texts=(("a", "b"),), labels=(np.array([0]),))
    with pytest.raises(LocalError, match="one int64 label for each word"):
        WordRows(texts=(("a",),), labels=(np.array([0], dtype=np.int32),))


def test_medical_entities_are_read() -> None:
    file = MEDICAL / "test.jsonl"
    if not file.is_file():
        pytest.skip("the data set med_bc5cdr is not here")
    found = read_labelled_words(file)
    assert len(found) == 4788
    labels = sorted({label for row in found.labels for label in row})
    assert labels == ["B-Chemical", "B-Disease", "I-Chemical", "I-Disease", "O"]
    rows = read_word_rows(file, labels)
    assert [labels[k] for k in rows.labels[0]] == list(found.labels[0])


# Whose a row is


def _of(*keys: object) -> list[str]:
    return [json.dumps({"patient": key, "text": SECRET, "label": "loan"}) for key in keys]


def test_rows_of_one_key_are_one_unit_wherever_they_stand(tmp_path: Path) -> None:
    path = _write(tmp_path / "d.jsonl", *_of("b", "a", "b", 17, "17", "c", "a"))
    rows = read_rows(path, LABELS, "patient")
    assert rows.units is not None
    assert rows.units.tolist() == [0, 1, 0, 2, 2, 3, 1]
    assert rows.units.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        rows.units[0] = 1


def test_a_table_names_them_too(tmp_path: Path) -> None:
    lines = ("patient,text,label", "7,hello,card", "8,hello,card", "7,hello,loan")
    rows = read_rows(_write(tmp_path / "d.csv", *lines), LABELS, "patient")
    assert rows.units is not None
    assert rows.units.tolist() == [0, 1, 0]


def test_spellings_that_look_alike_are_one_person(tmp_path: Path) -> None:
    path = _write(tmp_path / "d.jsonl", *_of("M\u00fcller", " Mu\u0308ller", "Muller"))
    rows = read_rows(path, LABELS, "patient")
    assert rows.units is not None
    assert rows.units.tolist() == [0, 0, 1]


@pytest.mark.parametrize("key", [None, "", "  ", "\u00a0", 1.5, True, ["a"], {}])
def test_a_row_of_nobody_is_refused(key: object, tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.jsonl", *_of("a", key))
    with pytest.raises(Problem) as problem:
        read_rows(path, LABELS, "patient")
    assert problem.value.code == "COM-DATA-040"
    assert "rows.jsonl line 2" in str(problem.value)
    _check_nothing_is_shown(problem.value)


@pytest.mark.parametrize("read", [read_rows, lambda path, _, key: list(read_records(path, key))])
def test_half_a_sign_in_a_key_is_refused_by_all_that_read_it(
    read: Callable[..., object], tmp_path: Path
) -> None:
    path = _write(tmp_path / "rows.jsonl", *_of("a", "b\ud800"))
    with pytest.raises(Problem) as problem:
        read(path, LABELS, "patient")
    assert problem.value.code == "COM-DATA-003"
    assert "rows.jsonl line 2" in str(problem.value)
    _check_nothing_is_shown(problem.value)


def test_a_blank_cell_of_a_table_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.csv", "patient,text,label", ",hello,card")
    with pytest.raises(Problem, match=r"rows\.csv line 2: expected whose the row is"):
        read_rows(path, LABELS, "patient")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("rows.jsonl", (_row(),)),
        ("rows.csv", ("text,label", "hello,card")),
        ("rows.csv", ("patient,patient,text,label", "1,2,hello,card")),
    ],
)
def test_the_column_must_be_there_just_once(
    name: str, lines: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(Problem, match="line 1: expected the column patient"):
        read_rows(_write(tmp_path / name, *lines), LABELS, "patient")


def test_without_a_column_nobody_is_told_apart(tmp_path: Path) -> None:
    path = _write(tmp_path / "d.jsonl", *_of(None, "a"))
    assert read_rows(path, LABELS).units is None
    assert len(read_labelled(path)) == 2


def test_units_are_one_for_each_text() -> None:
    labels = np.zeros(2, np.int64)
    with pytest.raises(LocalError, match="unit for each text"):
        Rows(texts=("a", "b"), labels=labels, units=np.zeros(1, np.int64))
