"""The only reader of private rows.

Rows are secrets: they are read here, live in `Rows` and `Labelled`, go into the trainer or into the
institution's own report, and nowhere else. Neither shows content or count when it is printed, and
an error about a data file names the file, the line and what was expected, never what was found.

A file is in UTF-8, with or without a byte order mark, and has the columns `text` and `label`; other
columns, such as `id` and `region`, are left unread. Its name says how it is written:

* `.jsonl`: JSON Lines, one object a line, both columns strings;
* `.csv`: RFC 4180 with a header; a line is named by where its row begins.

The public evaluation set has the same form and is read by the same function.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comity_common import evaluation
from comity_common.errors import LocalError, Problem
from comity_common.ids import Digest

MAX_LINE_BYTES = 1 << 20  # a model reads 512 tokens at most; such a line is no row
TEXT, LABEL = "text", "label"
BYTE_ORDER_MARK = "\ufeff"
LINES_BETWEEN = 1000  # two words about how far reading is

OnPart = Callable[[float], None]
"""Told now and then which part is done, 0 to 1."""

Columns = Mapping[str, object]

csv.field_size_limit(MAX_LINE_BYTES)  # a quote that is never closed ends here


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Labelled:
    """Texts with labels as they stand in the file, before any agreement declares which there are.

    Attributes:
        texts, labels: of n rows, none of them blank.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return "Labelled(texts and labels)"


def read_rows(path: Path, labels: Sequence[str]) -> Rows:
    """Read every row of a data file.

    Args:
        path: the file, .jsonl or .csv.
        labels: the declared labels, in the order of the classes.

    Raises:
        Problem: the file cannot be opened, has no row, or has a line that is not such a row.
    """
    classes = {label: index for index, label in enumerate(labels)}
    texts: list[str] = []
    targets: list[int] = []
    for line, text, label in _rows(path):
        if label not in classes:
            raise Problem("COM-DATA-010", file=path.name, line=line, count=len(classes))
        texts.append(text)
        targets.append(classes[label])
    return Rows(texts=tuple(texts), labels=np.asarray(targets, dtype=np.int64))


def read_labelled(path: Path, on_part: OnPart = lambda part: None) -> Labelled:
    """Read every row of a data file whose labels are not declared yet.

    Raises:
        Problem: as `read_rows`, for any label but a blank one.
    """
    texts: list[str] = []
    labels: list[str] = []
    for _, text, label in _rows(path, on_part):
        texts.append(text)
        labels.append(label)
    return Labelled(texts=tuple(texts), labels=tuple(labels))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record:
    """What tells a row apart from others, without its label.

    Attributes:
        text: of a row of tokens, these one space apart.
        unit: what the key column says; None where there is none.
    """

    text: str
    unit: str | None

    def __repr__(self) -> str:
        return "Record(text and unit)"


def read_records(path: Path, unit_key: str = "") -> Iterator[Record]:
    """Read text and unit of every row, of either kind of task.

    Args:
        unit_key: the column that names each row's unit; empty for none.

    Raises:
        Problem: the file cannot be opened, has no row, or has a line that is no row or names no
            unit. While reading.
    """
    empty = True
    for line, columns in _columns(path, lambda part: None):
        text = _words(columns) or _column(columns, TEXT, path.name, line)
        yield Record(text=text, unit=_unit(columns, unit_key, path.name, line))
        empty = False
    if empty:
        raise Problem("COM-DATA-011", file=path.name)


def _words(columns: Columns) -> str:
    """Return a row of tokens as a text; empty for a row that is none."""
    tokens = columns.get("tokens")
    if TEXT in columns or not isinstance(tokens, list):
        return ""
    return " ".join(token for token in tokens if isinstance(token, str))


def _unit(columns: Columns, name: str, file: str, line: int) -> str | None:
    """Return what a row's key column says, a number as its digits."""
    if not name:
        return None
    value = columns.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise Problem("COM-BUDGET-004", file=file, line=line, column=name)
    return value


def evaluation_set_digest(rows: Rows) -> Digest:
    """Hash a public evaluation set: its texts and labels, in their order."""
    return evaluation.evaluation_set_digest(rows.texts, rows.labels.tolist())


def _rows(path: Path, on_part: OnPart = lambda part: None) -> Iterator[tuple[int, str, str]]:
    """Read line, text and label of every row, at least one."""
    empty = True
    for line, columns in _columns(path, on_part):
        text, label = (_column(columns, name, path.name, line) for name in (TEXT, LABEL))
        yield line, text, label
        empty = False
    if empty:
        raise Problem("COM-DATA-011", file=path.name)


def _columns(path: Path, on_part: OnPart) -> Iterator[tuple[int, Columns]]:
    """Read line and columns of every row, as the file's name says that it is written."""
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise Problem("COM-DATA-002", file=path.name)
    yield from form(_lines(path, on_part), path.name)


def _lines(path: Path, on_part: OnPart) -> Iterator[tuple[int, str]]:
    """Read numbered lines; only a line feed ends one."""
    try:
        with path.open("rb") as file:
            size, done, number = os.fstat(file.fileno()).st_size, 0, 0
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number, done = number + 1, done + len(raw)
                if len(raw) > MAX_LINE_BYTES:
                    raise Problem("COM-DATA-012", file=path.name, line=number)
                line = _decoded(raw)
                if line is None:
                    raise Problem("COM-DATA-003", file=path.name, line=number)
                yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                if number % LINES_BETWEEN == 0 and size:
                    on_part(min(1.0, done / size))
    except OSError as error:
        raise Problem("COM-DATA-001", file=path.name, why=error.strerror) from None


def _json_lines(lines: Iterator[tuple[int, str]], file: str) -> Iterator[tuple[int, Columns]]:
    for number, line in lines:
        row = _object(line)
        if row is None:
            raise Problem("COM-DATA-004", file=file, line=number)
        yield number, row


def _csv(lines: Iterator[tuple[int, str]], file: str) -> Iterator[tuple[int, Columns]]:
    reader = csv.reader((line for _, line in lines), strict=True)
    header: list[str] = []
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error:
            raise Problem("COM-DATA-005", file=file, line=number) from None
        if row is None:
            return
        if number == 1:
            header = _header(row, file)
        elif len(row) != len(header):
            raise Problem("COM-DATA-006", file=file, line=number, count=len(header))
        else:
            yield number, dict(zip(header, row, strict=True))


FORMS: Mapping[str, Callable[[Iterator[tuple[int, str]], str], Iterator[tuple[int, Columns]]]] = {
    ".jsonl": _json_lines,
    ".csv": _csv,
}


def _header(names: list[str], file: str) -> list[str]:
    """Return the names of the columns, of which two must be there just once."""
    for name in (TEXT, LABEL):
        if names.count(name) != 1:
            raise Problem("COM-DATA-007", file=file, line=1, column=name)
    return names


def _column(columns: Columns, name: str, file: str, line: int) -> str:
    if name not in columns:
        raise Problem("COM-DATA-007", file=file, line=line, column=name)
    value = columns[name]
    if not isinstance(value, str):
        raise Problem("COM-DATA-008", file=file, line=line, column=name)
    if any("\ud800" <= sign <= "\udfff" for sign in value):  # half a sign: no UTF-8 has it
        raise Problem("COM-DATA-003", file=file, line=line)
    if not value.strip():
        raise Problem("COM-DATA-009", file=file, line=line, column=name)
    return value


def _decoded(raw: bytes) -> str | None:
    """Decode one line; None, and no exception that carries the line, when it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _object(line: str) -> dict[str, object] | None:
    """Parse one line; None, and no exception that carries the line, when it is no object."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
