import json
from pathlib import Path

import numpy as np
import pytest

from comity_client.datasets import Rows, evaluation_set_digest, read_rows
from comity_common.errors import LocalError

LABELS = ("card", "loan")
SECRET = "account 4711 of Ada Lovelace"


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
        (json.dumps({"text": SECRET}), "column 'label'"),
        (json.dumps({"label": SECRET}), "column 'text'"),
        (json.dumps({"text": 3, "label": "card"}), "column 'text'"),
        (json.dumps({"text": SECRET + "\ud800", "label": "card"}), "column 'text'"),
        (json.dumps({"text": "  ", "label": "card"}), "not blank"),
        (_row(label=SECRET), "one of the 2 declared labels"),
        (SECRET.encode() + b"\xff", "JSON object in UTF-8"),
        ('{"text": "' + SECRET, "JSON object in UTF-8"),
        (json.dumps([SECRET]), "JSON object in UTF-8"),
        ("[" * 100_000, "JSON object in UTF-8"),
        ("", "JSON object in UTF-8"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number_and_never_shown(
    bad: str | bytes, expected: str, tmp_path: Path
) -> None:
    path = _write(tmp_path / "rows.jsonl", _row(), bad, _row())
    with pytest.raises(LocalError, match=r"rows\.jsonl line 2: expected") as caught:
        read_rows(path, LABELS)
    assert expected in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:  # nor in what the error was raised from
        assert "4711" not in str(error)
        assert "4711" not in repr(vars(error))
        error = error.__cause__ or error.__context__


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="at least one row"):
        read_rows(_write(tmp_path / "rows.jsonl"), LABELS)


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
