"""The noisy scores that came out of certified rounds, the same at every institution."""

import sqlite3
from dataclasses import dataclass

from comity_client.store import Store
from comity_common.ids import Digest
from comity_common.privatescore import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One certified score.

    Attributes:
        round: its number.
        certified: how many certified rounds had trained the model that was scored.
        vaults: how many institutions it sums.
        total: right, wrong and loss, with the noise of all of them.
    """

    round: int
    certified: int
    vaults: int
    total: Counts


class ScoreTable:
    """The scores of all agreements."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def note(self, tx: sqlite3.Connection, agreement: Digest, score: Score) -> None:
        """Keep a score."""
        tx.execute(
            "insert into scores values (?, ?, ?, ?, ?, ?, ?)",
            (agreement, score.round, score.certified, score.vaults, *score.total),
        )

    def of(self, agreement: Digest) -> list[Score]:
        """Return an agreement's scores in their order."""
        rows = self._store.reading().execute(
            "select * from scores where agreement = ? order by round", (agreement,)
        )
        return [
            Score(
                round=row["round"],
                certified=row["certified"],
                vaults=row["vaults"],
                total=(row["right"], row["wrong"], row["loss"]),
            )
            for row in rows
        ]
