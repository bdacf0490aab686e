"""What this vault knows of each round, as rows of its store that move along the round's table."""

import sqlite3
from dataclasses import dataclass

from comity_client.store import Store
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError
from comity_common.ids import Digest
from comity_common.secagg.messages import Plan, Survivors
from comity_common.secagg.participant import Held
from comity_common.secagg.round import INSTITUTION, Phase, Step, advance


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUpload:
    """A declared upload, as it will be sent, however often.

    Attributes:
        header, header_signature, upload, upload_signature: bodies and signatures.
        boxes: per participant.
        leaves: chunk hashes of the masked file.
    """

    header: bytes
    header_signature: bytes
    upload: bytes
    upload_signature: bytes
    boxes: tuple[bytes, ...]
    leaves: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"StoredUpload({len(self.leaves)} chunks)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of one agreement.

    Attributes:
        reserve: nonce of the budget reserve, from JOINED on.
        reserve_size, egress_size: how many entries the ledger had with the reserve as its last, and
            with the egress; witnesses must have cosigned as much.
        upload, held: from MASKED on, erased when the round closes.
        survivors: the one list that was answered.
        reveal: the body of that answer, until the round closes.
        until: the operator waits for the upload until then at least, in seconds since 1970; None
            as long as it has not said so.
    """

    agreement: Digest
    number: int
    phase: Phase
    plan_digest: Digest
    plan: Plan | None
    reserve: bytes | None
    reserve_size: int | None
    egress_size: int | None
    upload: StoredUpload | None
    held: Held | None
    survivors: Survivors | None
    reveal: bytes | None
    until: int | None


class Rounds:
    """The rounds of a vault."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, agreement: Digest, number: int) -> Round | None:
        """Read one round."""
        row = (
            self._store.reading()
            .execute("select * from rounds where agreement = ? and number = ?", (agreement, number))
            .fetchone()
        )
        return None if row is None else _round(row)

    def knows(self, agreement: Digest, plan: Digest) -> bool:
        """Tell whether there ever was a round here under a plan."""
        row = self._store.reading().execute(
            "select 1 from rounds where agreement = ? and plan_digest = ?", (agreement, plan)
        )
        return row.fetchone() is not None

    def open(self, agreement: Digest) -> list[Round]:
        """Read the rounds that are not closed, in order."""
        rows = self._store.reading().execute(
            "select * from rounds where agreement = ? and phase != ? order by number",
            (agreement, Phase.CLOSED.value),
        )
        return [_round(row) for row in rows]

    def newest(self, agreement: Digest) -> int:
        """Return the number of the last round that was ordered, joined or closed; 0 if none."""
        row = (
            self._store.reading()
            .execute("select max(number) from rounds where agreement = ?", (agreement,))
            .fetchone()
        )
        return int(row[0] or 0)

    def order(self, tx: sqlite3.Connection, agreement: Digest, number: int, plan: Digest) -> None:
        """Note that Flower brought an order."""
        tx.execute(
            "insert or ignore into rounds (agreement, number, phase, plan_digest) "
            "values (?, ?, ?, ?)",
            (agreement, number, Phase.ORDERED.value, plan),
        )

    def join(
        self, tx: sqlite3.Connection, round: Round, plan: Plan, reserve: bytes, size: int
    ) -> None:
        """Accept the plan; every earlier round is closed for good.

        Args:
            reserve: nonce.
            size: of the ledger that holds it.
        """
        for earlier in self.open(round.agreement):
            if earlier.number < round.number:
                self.close(tx, earlier, "overtaken")
        self._move(tx, round, Step.JOIN, plan=encode(plan), reserve=reserve, reserve_size=size)

    def start(self, tx: sqlite3.Connection, round: Round) -> None:
        """Note that noise may have been drawn from now on."""
        self._move(tx, round, Step.START)

    def mask(
        self, tx: sqlite3.Connection, round: Round, upload: StoredUpload, held: Held, size: int
    ) -> None:
        """Note that the masked file is durable.

        Args:
            size: of the ledger that holds its egress.
        """
        columns = {"upload": encode(upload), "held": encode(held), "egress_size": size}
        self._move(tx, round, Step.MASK, **columns)

    def receipt(self, tx: sqlite3.Connection, round: Round) -> None:
        """Note that the operator has the whole upload."""
        self._move(tx, round, Step.RECEIPT)

    def reveal(
        self, tx: sqlite3.Connection, round: Round, survivors: Survivors, reveal: Signed
    ) -> None:
        """Note the one list that is answered in this round.

        Raises:
            PeerError: another list was answered before.
        """
        if round.survivors is not None and round.survivors != survivors:
            raise PeerError("expected the survivor list that was answered; another is refused")
        self._move(tx, round, Step.REVEAL, survivors=encode(survivors), reveal=reveal.body)

    def extend(self, tx: sqlite3.Connection, round: Round, until: int) -> None:
        """Note how long the operator waits for the upload; it moves nothing else."""
        tx.execute(
            "update rounds set until = max(coalesce(until, 0), ?) "
            "where agreement = ? and number = ?",
            (until, round.agreement, round.number),
        )

    def close(self, tx: sqlite3.Connection, round: Round, outcome: str) -> None:
        """End the round here: what could unmask anything is erased."""
        self._move(tx, round, Step.CLOSE, upload=None, held=None, reveal=None, outcome=outcome)

    def _move(self, tx: sqlite3.Connection, round: Round, step: Step, **columns: object) -> None:
        phase = advance(INSTITUTION, round.phase, step)
        names = ["phase", *columns]
        assignments = ", ".join(f"{name} = ?" for name in names)
        changed = tx.execute(
            f"update rounds set {assignments} where agreement = ? and number = ? and phase = ?",  # noqa: S608
            (phase.value, *columns.values(), round.agreement, round.number, round.phase.value),
        )
        if changed.rowcount != 1:
            raise PeerError(f"expected round {round.number} to be {round.phase}")


def _round(row: sqlite3.Row) -> Round:
    def read(name: str, kind: type) -> object:
        return None if row[name] is None else decode(kind, row[name])

    return Round(
        agreement=Digest(row["agreement"]),
        number=row["number"],
        phase=Phase(row["phase"]),
        plan_digest=Digest(row["plan_digest"]),
        plan=read("plan", Plan),  # type: ignore[arg-type]
        reserve=row["reserve"],
        reserve_size=row["reserve_size"],
        egress_size=row["egress_size"],
        upload=read("upload", StoredUpload),  # type: ignore[arg-type]
        held=read("held", Held),  # type: ignore[arg-type]
        survivors=read("survivors", Survivors),  # type: ignore[arg-type]
        reveal=row["reveal"],
        until=row["until"],
    )
