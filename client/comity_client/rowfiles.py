"""How a file of rows is written: lines, JSON Lines and CSV, each row as its columns.

Errors name the file, the line and what was expected, never what was found, and carry no exception
that does.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from comity_common.errors import Problem

MAX_LINE_BYTES = 1 << 20  # a model reads 512 tokens at most; such a line is no row
BYTE_ORDER_MARK = "\ufeff"
LINES_BETWEEN = 1000  # two words about how far reading is

OnPart = Callable[[float], None]
"""Told now and then which part is done, 0 to 1."""

Columns = Mapping[str, object]

csv.field_size_limit(MAX_LINE_BYTES)  # a quote that is never closed ends here


def records(path: Path, wanted: Sequence[str], on_part: OnPart) -> Iterator[tuple[int, Columns]]:
    """Read line and columns of every row, at least one.

    Args:
        path: .jsonl or .csv.
        wanted: columns that a header must name just once.

    Raises:
        Problem: the file cannot be opened, has no row, or has a line that is none. While reading.
    """
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise Problem("COM-DATA-002", file=path.name)
    empty = True
    for record in form(_lines(path, on_part), path.name, wanted):
        yield record
        empty = False
    if empty:
        raise Problem("COM-DATA-011", file=path.name)


def column(columns: Columns, name: str, file: str, line: int) -> str:
    """Read a column that holds a text, which is not blank.

    Raises:
        Problem: it does not.
    """
    if name not in columns:
        raise Problem("COM-DATA-007", file=file, line=line, column=name)
    value = columns[name]
    if not isinstance(value, str):
        raise Problem("COM-DATA-008", file=file, line=line, column=name)
    return _checked(value, name, file, line)


def texts(columns: Columns, name: str, file: str, line: int) -> tuple[str, ...]:
    """Read a column that holds a list of texts, none of them blank.

    Raises:
        Problem: it does not.
    """
    if name not in columns:
        raise Problem("COM-DATA-007", file=file, line=line, column=name)
    values = columns[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Problem("COM-DATA-031", file=file, line=line, column=name)
    one = name.removesuffix("s")
    return tuple(_checked(value, one, file, line) for value in values)


def check_signs(value: str, file: str, line: int) -> None:
    """Refuse half a sign: JSON can spell one, and no UTF-8 has it.

    Raises:
        Problem: there is one.
    """
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        raise Problem("COM-DATA-003", file=file, line=line)


def _checked(value: str, name: str, file: str, line: int) -> str:
    check_signs(value, file, line)
    if not value.strip():
        raise Problem("COM-DATA-009", file=file, line=line, column=name)
    return value


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


def _json_lines(
    lines: Iterator[tuple[int, str]], file: str, wanted: Sequence[str]
) -> Iterator[tuple[int, Columns]]:
    for number, line in lines:
        row = _object(line)
        if row is None:
            raise Problem("COM-DATA-004", file=file, line=number)
        yield number, row


def _csv(
    lines: Iterator[tuple[int, str]], file: str, wanted: Sequence[str]
) -> Iterator[tuple[int, Columns]]:
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
            header = _header(row, file, wanted)
        elif len(row) != len(header):
            raise Problem("COM-DATA-006", file=file, line=number, count=len(header))
        else:
            yield number, dict(zip(header, row, strict=True))


Form = Callable[[Iterator[tuple[int, str]], str, Sequence[str]], Iterator[tuple[int, Columns]]]

FORMS: Mapping[str, Form] = {
    ".jsonl": _json_lines,
    ".csv": _csv,
}


def _header(names: list[str], file: str, wanted: Sequence[str]) -> list[str]:
    """Return the names of the columns, of which those that are wanted must be there just once."""
    for name in wanted:
        if names.count(name) != 1:
            raise Problem("COM-DATA-007", file=file, line=1, column=name)
    return names


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
