"""Ways to break a rule in a ledger whose every entry is signed, in order and cosigned in time.

Witnesses cosign heads and see no entries, so only the rules of the verifier notice. Each way is a
function from the honest bodies to those that break its rule, at a random place.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from comity_common.ledger.bodies import Body
from tests.audit.book import BEGINNING
from tests.audit.meaning import Tampered
from tests.audit.subject import Subject

Bodies = list[Any]
Break = Callable[[Bodies, random.Random, Subject], Bodies]


@dataclass(frozen=True, kw_only=True)
class Forgery:
    """One way to break a rule.

    Attributes:
        rule: the step that must find it; others may too.
        bodies: changes the honest ones.
        beginning: when the ledger begins.
    """

    name: str
    rule: str
    bodies: Break
    beginning: datetime = BEGINNING

    def package(self, of: Subject, chance: random.Random) -> Tampered:
        """Write the ledger that breaks the rule, and let all others cosign its head."""
        book = of.written(self.bodies(of.book.bodies, chance, of), beginning=self.beginning)
        raw = of.packed(book.entries, book.raw).to_bytes()
        return Tampered(raw=raw, how=self.name)


def registry(into: dict[str, Forgery]) -> Callable[..., Callable[[Break], Break]]:
    """Return a decorator that keeps functions by their names."""

    def forgery(rule: str, **terms: Any) -> Callable[[Break], Break]:
        def register(bodies: Break) -> Break:
            name = bodies.__name__.strip("_").replace("_", " ")
            into[name] = Forgery(name=name, rule=rule, bodies=bodies, **terms)
            return bodies

        return register

    return forgery


def places(bodies: Sequence[Body], kind: type, **fields: Any) -> list[int]:
    """Return where bodies of a kind are whose fields have these values."""
    return [
        place
        for place, body in enumerate(bodies)
        if isinstance(body, kind)
        and all(getattr(body, name) == value for name, value in fields.items())
    ]
