"""Many kills, one after the other, and what they cost.

Half hit at a labelled boundary of the walk: the victim tells that it is there, and is killed while
it waits for the answer. Half hit at any time between its start and the end of its round. Some
victims are fresh interpreters instead of forks.

What was found is appended to a file, one line a kill, so that a campaign that is stopped goes on
where it was; it does so with a new vault and a new agreement, as it does when hardly a round is
left under the old one. σ is calibrated so that a budget lasts as long as its agreement.
"""

import gc
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import monotonic

from comity_client.daemon import Works
from tests.kill import victim
from tests.kill.books import Books, Broken, Count
from tests.kill.lives import Life, forked, fresh
from tests.kill.world import STEPS, World, terms_on

BOUNDARIES = (
    "joined",
    "witnessed",
    "started",
    "training",
    "masked",
    "before-upload",
    "uploaded",
    "before-reveal",
    "revealed",
)
ANY_TIME = "any time"
LIFE_S = 0.4  # from a start to the end of a round, until it was measured
REMEMBERED = 25  # lives, of how long they took
MEMORY = Path("/dev/shm")  # SIGKILL loses nothing that was written, wherever it was written to

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill, and how books and truth have moved since the one before.

    Attributes:
        where: the boundary, or `ANY_TIME`.
        fresh: whether it hit an interpreter of its own, and not a fork.
        drawn, under, over: as in `Count`, of this life.
    """

    where: str
    fresh: bool
    drawn: int
    under: int
    over: int


class Campaign:
    """Kills in a directory.

    Args:
        at: where `kills.jsonl` is kept.
        fresh_every: one victim of so many is a fresh interpreter; 0: none.
    """

    def __init__(self, at: Path, chance: random.Random, fresh_every: int) -> None:
        self._file = at / "kills.jsonl"
        self._chance = chance
        self._fresh_every = fresh_every
        at.mkdir(parents=True, exist_ok=True)
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self.kills = [Kill(**json.loads(line)) for line in lines]
        self._took_s = [LIFE_S]

    def go_on(self, kills: int, seconds: float, say: Say) -> int:
        """Kill until there were so many in all, or the time is over.

        Returns:
            how many were added.

        Raises:
            Broken: a rule does not hold, other than that of under-reports, which are counted.
        """
        before, end = len(self.kills), monotonic() + seconds
        with _directory() as directory:
            number = 0
            while len(self.kills) < kills and monotonic() < end:
                number += 1
                with self._world(directory / str(number), directory / "base") as (world, works):
                    say(f"vault {number}: {len(self.kills)} of {kills} kills")
                    self._use_up(world, works, kills, end)
        return len(self.kills) - before

    def _use_up(self, world: World, works: Works, kills: int, end: float) -> None:
        """Kill one vault again and again, as long as its agreement lasts."""
        books = Books(world)
        last = books.compare()
        while len(self.kills) < kills and not world.is_used_up and monotonic() < end:
            boundary = self._chance.choice(BOUNDARIES) if len(self.kills) % 2 else ANY_TIME
            every = self._fresh_every
            is_fresh = bool(every) and len(self.kills) % every == every // 2
            world.wake()
            with self._begin(world, works, is_fresh) as life:
                self._live(life, world, boundary)
                life.kill()
            now = books.compare()
            self._note(boundary, is_fresh, last, now)
            last = now
        books.check_chain()

    @staticmethod
    def _begin(world: World, works: Works, is_fresh: bool) -> Life:
        if not is_fresh:
            return forked(world, works)
        return fresh(world.home, world.agreement.digest)

    def _live(self, life: Life, world: World, where: str) -> None:
        """Answer a victim until it is where it is to be killed."""
        limit, has_joined = None, False
        passes = self._chance.randrange(STEPS) if where == "training" else 0
        if where == ANY_TIME:
            limit = self._chance.uniform(0, median(self._took_s[-REMEMBERED:]))
        call = life.next_call(None if life.is_fresh else limit)
        if life.is_fresh:
            life.own_s = 0.0  # its time begins with its first word, when all is imported
        while call is not None:
            if call.name == "boundary":
                passed = call.words[0]
                has_joined |= passed == "joined"
                if passed == "revealed" and has_joined:
                    self._took_s.append(life.own_s)
                if passed == where and not passes:
                    return
                passes -= passed == where
            life.answer(world.answer(call))
            call = life.next_call(limit)

    def _note(self, where: str, is_fresh: bool, last: Count, now: Count) -> None:
        kill = Kill(
            where=where,
            fresh=is_fresh,
            drawn=now.drawn - last.drawn,
            under=now.under - last.under,
            over=now.over - last.over,
        )
        if kill.over > 1:
            raise Broken(f"expected one round at most to count too much, got {kill.over}")
        self.kills.append(kill)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(kill)) + "\n")

    @contextmanager
    def _world(self, path: Path, base: Path) -> Iterator[tuple[World, Works]]:
        world = World(path, terms_on(base), self._chance)
        works = victim.workbench(world.home, world.agreement.digest)
        try:
            yield world, works
        finally:
            world.close()
            del world, works
            gc.collect()
            shutil.rmtree(path)


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)
