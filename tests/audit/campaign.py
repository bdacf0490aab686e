"""Tamperings of every family, many of them, and what the verifier said to each."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.audit import owner, tamperings
from tests.audit.federation import Federation
from tests.audit.forgeries import forge
from tests.audit.meaning import Said, Tampered, judge
from tests.audit.subject import OWNERS, Subject, subject

Family = Callable[[Subject, random.Random], Tampered]

FAMILIES: dict[str, Family] = {
    "flip in the file": tamperings.flip_file,
    "flip in a part": tamperings.flip,
    "delete": tamperings.delete,
    "swap": tamperings.swap,
    "insert": tamperings.insert,
    "of another ledger": tamperings.foreign,
    "other keys": tamperings.other_keys,
    "own federation": tamperings.own_federation,
    "owner rewrites": owner.rewrite,
    "owner truncates": owner.truncate,
    "owner forks": owner.fork,
    "owner replays": owner.replay,
    "owner breaks a rule": forge,
}
RARE = {"flip in the file": 3, "own federation": 8}  # one of so many: costly, or often the same


@dataclass
class Tally:
    """What was said to the tamperings of one family.

    Attributes:
        said: how often.
        unnoticed: family, number and deed of each that nobody noticed.
    """

    said: Counter[Said] = field(default_factory=Counter)
    unnoticed: list[str] = field(default_factory=list)

    @property
    def counted(self) -> int:
        """How many changed the meaning."""
        return self.said.total() - self.said[Said.SAME]


def subjects(seed: int = 0) -> list[Subject]:
    """Make the honest ledgers."""
    federation = Federation(seed=seed)
    return [subject(federation, id, seed) for id in OWNERS]


def tamper(of: list[Subject], seed: int, number: int) -> tuple[str, Tampered, Subject]:
    """Tamper once; the same seed and number are the same tampering."""
    chance = random.Random(f"{seed} {number}")
    names = list(FAMILIES)
    family = names[number % len(names)]
    if chance.randrange(RARE.get(family, 1)):
        family = chance.choice([name for name in names if name not in RARE])
    one = chance.choice(of)
    return family, FAMILIES[family](one, chance), one


def campaign(
    of: list[Subject], seed: int, numbers: range, tallies: dict[str, Tally]
) -> Iterator[int]:
    """Tamper again and again; yields the number of each."""
    for number in numbers:
        family, tampered, one = tamper(of, seed, number)
        said = judge(one, tampered).said
        tally = tallies.setdefault(family, Tally())
        tally.said[said] += 1
        if said is Said.NOTHING:
            tally.unnoticed.append(f"{family}, number {number}: {tampered.how}")
        yield number
