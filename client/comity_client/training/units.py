"""The units of a data set: what the sampler draws, and which rows each one brings.

A unit is a record, or a person with all rows of one key. Adding or removing a unit adds or removes
its rows together, so a unit is drawn as a whole and its rows' gradients are added before they are
clipped (see `persons`): that is where the guarantee comes from.

A cap on rows keeps a person with very many from filling a batch. Which rows are used is chosen by a
keyed hash of their content: the same ones in every round and in whatever order the file is, by
nothing that other persons have, and by nothing that whoever writes rows can foresee.
"""

from collections.abc import Sequence

import numpy as np

from comity_client.model.examples import Indices
from comity_client.rows import Rows, WordRows
from comity_common.agreement import Privacy, Unit
from comity_common.crypto.derive import KEY_BYTES, expand
from comity_common.errors import LocalError


class Units:
    """The rows of each unit.

    Args:
        rows: for each unit the places of its rows, ascending, at least one.

    Attributes:
        are_records: whether unit k is row k and nothing else, for all.
    """

    def __init__(self, rows: Sequence[Indices]) -> None:
        sizes = np.array([len(places) for places in rows], dtype=np.int64)
        if not sizes.all():
            raise LocalError("expected at least one row of each unit")
        self._rows = np.concatenate([np.empty(0, np.int64), *rows])
        self._ends = np.cumsum(sizes)
        self.are_records = np.array_equal(self._rows, np.arange(len(sizes)))

    @classmethod
    def of_records(cls, count: int) -> "Units":
        """Make each of so many rows a unit."""
        units = cls([])
        units._rows, units._ends = np.arange(count), np.arange(1, count + 1)
        return units

    @classmethod
    def of_persons(cls, rows: Rows | WordRows, rows_per_unit: int, key: bytes) -> "Units":
        """Gather the rows of each person, at most so many.

        Args:
            key: 32 bytes, the vault's own and the same for as long as the rows are trained on.

        Raises:
            LocalError: the rows do not say whose they are.
        """
        if rows.units is None:
            raise LocalError("expected rows with a column that says whose each is")
        if rows_per_unit < 1 or len(key) != KEY_BYTES:
            raise LocalError(f"expected at least one row a unit, and a key of {KEY_BYTES} bytes")
        order = np.argsort(rows.units, kind="stable")
        starts = np.flatnonzero(np.diff(rows.units[order])) + 1
        persons = np.split(order, starts) if len(order) else []
        return cls([_capped(places, rows, rows_per_unit, key) for places in persons])

    @classmethod
    def agreed(cls, privacy: Privacy, rows: Rows | WordRows, key: bytes) -> "Units":
        """Make the units of which an agreement's guarantee speaks.

        Args:
            key: as for persons; records need none.
        """
        if privacy.unit is Unit.RECORD:
            return cls.of_records(len(rows))
        return cls.of_persons(rows, privacy.rows_per_unit, key)

    def __len__(self) -> int:
        return len(self._ends)

    def __repr__(self) -> str:
        return "Units(...)"

    def rows_of(self, unit: int) -> Indices:
        """Return the places of a unit's rows, ascending."""
        start = self._ends[unit - 1] if unit else 0
        return self._rows[start : self._ends[unit]]


def _capped(places: Indices, rows: Rows | WordRows, most: int, key: bytes) -> Indices:
    if len(places) <= most:
        return places
    ranks = {place: _rank(rows, place, key) for place in places.tolist()}
    chosen = sorted(ranks, key=lambda place: (ranks[place], place))[:most]
    return np.array(sorted(chosen), dtype=np.int64)


def _rank(rows: Rows | WordRows, place: int, key: bytes) -> bytes:
    """Rank a row by its content; rows alike in all have one rank, and it does not matter which."""
    text, label = rows.texts[place], rows.labels[place]
    words = (text,) if isinstance(text, str) else text
    content = (*(word.encode() for word in words), np.asarray(label, "<i8").tobytes())
    return expand(key, "row-of-a-unit", *content)
