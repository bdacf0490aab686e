"""Which units a vault keeps for scoring: a fixed split by keyed hash.

A unit is held out or trained on, never both and never in turn: the answer depends on the vault's
key and the unit's name alone, so a row that is added, removed or moved changes nothing for others,
and nobody without the key can tell on which side somebody is.
"""

import hmac
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from comity_client.rows import Rows, WordRows
from comity_common.crypto.derive import KEY_BYTES, digest, expand
from comity_common.errors import LocalError

HASH_BITS = 64


class Holdout:
    """The split of one data set under one agreement's share."""

    __slots__ = ("_key", "_limit")

    def __init__(self, key: bytes, share: Fraction) -> None:
        """Args:
        key: 32 bytes of the vault, from which the split's own key is derived.
        share: of units that are held out, above 0 and below 1.
        """
        if len(key) != KEY_BYTES or not 0 < share < 1:
            raise LocalError("expected a key of 32 bytes and a share above 0 and below 1")
        self._key = expand(key, "holdout")
        self._limit = int(share * 2**HASH_BITS)

    def __repr__(self) -> str:
        return "Holdout(...)"

    def part(self, rows: Rows | WordRows) -> tuple[Rows | WordRows, Rows | WordRows]:
        """Part rows into those to train on and those that are held out, both in their order.

        A record is named by its text, so one whose label is corrected stays on its side, and so do
        all rows with the same text; a person by its key.
        """
        held = np.array([self.holds(name) for name in _names(rows)], dtype=np.bool_)
        return rows.only(np.flatnonzero(~held)), rows.only(np.flatnonzero(held))

    def holds(self, unit: bytes) -> bool:
        """Tell whether a unit is held out.

        Args:
            unit: what names it: a person's key, or a record's own bytes.
        """
        keyed = hmac.digest(self._key, digest("holdout-unit", unit), "sha256")
        return int.from_bytes(keyed[: HASH_BITS // 8], "big") < self._limit


def _names(rows: Rows | WordRows) -> Iterator[bytes]:
    if rows.units is not None:
        yield from (rows.persons[unit] for unit in rows.units)
        return
    for text in rows.texts:
        words = (text,) if isinstance(text, str) else text
        yield digest("record", *(word.encode() for word in words))
