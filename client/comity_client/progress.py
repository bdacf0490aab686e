"""Where this vault stands in each agreement: its last certificate and the model it computed."""

import sqlite3
from dataclasses import dataclass

from comity_client.store import Store
from comity_common.agreement import Agreement
from comity_common.ids import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The end of this vault's chain of certificates.

    Attributes:
        model: digest of the model state.
        certificate: digest of the last certificate's body, at first the agreement's digest.
        newest: number of the last round that ended, 0 at first.
        certified: how many rounds changed the model.
        scored: how many rounds scored it.
    """

    model: Digest
    certificate: Digest
    newest: int
    certified: int
    scored: int

    def is_over(self, agreement: Agreement) -> bool:
        """Tell whether an agreement has nothing more to run: all is trained, and no score is due.

        A score that is due and was void too often stays due until the last day.
        """
        is_due = agreement.owes_score(self.certified, self.scored)
        is_trained = self.certified >= agreement.schedule.rounds
        return (is_trained and not is_due) or self.newest >= agreement.attempts


class ProgressTable:
    """The progress of all agreements."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, tx: sqlite3.Connection, agreement: Agreement) -> None:
        """Start at the agreement's first state; what is there already stays."""
        tx.execute(
            "insert or ignore into models values (?, ?, ?, 0, 0, 0)",
            (agreement.digest, agreement.model.initial_state, agreement.digest),
        )

    def known(self, agreement: Digest) -> bool:
        """Tell whether an agreement was begun."""
        row = self._store.reading().execute(
            "select 1 from models where agreement = ?", (agreement,)
        )
        return row.fetchone() is not None

    def get(self, agreement: Digest) -> Progress:
        """Read the progress of an agreement that was begun."""
        row = (
            self._store.reading()
            .execute("select * from models where agreement = ?", (agreement,))
            .fetchone()
        )
        return Progress(
            model=Digest(row["digest"]),
            certificate=Digest(row["certificate"]),
            newest=row["newest"],
            certified=row["certified"],
            scored=row["scored"],
        )

    def is_over(self, agreement: Agreement) -> bool:
        """Tell whether an agreement was begun and has nothing more to run."""
        return self.known(agreement.digest) and self.get(agreement.digest).is_over(agreement)

    def set(self, tx: sqlite3.Connection, agreement: Digest, progress: Progress) -> None:
        """Move on by one certificate."""
        tx.execute(
            "update models set digest = ?, certificate = ?, newest = ?, certified = ?, scored = ? "
            "where agreement = ?",
            (
                progress.model,
                progress.certificate,
                progress.newest,
                progress.certified,
                progress.scored,
                agreement,
            ),
        )
