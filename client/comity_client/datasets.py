"""The only reader of private rows.

Rows are secrets: they are read here, live in `Rows`, go into the trainer and nowhere else. A
`Rows` shows neither content nor count when it is printed, and an error about a data file names
the file, the line and what was expected, never what was found.

A file is JSON Lines in UTF-8, one object a line with the columns `text` and `label`; other columns,
such as `id` and `region`, are left unread.
The public evaluation set has the same form and is read by the same function.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comity_common.canonical import encode
from comity_common.crypto.derive import digest
from comity_common.errors import LocalError
from comity_common.ids import Digest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Rows:
    """Labelled texts.

    Attributes:
        texts: of n rows, none of them blank.
        labels: shape (n,), int64, the class of each row as its place in the declared labels.
    """

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.texts),) or self.labels.dtype != np.int64:
            raise LocalError("expected one int64 label for each text")
        self.labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return "Rows(texts and labels)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _EvaluationSet:
    """The canonical form of a public set, in the order of its rows."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]


def read_rows(path: Path, labels: Sequence[str]) -> Rows:
    """Read every row of a JSON Lines file.

    Args:
        path: the file.
        labels: the declared labels, in the order of the classes.

    Raises:
        LocalError: the file cannot be opened, has no row, or has a line that is not such a row.
    """
    classes = {label: index for index, label in enumerate(labels)}
    texts: list[str] = []
    targets: list[int] = []
    for number, line in _lines(path):
        where = f"{path.name} line {number}"
        row = _object(line)
        if row is None:
            raise LocalError(f"{where}: expected a JSON object in UTF-8")
        text, label = (_column(row, name, where) for name in ("text", "label"))
        if not text.strip():
            raise LocalError(f"{where}: expected a text that is not blank")
        if label not in classes:
            raise LocalError(f"{where}: expected one of the {len(classes)} declared labels")
        texts.append(text)
        targets.append(classes[label])
    if not texts:
        raise LocalError(f"{path.name}: expected at least one row, got an empty file")
    return Rows(texts=tuple(texts), labels=np.asarray(targets, dtype=np.int64))


def evaluation_set_digest(rows: Rows) -> Digest:
    """Hash a public evaluation set: its texts and labels, in their order."""
    canonical = _EvaluationSet(texts=rows.texts, labels=tuple(rows.labels.tolist()))
    return Digest(digest("evaluation-set", encode(canonical)).hex())


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:  # bytes, so that only a line feed ends a line
            yield from enumerate(file, start=1)
    except OSError as error:
        raise LocalError(f"{path.name}: expected a readable file ({error.strerror})") from None


def _object(line: bytes) -> dict[str, object] | None:
    """Parse one line; None, and no exception that carries the line, when it is no object."""
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _column(row: dict[str, object], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or any("\ud800" <= sign <= "\udfff" for sign in value):
        raise LocalError(f"{where}: expected the column {name!r} with a string")
    return value
