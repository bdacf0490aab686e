"""The only reader of private rows.

Rows are secrets: they are read here, live in `Rows` and `Labelled`, go into the trainer or into the
institution's own report, and nowhere else. Neither shows content or count when it is printed, and
an error about a data file names the file, the line and what was expected, never what was found.

A file is in UTF-8, with or without a byte order mark, and has the columns `text` and `label`; other
columns, such as `id` and `region`, are left unread. Its name says how it is written:

* `.jsonl`: JSON Lines, one object a line, both columns strings;
* `.csv`: RFC 4180 with a header; a line is named by where its row begins.

Where every word has a label, the columns are `tokens` and `labels` (or `tags`), both lists of
strings of one length, and the file is JSON Lines.

Where persons are protected, one more column says whose a row is: a text or a whole number, never
empty. Two spellings that differ in nothing but space around them or in how Unicode composes signs
are one person; keys live in this module alone, others see whole numbers in their place, and
digests by which a person is known again.

The public evaluation set has the same form and is read by the same function.
"""

import csv
import json
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comity_common import evaluation
from comity_common.agreement import Task, TaskKind
from comity_common.crypto.derive import digest
from comity_common.errors import LocalError, Problem
from comity_common.ids import Digest

MAX_LINE_BYTES = 1 << 20  # a model reads 512 tokens at most; such a line is no row
TEXT, LABEL = "text", "label"
WORDS, WORD_LABELS, TAGS = "tokens", "labels", "tags"
BYTE_ORDER_MARK = "\ufeff"
LINES_BETWEEN = 1000  # two words about how far reading is

OnPart = Callable[[float], None]
"""Told now and then which part is done, 0 to 1."""

Columns = Mapping[str, object]
Places = npt.NDArray[np.int64]

csv.field_size_limit(MAX_LINE_BYTES)  # a quote that is never closed ends here


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Source:
    """Where rows lie, and how persons are told apart in them.

    Attributes:
        path: the file.
        unit_key: the column that says whose a row is; empty where there is none.
        cap_key: 32 bytes of the vault's own, by which the rows of a person who has too many are
            chosen; always the same for the same rows. Empty where there is none.
        holdout_key: 32 bytes of the vault's own, by which units are held out for scores; the same
            in all agreements. Empty where there is none.
    """

    path: Path
    unit_key: str = ""
    cap_key: bytes = b""
    holdout_key: bytes = b""

    def __repr__(self) -> str:
        return f"Source({self.path.name})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Rows:
    """Labelled texts.

    Attributes:
        texts: of n rows, none of them blank.
        labels: shape (n,), int64, the class of each row as its place in the declared labels.
        units: shape (n,), int64, whose each row is, from 0 in the order of first rows; None where
            no column was asked for.
        persons: by unit, 32 bytes that name the person in whatever file it stands.
    """

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64] | None = None
    persons: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.texts),) or self.labels.dtype != np.int64:
            raise LocalError("expected one int64 label for each text")
        self.labels.flags.writeable = False
        _check_units(self.units, self.persons, len(self.texts))

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return "Rows(texts and labels)"

    def only(self, places: Places) -> "Rows":
        """Return the rows at these places, ascending."""
        return Rows(
            texts=tuple(self.texts[place] for place in places),
            labels=self.labels[places],
            units=None if self.units is None else self.units[places],
            persons=self.persons,
        )

    def first(self, count: int) -> "Rows":
        """Return the first `count` rows, or all if there are fewer."""
        return Rows(texts=self.texts[:count], labels=self.labels[:count])


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class WordRows:
    """Texts as words, each with a label.

    Attributes:
        texts: the words of n rows, in each row at least one, none of them blank.
        labels: of each row shape (words,), int64, the class of each word as its place in the
            declared labels.
        units: shape (n,), int64, whose each row is; None if nobody asked.
        persons: by unit, 32 bytes that name the person in whatever file it stands.
    """

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[npt.NDArray[np.int64], ...]
    units: npt.NDArray[np.int64] | None = None
    persons: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        shapes = [(len(words),) for words in self.texts]
        if [classes.shape for classes in self.labels] != shapes or any(
            classes.dtype != np.int64 for classes in self.labels
        ):
            raise LocalError("expected one int64 label for each word")
        for classes in self.labels:
            classes.flags.writeable = False
        _check_units(self.units, self.persons, len(self.texts))

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return "WordRows(words and labels)"

    def only(self, places: Places) -> "WordRows":
        """Return the rows at these places, ascending."""
        return WordRows(
            texts=tuple(self.texts[place] for place in places),
            labels=tuple(self.labels[place] for place in places),
            units=None if self.units is None else self.units[places],
            persons=self.persons,
        )

    def first(self, count: int) -> "WordRows":
        """Return the first `count` rows, or all if there are fewer."""
        return WordRows(texts=self.texts[:count], labels=self.labels[:count])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LabelledWords:
    """Words with labels as they stand in the file, before any agreement declares which there are.

    Attributes:
        texts, labels: the words of n rows and the label of each, none of them blank.
    """

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return "LabelledWords(words and labels)"


def read_for(path: Path, task: Task, unit_key: str = "") -> Rows | WordRows:
    """Read every row of a data file for a task.

    Args:
        unit_key: the column that says whose a row is, where that is asked for.

    Raises:
        Problem: as `read_rows`.
    """
    if task.kind is TaskKind.TOKEN_CLASSIFICATION:
        return read_word_rows(path, task.labels, unit_key)
    return read_rows(path, task.labels, unit_key)


def read_labelled_for(
    path: Path, kind: TaskKind, on_part: OnPart = lambda part: None
) -> Labelled | LabelledWords:
    """Read every row of a data file for a kind of task whose labels are not declared yet.

    Raises:
        Problem: as `read_labelled`.
    """
    if kind is TaskKind.TOKEN_CLASSIFICATION:
        return read_labelled_words(path, on_part)
    return read_labelled(path, on_part)


def read_rows(path: Path, labels: Sequence[str], unit_key: str = "") -> Rows:
    """Read every row of a data file.

    Args:
        path: the file, .jsonl or .csv.
        labels: the declared labels, in the order of the classes.
        unit_key: the column that says whose a row is, where that is asked for.

    Raises:
        Problem: the file cannot be opened, has no row, or has a line that is not such a row.
    """
    classes = {label: index for index, label in enumerate(labels)}
    texts: list[str] = []
    targets: list[int] = []
    owners = _Owners()
    for line, text, label, person in _rows(path, unit_key=unit_key):
        if label not in classes:
            raise Problem("COM-DATA-010", file=path.name, line=line, count=len(classes))
        texts.append(text)
        targets.append(classes[label])
        owners.note(person)
    return Rows(
        texts=tuple(texts),
        labels=np.asarray(targets, dtype=np.int64),
        units=owners.units() if unit_key else None,
        persons=owners.persons() if unit_key else (),
    )


def read_word_rows(path: Path, labels: Sequence[str], unit_key: str = "") -> WordRows:
    """Read every row of a data file whose words have labels.

    Args:
        path: the file, .jsonl.
        labels: the declared labels, in the order of the classes.

    Raises:
        Problem: the file cannot be opened, has no row, or has a line that is not such a row.
    """
    classes = {label: index for index, label in enumerate(labels)}
    texts: list[tuple[str, ...]] = []
    targets: list[npt.NDArray[np.int64]] = []
    owners = _Owners()
    for line, words, of_words, person in _word_rows(path, unit_key=unit_key):
        if not classes.keys() >= set(of_words):
            raise Problem("COM-DATA-010", file=path.name, line=line, count=len(classes))
        texts.append(words)
        targets.append(np.asarray([classes[label] for label in of_words], dtype=np.int64))
        owners.note(person)
    return WordRows(
        texts=tuple(texts),
        labels=tuple(targets),
        units=owners.units() if unit_key else None,
        persons=owners.persons() if unit_key else (),
    )


def read_labelled(path: Path, on_part: OnPart = lambda part: None) -> Labelled:
    """Read every row of a data file whose labels are not declared yet.

    Raises:
        Problem: as `read_rows`, for any label but a blank one.
    """
    texts: list[str] = []
    labels: list[str] = []
    for _, text, label, _ in _rows(path, on_part):
        texts.append(text)
        labels.append(label)
    return Labelled(texts=tuple(texts), labels=tuple(labels))


def read_labelled_words(path: Path, on_part: OnPart = lambda part: None) -> LabelledWords:
    """Read every row of a data file whose words have labels that are not declared yet.

    Raises:
        Problem: as `read_word_rows`, for any label but a blank one.
    """
    rows = [(words, labels) for _, words, labels, _ in _word_rows(path, on_part)]
    return LabelledWords(
        texts=tuple(words for words, _ in rows), labels=tuple(labels for _, labels in rows)
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record:
    """What tells a row apart from others, without its label.

    Attributes:
        text: of a row of words, these one space apart.
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
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise Problem("COM-DATA-002", file=path.name)
    wanted = (TEXT, unit_key) if unit_key else (TEXT,)
    for line, columns in _records(path, form, wanted, lambda part: None):
        text = _joined(columns) or _column(columns, TEXT, path.name, line)
        yield Record(text=text, unit=_person(columns, unit_key, path.name, line) or None)


def _joined(columns: Columns) -> str:
    """Return a row of words as a text; empty for a row that is none."""
    words = columns.get(WORDS)
    if TEXT in columns or not isinstance(words, list):
        return ""
    return " ".join(word for word in words if isinstance(word, str))


def evaluation_set_digest(rows: Rows | WordRows) -> Digest:
    """Hash a public evaluation set: its texts and labels, in their order."""
    if isinstance(rows, WordRows):
        labels = [classes.tolist() for classes in rows.labels]
        return evaluation.word_evaluation_set_digest(rows.texts, labels)
    return evaluation.evaluation_set_digest(rows.texts, rows.labels.tolist())


class _Owners:
    """Whose rows are, as numbers in the order in which persons first come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._of_rows: list[int] = []

    def note(self, person: str) -> None:
        self._of_rows.append(self._numbers.setdefault(person, len(self._numbers)))

    def units(self) -> npt.NDArray[np.int64]:
        return np.asarray(self._of_rows, dtype=np.int64)

    def persons(self) -> tuple[bytes, ...]:
        return tuple(digest("person", person.encode()) for person in self._numbers)


def _check_units(units: Places | None, persons: tuple[bytes, ...], rows: int) -> None:
    if units is None:
        return
    if units.shape != (rows,) or units.dtype != np.int64:
        raise LocalError("expected one int64 unit for each text")
    if persons and rows and int(units.max()) >= len(persons):
        raise LocalError("expected a name for each unit")
    units.flags.writeable = False


def _rows(
    path: Path, on_part: OnPart = lambda part: None, unit_key: str = ""
) -> Iterator[tuple[int, str, str, str]]:
    """Read line, text, label and, if asked for, whose it is, of every row, at least one."""
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise Problem("COM-DATA-002", file=path.name)
    wanted = (TEXT, LABEL, unit_key) if unit_key else (TEXT, LABEL)
    for line, columns in _records(path, form, wanted, on_part):
        text, label = (_column(columns, name, path.name, line) for name in (TEXT, LABEL))
        yield line, text, label, _person(columns, unit_key, path.name, line)


def _word_rows(
    path: Path, on_part: OnPart = lambda part: None, unit_key: str = ""
) -> Iterator[tuple[int, tuple[str, ...], tuple[str, ...], str]]:
    """Read line, words, labels and, if asked for, whose it is, of every row, at least one."""
    if path.suffix.lower() != ".jsonl":
        raise Problem("COM-DATA-030", file=path.name)
    for line, columns in _records(path, _json_lines, (), on_part):
        name = TAGS if TAGS in columns and WORD_LABELS not in columns else WORD_LABELS
        words, labels = (_list(columns, column, path.name, line) for column in (WORDS, name))
        if not words or len(words) != len(labels):
            raise Problem("COM-DATA-032", file=path.name, line=line, column=name)
        yield line, words, labels, _person(columns, unit_key, path.name, line)


def _records(
    path: Path, form: "Form", wanted: Sequence[str], on_part: OnPart
) -> Iterator[tuple[int, Columns]]:
    """Read line and columns of every row, at least one."""
    empty = True
    for record in form(_lines(path, on_part), path.name, wanted):
        yield record
        empty = False
    if empty:
        raise Problem("COM-DATA-011", file=path.name)


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


def _column(columns: Columns, name: str, file: str, line: int) -> str:
    if name not in columns:
        raise Problem("COM-DATA-007", file=file, line=line, column=name)
    value = columns[name]
    if not isinstance(value, str):
        raise Problem("COM-DATA-008", file=file, line=line, column=name)
    return _checked(value, name, file, line)


def _list(columns: Columns, name: str, file: str, line: int) -> tuple[str, ...]:
    if name not in columns:
        raise Problem("COM-DATA-007", file=file, line=line, column=name)
    values = columns[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Problem("COM-DATA-031", file=file, line=line, column=name)
    one = name.removesuffix("s")
    return tuple(_checked(value, one, file, line) for value in values)


def _checked(value: str, name: str, file: str, line: int) -> str:
    if any("\ud800" <= sign <= "\udfff" for sign in value):  # half a sign: no UTF-8 has it
        raise Problem("COM-DATA-003", file=file, line=line)
    if not value.strip():
        raise Problem("COM-DATA-009", file=file, line=line, column=name)
    return value


def _person(columns: Columns, name: str, file: str, line: int) -> str:
    """Spell the key of a person in one way; a merged pair would be one unit, which is safe.

    Nothing if no column is asked for.
    """
    if not name:
        return ""
    if name not in columns:
        raise Problem("COM-DATA-007", file=file, line=line, column=name)
    value = columns[name]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    key = unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else ""
    if not key:
        raise Problem("COM-DATA-040", file=file, line=line, column=name)
    return key


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
