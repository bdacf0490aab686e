"""What two ledgers or two messages have in common once chance and clocks are taken out of them.

Every field that the tables of tags call random gets the number of its first appearance instead of
its value, so that what was equal stays equal; what they call time gets one and the same. All else
stays as it is, lengths included, and so does the form: what comes out can be encoded.
"""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from comity_common.ledger.entries import Entry
from comity_common.ledger.messagetags import MESSAGES
from comity_common.ledger.tags import ENTRIES, Tag

TIME = "2000-01-01T00:00:00Z"
TAGS = {**ENTRIES, **MESSAGES}


class Mask:
    """Numbers for what is random, in the order in which it comes."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def __call__(self, value: Any) -> Any:
        """Take chance and clocks out of an entry or a message."""
        changed = {}
        for field in fields(value):
            held = getattr(value, field.name)
            tagged = TAGS[type(value)].get(field.name)
            if tagged is None:
                changed[field.name] = self._inside(held)
            elif tagged.tag is Tag.RANDOM:
                changed[field.name] = self._numbered(held)
            elif tagged.tag is Tag.TIME:
                changed[field.name] = TIME if isinstance(held, str) else self._blank(held)
        return replace(value, **changed)

    def _inside(self, held: Any) -> Any:
        if isinstance(held, tuple):
            return tuple(map(self._inside, held))
        return self(held) if is_dataclass(held) else held

    def _numbered(self, held: Any) -> Any:
        if isinstance(held, tuple):
            return tuple(map(self._numbered, held))
        if not held:
            return held
        number = self._numbers.setdefault(held, len(self._numbers) + 1)
        if isinstance(held, str):
            return type(held)(f"{number:0{len(held)}x}")
        return number.to_bytes(len(held), "big")

    @staticmethod
    def _blank(held: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return tuple(bytes(len(one)) for one in held)


def masked(entries: Iterable[Entry]) -> list[Entry]:
    """Take chance and clocks out of entries, which are numbered anew."""
    mask = Mask()
    return [replace(mask(entry), sequence=place) for place, entry in enumerate(entries)]
