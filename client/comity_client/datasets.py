"""The only reader of private rows.

Rows are secrets: they are read here, live in `Rows` and `Labelled`, go into the trainer or into the
institution's own report, and nowhere else. An error about a data file names the file, the line and
what was expected, never what was found.

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

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comity_client import rowfiles
from comity_client.rowfiles import Columns, OnPart
from comity_client.rows import Labelled, LabelledWords, Record, Rows, WordRows
from comity_common import evaluation
from comity_common.agreement import Task, TaskKind
from comity_common.crypto.derive import digest
from comity_common.errors import Problem
from comity_common.ids import Digest

TEXT, LABEL = "text", "label"
WORDS, WORD_LABELS, TAGS = "tokens", "labels", "tags"


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


def read_records(path: Path, unit_key: str = "") -> Iterator[Record]:
    """Read text and unit of every row, of either kind of task.

    Args:
        unit_key: the column that names each row's unit; empty for none.

    Raises:
        Problem: the file cannot be opened, has no row, or has a line that is no row or names no
            unit. While reading.
    """
    wanted = (TEXT, unit_key) if unit_key else (TEXT,)
    for line, columns in rowfiles.records(path, wanted, lambda part: None):
        text = _joined(columns) or rowfiles.column(columns, TEXT, path.name, line)
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


def _rows(
    path: Path, on_part: OnPart = lambda part: None, unit_key: str = ""
) -> Iterator[tuple[int, str, str, str]]:
    """Read line, text, label and, if asked for, whose it is, of every row, at least one."""
    wanted = (TEXT, LABEL, unit_key) if unit_key else (TEXT, LABEL)
    for line, columns in rowfiles.records(path, wanted, on_part):
        text, label = (rowfiles.column(columns, name, path.name, line) for name in (TEXT, LABEL))
        yield line, text, label, _person(columns, unit_key, path.name, line)


def _word_rows(
    path: Path, on_part: OnPart = lambda part: None, unit_key: str = ""
) -> Iterator[tuple[int, tuple[str, ...], tuple[str, ...], str]]:
    """Read line, words, labels and, if asked for, whose it is, of every row, at least one."""
    if path.suffix.lower() != ".jsonl":
        raise Problem("COM-DATA-030", file=path.name)
    for line, columns in rowfiles.records(path, (), on_part):
        name = TAGS if TAGS in columns and WORD_LABELS not in columns else WORD_LABELS
        words, labels = (
            rowfiles.texts(columns, column, path.name, line) for column in (WORDS, name)
        )
        if not words or len(words) != len(labels):
            raise Problem("COM-DATA-032", file=path.name, line=line, column=name)
        yield line, words, labels, _person(columns, unit_key, path.name, line)


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
    rowfiles.check_signs(key, file, line)
    return key
