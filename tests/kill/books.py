"""The victim's books, read from its disk while it is dead, against what is known outside.

Nothing here writes: the database is opened for reading alone, and closed before the victim lives
again. What must hold after every kill, whatever it hit:

* no round counts less than the noise that was drawn in it (an under-report would break ε);
* the ledger only grows, its chain holds, and it has every head that a witness cosigned;
* a round's upload left once, in one form, and stands on the ledger; so for its reveal.

What may happen is that a round counts more than was drawn: that is what a crash costs.
"""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass

from comity_common.canonical import decode
from comity_common.dp.budget import Budget
from comity_common.ledger.bodies import Egress, Genesis, Restore, Traffic
from comity_common.ledger.entries import Entry, check_order
from comity_common.ledger.signed import read
from comity_common.ledger.tree import Tree
from comity_common.ledger.witness import HeadRequest, is_past_of
from tests.kill.world import World
from tests.ledger_keys import keys_at


@dataclass(frozen=True, slots=True)
class Count:
    """How books and truth differ, in rounds.

    Attributes:
        drawn: rounds in which noise was about to be drawn.
        under: of them, those in which the ledger counts fewer vectors.
        over: rounds in which the ledger counts more vectors.
    """

    drawn: int
    under: int
    over: int


def reserved_steps(budget: Budget) -> Counter[int]:
    """Return how many vectors of noise a budget counts, charged or open, by round.

    Args:
        budget: of one agreement.
    """
    steps: Counter[int] = Counter()
    for namespace in budget.namespaces():
        for grant in budget.statement(namespace).grants:
            for reserve in budget.held(grant.grant.grant):
                steps[reserve.round] += reserve.event.steps
    return steps


class Broken(AssertionError):
    """A rule that must hold whatever happens does not."""


class Books:
    """What the ledger of one victim says; each entry is read and counted once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._raw: list[bytes] = []
        self._public = keys_at(world.home).public().entries
        self._entries: list[Entry] = []
        self._budget = Budget()
        self._tree = Tree()
        self._generations: list[bytes] = []
        self._left: set[int | None] = set()  # rounds whose uploads are on the ledger

    def compare(self) -> Count:
        """Read what is new, and compare.

        Raises:
            Broken: a rule does not hold, other than that of under-reports, which are counted.
        """
        self._read()
        self._check_witnesses()
        self._check_what_left()
        world = self._world
        held = reserved_steps(self._budget)
        rounds = held.keys() | world.noise.keys()
        return Count(
            drawn=len(world.noise),
            under=sum(held[round] < world.noise[round] for round in rounds),
            over=sum(held[round] > world.noise[round] for round in rounds),
        )

    def check_chain(self) -> None:
        """Verify the whole chain.

        Raises:
            PeerError: it is broken.
        """
        check_order(self._entries)

    def _read(self) -> None:
        database = self._world.home / "vault.db"
        known = len(self._raw)
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(
                "select raw from entries where sequence >= ? order by sequence", (known - 1,)
            ).fetchall()
        fresh = [row[0] for row in rows]
        if known and (not fresh or fresh.pop(0) != self._raw[-1]):
            raise Broken(f"expected entry {known - 1} to be as it was")
        for raw in fresh:
            entry = read(raw, self._public)
            self._raw.append(raw)
            self._entries.append(entry)
            self._budget.apply(entry)
            self._tree.append(raw)
            match entry.body:
                case Genesis(nonce=generation):
                    self._generations.append(generation)
                case Egress(traffic=Traffic.MECHANISM, round=round):
                    self._left.add(round)
                case Restore():
                    raise Broken("expected a vault that knows that it was not put back")

    def _check_witnesses(self) -> None:
        for seat in self._world.seats.values():
            row = (
                seat.inst.store.reading()
                .execute("select body from witnessed where institution = ?", (self._world.me,))
                .fetchone()
            )
            if row is not None:
                head = decode(HeadRequest, row["body"]).head
                if not is_past_of(self._tree, self._generations, head):
                    raise Broken(
                        f"expected the {head.size} entries that were cosigned among "
                        f"{len(self._tree)}"
                    )

    def _check_what_left(self) -> None:
        world = self._world
        for sent in (world.uploads, world.reveals):
            for round, forms in sent.items():
                if len(forms) != 1:
                    raise Broken(f"expected one form of what left in round {round}")
        if missing := world.uploads.keys() - self._left:
            raise Broken(f"expected the uploads of rounds {sorted(missing)} on the ledger")
