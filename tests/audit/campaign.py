"""Tamperings by the thousand, family by family, on all cores.

Every tampering has a seed of its own, made from the campaign's, its family and its number, so each
can be made again. Those that change nothing are counted and made up for.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from time import monotonic

from tests.audit import forgeries, owner, tamperings
from tests.audit.federation import Federation
from tests.audit.meaning import Judgement, Said, Tampered, judge
from tests.audit.subject import OWNERS, Subject, subject

CHUNK = 20  # tamperings that a process makes at a time

Say = Callable[[str], None]
Family = Callable[[Subject, random.Random], Tampered]

FAMILIES: dict[str, tuple[str, Family]] = {
    "file": ("a bit of the file", tamperings.flip_file),
    "flip": ("a bit of an entry, the head, an agreement, a signature", tamperings.flip),
    "delete": ("something left out", tamperings.delete),
    "swap": ("two things exchanged", tamperings.swap),
    "insert": ("something put in", tamperings.insert),
    "foreign": ("something of another ledger put in its place", tamperings.foreign),
    "keys": ("changed, and signed again with other keys", tamperings.other_keys),
    "made-up": ("a whole federation made up", tamperings.own_federation),
    "rewrite": ("changed by its owner, and signed again with all its keys", owner.rewrite),
    "truncate": ("cut by its owner, against a head that was kept", owner.truncate),
    "fork": ("another history with all cosignatures, against a kept head", owner.fork),
    "replay": ("told a second time with all cosignatures, against a kept head", owner.replay),
    "forge": ("a rule broken by its owner from the beginning, all cosigned", forgeries.forge),
}


@dataclass
class Count:
    """What came of the tamperings of one family.

    Attributes:
        by: what was said, by outcome.
        steps: how often each step of the verifier failed; one tampering may fail several.
        ways: how often each way to tamper changed something.
        missed: numbers and ways of those that nobody noticed.
    """

    by: Counter[Said] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[int, str]] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many changed what is parsed."""
        return self.by.total() - self.by[Said.SAME]

    def add(self, number: int, how: str, judgement: Judgement) -> None:
        """Count one."""
        self.by[judgement.said] += 1
        if judgement.said is Said.SAME:
            return
        self.steps.update(judgement.steps)
        self.ways[how] += 1
        if judgement.said is Said.NOTHING:
            self.missed.append((number, how))


class Campaign:
    """Tamperings of one seed.

    Args:
        workers: processes.
    """

    def __init__(self, seed: int, workers: int) -> None:
        self.seed = seed
        self.counts: dict[str, Count] = {}
        self._workers = workers

    def run(self, names: list[str], tamperings: int, seconds: float, say: Say) -> None:
        """Tamper until so many in all have changed something, or the time is over."""
        end = monotonic() + seconds
        subjects()  # before the processes are forked
        with ProcessPoolExecutor(self._workers, get_context("fork")) as pool:
            for place, name in enumerate(names):
                count = self.counts[name] = Count()
                wanted = _share(tamperings, len(names), place)
                self._fill(pool, name, count, wanted, end)
                said = f"{count.changed} of {wanted}, {len(count.missed)} not noticed"
                say(f"{name}: {said}")

    def _fill(
        self, pool: ProcessPoolExecutor, name: str, count: Count, wanted: int, end: float
    ) -> None:
        chunks = self._chunks(pool, name)
        waiting = [next(chunks) for _ in range(self._workers + 1)]
        while count.changed < wanted and monotonic() < end:
            for number, how, judgement in waiting.pop(0).result():
                if count.changed < wanted:
                    count.add(number, how, judgement)
            waiting.append(next(chunks))
        for one in waiting:
            one.cancel()

    def _chunks(
        self, pool: ProcessPoolExecutor, name: str
    ) -> "Iterator[Future[list[tuple[int, str, Judgement]]]]":
        first = 0
        while True:
            yield pool.submit(several, self.seed, name, first)
            first += CHUNK


@cache
def subjects() -> tuple[Subject, ...]:
    """Make what is tampered with, the same for every seed."""
    federation = Federation()
    return tuple(subject(federation, owner) for owner in OWNERS)


def several(seed: int, name: str, first: int) -> list[tuple[int, str, Judgement]]:
    """Make a few tamperings of a family, and judge them."""
    found = []
    for number in range(first, first + CHUNK):
        of, tampered = one(seed, name, number)
        found.append((number, tampered.how, judge(of, tampered)))
    return found


def one(seed: int, name: str, number: int) -> tuple[Subject, Tampered]:
    """Make one tampering, and say whose ledger it is of."""
    chance = random.Random(f"{seed} {name} {number}")
    of = subjects()[number % len(OWNERS)]
    return of, FAMILIES[name][1](of, chance)


def _share(of: int, among: int, place: int) -> int:
    return of // among + (place < of % among)
