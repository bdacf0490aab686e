"""Private rows in memory: secrets, which show neither content nor count when they are printed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comity_common.errors import LocalError

Places = npt.NDArray[np.int64]


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


def _check_units(units: Places | None, persons: tuple[bytes, ...], rows: int) -> None:
    if units is None:
        return
    if units.shape != (rows,) or units.dtype != np.int64:
        raise LocalError("expected one int64 unit for each text")
    if persons and rows and int(units.max()) >= len(persons):
        raise LocalError("expected a name for each unit")
    units.flags.writeable = False
