"""Reads the public evaluation set at the operator, who puts its digest into the agreement.

The same file gives the same digest at an institution (`comity_client.datasets`). Its rows are
public, so an error may show a label.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from comity_common.agreement import Task, TaskKind
from comity_common.errors import Problem
from comity_common.evaluation import evaluation_set_digest, word_evaluation_set_digest
from comity_common.ids import Digest

Classes = dict[str, int]
Row = TypeVar("Row")


def digest_of_file(path: Path, task: Task) -> Digest:
    """Hash a public evaluation set: JSON Lines in UTF-8.

    Each line has `text` and `label`; where every word has a label `tokens` and `labels` (or
    `tags`), two lists of strings of one length.

    Raises:
        Problem: the file cannot be read, has no row, or has a line that is not such a row.
    """
    classes = {label: index for index, label in enumerate(task.labels)}
    if task.kind is TaskKind.TOKEN_CLASSIFICATION:
        words, of_words = zip(*_rows(path, classes, _word_row), strict=True)
        return word_evaluation_set_digest(words, of_words)
    texts, labels = zip(*_rows(path, classes, _row), strict=True)
    return evaluation_set_digest(texts, labels)


def _rows(
    path: Path, classes: Classes, form: Callable[[dict[str, object], Classes, str], Row]
) -> list[Row]:
    """Read every row, at least one."""
    rows = []
    try:
        with path.open("rb") as file:  # bytes, so that only a line feed ends a line
            for number, line in enumerate(file, start=1):
                where = f"{path.name} line {number}"
                rows.append(form(_object(line, where), classes, where))
    except OSError as error:
        raise Problem("COM-TERMS-006", file=path.name, why=error.strerror) from None
    except ValueError:  # a zero byte
        raise Problem("COM-TERMS-006", file=path.name, why="no file has such a name") from None
    if not rows:
        raise Problem("COM-TERMS-006", file=path.name, why="it has no rows")
    return rows


def _object(line: bytes, where: str) -> dict[str, object]:
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise Problem("COM-TERMS-005", where=where, what="a JSON object in UTF-8")
    return row


def _row(row: dict[str, object], classes: Classes, where: str) -> tuple[str, int]:
    text, label = (_column(row, name, where) for name in ("text", "label"))
    if not text.strip():
        raise Problem("COM-TERMS-005", where=where, what="a text that is not blank")
    return text, _class(label, classes, where)


def _word_row(
    row: dict[str, object], classes: Classes, where: str
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    name = "tags" if "tags" in row and "labels" not in row else "labels"
    words, labels = _list(row, "tokens", where), _list(row, name, where)
    if not words or len(words) != len(labels):
        what = f"at least one word, and as many in 'tokens' as in {name!r}"
        raise Problem("COM-TERMS-005", where=where, what=what)
    if not all(word.strip() for word in words):
        raise Problem("COM-TERMS-005", where=where, what="words that are not blank")
    return words, tuple(_class(label, classes, where) for label in labels)


def _class(label: str, classes: Classes, where: str) -> int:
    if label not in classes:
        what = f"one of the {len(classes)} labels of the task, got {label[:40]!r}"
        raise Problem("COM-TERMS-005", where=where, what=what)
    return classes[label]


def _list(row: dict[str, object], name: str, where: str) -> tuple[str, ...]:
    values = row.get(name)
    if not isinstance(values, list) or not all(map(_is_text, values)):
        raise Problem("COM-TERMS-005", where=where, what=f"{name!r} with a list of strings")
    return tuple(values)


def _column(row: dict[str, object], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not _is_text(value):
        raise Problem("COM-TERMS-005", where=where, what=f"{name!r} with a string")
    return value


def _is_text(value: object) -> bool:
    """Tell whether a value is a string that UTF-8 has."""
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)
