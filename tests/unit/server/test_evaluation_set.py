"""Both sides read one public file and get one digest; what is wrong in it is named by its line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from comity_client import datasets
from comity_common.agreement import Task, TaskKind
from comity_common.errors import Problem
from comity_server.evaluation import digest_of_file

LABELS = ("card", "loan")
TEXTS = Task(kind=TaskKind.SEQUENCE_CLASSIFICATION, labels=LABELS, max_tokens=16)
WORDS = Task(kind=TaskKind.TOKEN_CLASSIFICATION, labels=("O", "B-Drug"), max_tokens=16)


def written(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines))
    return path


def test_the_operator_and_an_institution_get_the_same_digest(tmp_path):
    file = written(
        tmp_path / "public.jsonl",
        {"text": "one\u2028two", "label": "loan"},
        {"text": " wo ist meine Karte? ", "label": "card", "id": 7},
    )
    there = datasets.evaluation_set_digest(datasets.read_rows(file, LABELS))
    assert digest_of_file(file, TEXTS) == there
    assert digest_of_file(file, replace(TEXTS, labels=LABELS[::-1])) != there


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "x", "label": "fraud"}, "one of the 2 labels of the task, got 'fraud'"),
        ({"text": "x", "label": "\u001b[2J"}, r"got '\x1b[2J'"),
        ({"text": "x"}, "'label' with a string"),
        ({"text": 3, "label": "card"}, "'text' with a string"),
        ({"text": "\ud800", "label": "card"}, "'text' with a string"),
        ({"text": "  ", "label": "card"}, "a text that is not blank"),
        ([], "a JSON object in UTF-8"),
        (b"\xff", "a JSON object in UTF-8"),
        (b"", "a JSON object in UTF-8"),
        (b"[" * 100_000, "a JSON object in UTF-8"),
    ],
)
def test_a_bad_line_is_named(row, told, tmp_path):
    good = {"text": "x", "label": "card"}
    file = written(tmp_path / "public.jsonl", good, row, good)
    with pytest.raises(Problem) as caught:
        digest_of_file(file, TEXTS)
    assert caught.value.code == "COM-TERMS-005"
    assert str(caught.value).startswith("public.jsonl line 2: expected ")
    assert told in str(caught.value)


def test_an_empty_or_missing_file_is_named(tmp_path):
    with pytest.raises(Problem, match=r"evaluation set nothing.jsonl: it has no rows"):
        digest_of_file(written(tmp_path / "nothing.jsonl"), TEXTS)
    with pytest.raises(Problem, match=r"evaluation set away.jsonl: No such file"):
        digest_of_file(tmp_path / "away.jsonl", TEXTS)


def test_both_sides_get_one_digest_of_words(tmp_path):
    row = {"tokens": ["Aspirin", "one\u2028two"], "labels": ["B-Drug", "O"]}
    file = written(tmp_path / "public.jsonl", row, {"tokens": ["y"], "tags": ["O"]})
    digest = digest_of_file(file, WORDS)
    assert datasets.evaluation_set_digest(datasets.read_for(file, WORDS)) == digest
    assert digest_of_file(file, replace(WORDS, labels=("B-Drug", "O"))) != digest
    other = written(tmp_path / "other.jsonl", row, {"tokens": ["y"], "tags": ["B-Drug"]})
    assert digest_of_file(other, WORDS) != digest


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "x", "label": "O"}, "'tokens' with a list of strings"),
        ({"tokens": "xy", "labels": ["O", "O"]}, "'tokens' with a list of strings"),
        ({"tokens": ["x"]}, "'labels' with a list of strings"),
        ({"tokens": ["x"], "tags": "O"}, "'tags' with a list of strings"),
        ({"tokens": ["x", 3], "labels": ["O", "O"]}, "'tokens' with a list of strings"),
        ({"tokens": ["\ud800"], "labels": ["O"]}, "'tokens' with a list of strings"),
        ({"tokens": ["x"], "labels": ["O", "O"]}, "as many in 'tokens' as in 'labels'"),
        ({"tokens": [], "tags": []}, "at least one word, and as many in 'tokens' as in 'tags'"),
        ({"tokens": ["x", " "], "labels": ["O", "O"]}, "words that are not blank"),
        ({"tokens": ["x"], "labels": ["B-Cell"]}, "one of the 2 labels of the task, got 'B-Cell'"),
        ([], "a JSON object in UTF-8"),
    ],
)
def test_a_bad_line_of_words_is_named(row, told, tmp_path):
    good = {"tokens": ["x"], "labels": ["O"]}
    file = written(tmp_path / "public.jsonl", good, row, good)
    with pytest.raises(Problem) as caught:
        digest_of_file(file, WORDS)
    assert caught.value.code == "COM-TERMS-005"
    assert str(caught.value).startswith("public.jsonl line 2: expected ")
    assert told in str(caught.value)
