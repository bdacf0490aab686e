"""Reads the public evaluation set at the operator, who puts its digest into the agreement.

The same file gives the same digest at an institution (`comity_client.datasets`). Its rows are
public, so an error may show a label.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from comity_common.errors import Problem
from comity_common.evaluation import evaluation_set_digest
from comity_common.ids import Digest


def digest_of_file(path: Path, labels: Sequence[str]) -> Digest:
    """Hash a public evaluation set: JSON Lines in UTF-8 with `text` and `label`.

    Args:
        labels: the task's, in their order.

    Raises:
        Problem: the file cannot be read, has no row, or has a line that is not such a row.
    """
    classes = {label: index for index, label in enumerate(labels)}
    rows: list[tuple[str, int]] = []
    try:
        with path.open("rb") as file:  # bytes, so that only a line feed ends a line
            for number, line in enumerate(file, start=1):
                rows.append(_row(line, classes, f"{path.name} line {number}"))
    except OSError as error:
        raise Problem("COM-TERMS-006", file=path.name, why=error.strerror) from None
    except ValueError:  # a zero byte
        raise Problem("COM-TERMS-006", file=path.name, why="no file has such a name") from None
    if not rows:
        raise Problem("COM-TERMS-006", file=path.name, why="it has no rows")
    return evaluation_set_digest([text for text, _ in rows], [label for _, label in rows])


def _row(line: bytes, classes: dict[str, int], where: str) -> tuple[str, int]:
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise Problem("COM-TERMS-005", where=where, what="a JSON object in UTF-8")
    text, label = (_column(row, name, where) for name in ("text", "label"))
    if not text.strip():
        raise Problem("COM-TERMS-005", where=where, what="a text that is not blank")
    if label not in classes:
        what = f"one of the {len(classes)} labels of the task, got {label[:40]!r}"
        raise Problem("COM-TERMS-005", where=where, what=what)
    return text, classes[label]


def _column(row: dict[str, object], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or any("\ud800" <= sign <= "\udfff" for sign in value):
        raise Problem("COM-TERMS-005", where=where, what=f"{name!r} with a string")
    return value
