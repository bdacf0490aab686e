"""Which agreements this institution has signed, and on which data set each trains.

Signing is the one act that permits anything. An agreement is active only when every party's
signature over its exact bytes is here; nothing is trusted on first use.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from comity_client.keystore import Keystore
from comity_client.ledger import Ledger
from comity_client.policy import Policy
from comity_client.store import Store
from comity_common.agreement import Agreement, Party, stored_agreement
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import LocalError, PeerError, Problem, Refusal, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import AgreementSign, DatasetId
from comity_common.mechanisms import spending_of
from comity_common.membership import check_signatures, check_withdrawal
from comity_common.words import check_readable


class AgreementState(StrEnum):
    """Where an agreement is, as this institution sees it.

    offered ─sign→ signed ─all signed→ in force ─→ retired
       └─────────────┴──── refuse ────────┴──→ refused
    """

    OFFERED = "offered"
    SIGNED = "signed"
    IN_FORCE = "in-force"
    REFUSED = "refused"
    RETIRED = "retired"


OVER = (AgreementState.REFUSED, AgreementState.RETIRED)
MAX_OFFERS = 32  # that wait for a decision; more are no offers but a flood
MAX_KNOWN = 1000  # in the life of a vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An agreement in force and the data set that trains under it."""

    agreement: Agreement
    dataset: DatasetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An agreement that came from the operator.

    Attributes:
        raw: its exact bytes.
        dataset: what trains under it, once it is signed.
    """

    agreement: Agreement
    raw: bytes
    state: AgreementState
    dataset: DatasetId | None


class Agreements:
    """The agreements in a vault's store."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def sign(
        self, raw: bytes, keys: Keystore, me: InstitutionId, policy: Policy, dataset: DatasetId
    ) -> Signed:
        """Sign an agreement's exact bytes, if policy and budget allow all of it.

        Raises:
            PeerError: the bytes are no agreement, or not one with this institution's keys.
            Refusal: POLICY or BUDGET.
        """
        agreement = decode(Agreement, raw)
        known = next(iter(self._where("digest = ?", agreement.digest)), None)
        if known is not None and known.state in OVER:
            raise LocalError(f"expected an agreement that is open, this one is {known.state}")
        if known is not None and known.dataset is not None:
            if known.dataset != dataset:
                raise LocalError("expected the data set with which this agreement was signed")
            return keys.signing.sign(Purpose.AGREEMENT, raw)
        check_is_named(agreement, me, keys)
        policy.check(agreement, me, self._ledger.day())
        self._ledger.budget().check_whole(dataset, spending_of(agreement))
        with self._store.transaction() as tx:
            tx.execute(
                "insert into agreements values (?, ?, ?, ?) on conflict do update "
                "set state = excluded.state, dataset = excluded.dataset where state = ?",
                (agreement.digest, raw, AgreementState.SIGNED, dataset, AgreementState.OFFERED),
            )
            self._ledger.append(tx, AgreementSign(agreement=agreement.digest))
        return keys.signing.sign(Purpose.AGREEMENT, raw)

    def activate(self, raw: bytes, signatures: Mapping[InstitutionId, bytes]) -> Agreement:
        """Put an agreement in force, with the signatures of all its parties.

        An earlier one with whose model it goes on is over then.

        Raises:
            PeerError: a signature is missing or wrong.
            LocalError: this institution has not signed it.
        """
        agreement = decode(Agreement, raw)
        check_signatures(agreement, raw, signatures)
        with self._store.transaction() as tx:
            changed = tx.execute(
                "update agreements set state = ? where digest = ? and raw = ? and state in (?, ?)",
                (
                    AgreementState.IN_FORCE,
                    *(agreement.digest, raw),
                    *(AgreementState.SIGNED, AgreementState.IN_FORCE),
                ),
            )
            if changed.rowcount != 1:
                raise LocalError("expected an agreement that this institution has signed")
            tx.executemany(
                "insert or replace into signatures values (?, ?, ?)",
                [(agreement.digest, party, raw) for party, raw in signatures.items()],
            )
            if agreement.continues is not None:
                self.retire(tx, agreement.continues.agreement)
        return agreement

    def signatures(self, digest: Digest) -> dict[InstitutionId, bytes]:
        """Return the signatures with which an agreement came into force; none before that."""
        rows = self._store.reading().execute(
            "select party, signature from signatures where agreement = ?", (digest,)
        )
        return {InstitutionId(row["party"]): row["signature"] for row in rows}

    def offer(self, raw: bytes, signature: bytes, operator: Party) -> Agreement:
        """Keep what the operator proposes; one that is known stays as it is.

        Args:
            operator: the one that this institution joined.

        Raises:
            PeerError: the bytes are no agreement of that operator, or not for people to read, or
                there are too many already.
        """
        agreement = decode(Agreement, raw)
        if agreement.operator != operator:
            raise PeerError("expected an agreement of the operator that this institution joined")
        keys = operator.identity
        signed = Signed(body=raw, signature=signature)
        verify(keys.ed25519, keys.mldsa44, Purpose.AGREEMENT, signed)
        check_readable(agreement)
        with self._store.transaction() as tx:
            self._check_room(tx, agreement.digest)
            tx.execute(
                "insert or ignore into agreements values (?, ?, ?, null)",
                (agreement.digest, raw, AgreementState.OFFERED),
            )
        return agreement

    def known(self) -> list[Known]:
        """List every agreement, in the order in which they came.

        Raises:
            Problem: one is not stored as it came.
        """
        return self._where("true")

    def find(self, name: str) -> Known:
        """Look up an agreement by its digest, the beginning of it, or its federation's name.

        Raises:
            Problem: there is none, or several.
        """
        found = self._where("substr(digest, 1, ?) = ?", len(name), name) if name else []
        found = found or [one for one in self.known() if one.agreement.federation == name]
        if len(found) > 1:
            found = [one for one in found if one.state not in OVER]
        if len(found) != 1:
            raise Problem("COM-AGREE-001", which=f"called {name[:64]}", count=len(found) or "none")
        return found[0]

    def active(self) -> list[Standing]:
        """List the agreements in force."""
        return [
            Standing(agreement=known.agreement, dataset=known.dataset)
            for known in self._where("state = ?", AgreementState.IN_FORCE)
            if known.dataset is not None
        ]

    def get(self, digest: Digest) -> Standing:
        """Look up an agreement in force.

        Raises:
            Refusal: UNKNOWN_AGREEMENT.
        """
        for standing in self.active():
            if standing.agreement.digest == digest:
                return standing
        raise Refusal(RefusalCode.UNKNOWN_AGREEMENT, "expected an agreement that all have signed")

    def is_in_force(self, digest: Digest) -> bool:
        """Tell whether all have signed an agreement, and this institution has not left it."""
        row = self._store.reading().execute(
            "select 1 from agreements where digest = ? and state = ?",
            (digest, AgreementState.IN_FORCE),
        )
        return row.fetchone() is not None

    def retire(self, tx: sqlite3.Connection, digest: Digest) -> None:
        """Take an agreement out of force for good."""
        self._end(tx, digest, AgreementState.RETIRED)

    def refuse(self, tx: sqlite3.Connection, digest: Digest) -> None:
        """Say no for good, before or after signing."""
        self._end(tx, digest, AgreementState.REFUSED)

    def note_withdrawal(self, agreement: Agreement, me: InstitutionId, signed: Signed) -> None:
        """Keep an institution's withdrawal: from now on no plan with it is accepted.

        Raises:
            PeerError: nobody who may has signed it.
        """
        withdrawal = check_withdrawal(agreement, signed)
        with self._store.transaction() as tx:
            tx.execute(
                "insert or ignore into withdrawals values (?, ?, ?, ?)",
                (agreement.digest, withdrawal.institution, signed.body, signed.signature),
            )
            if withdrawal.institution == me:
                self.refuse(tx, agreement.digest)

    def withdrawn(self, digest: Digest) -> frozenset[InstitutionId]:
        """Return who is out of an agreement."""
        rows = self._store.reading().execute(
            "select institution from withdrawals where agreement = ?", (digest,)
        )
        return frozenset(InstitutionId(row["institution"]) for row in rows)

    def _where(self, condition: str, *values: str | int) -> list[Known]:
        """Read the agreements of which a condition holds, and no others: orders cannot wait."""
        rows = self._store.reading().execute(
            f"select * from agreements where {condition} order by rowid",  # noqa: S608
            values,
        )
        return [
            Known(
                agreement=stored_agreement(row["raw"], Digest(row["digest"])),
                raw=row["raw"],
                state=AgreementState(row["state"]),
                dataset=None if row["dataset"] is None else DatasetId(row["dataset"]),
            )
            for row in rows
        ]

    @staticmethod
    def _check_room(tx: sqlite3.Connection, digest: Digest) -> None:
        """Bound what an operator can have kept here; one that is kept already needs no room.

        Raises:
            PeerError: there is none.
        """
        known = tx.execute("select 1 from agreements where digest = ?", (digest,)).fetchone()
        waiting, every = tx.execute(
            "select count(*) filter (where state = ?), count(*) from agreements",
            (AgreementState.OFFERED,),
        ).fetchone()
        if known is None and (waiting >= MAX_OFFERS or every >= MAX_KNOWN):
            raise PeerError(
                f"expected at most {MAX_OFFERS} offers at a time and {MAX_KNOWN} agreements in all"
            )

    @staticmethod
    def _end(tx: sqlite3.Connection, digest: Digest, state: AgreementState) -> None:
        tx.execute(
            "update agreements set state = ? where digest = ? and state not in (?, ?)",
            (state, digest, *OVER),
        )


def check_is_named(agreement: Agreement, me: InstitutionId, keys: Keystore) -> None:
    """Check that an agreement is with this institution.

    Raises:
        PeerError: it names others alone, or others' keys.
    """
    if me not in agreement.roster or agreement.party(me).identity != keys.identity:
        raise PeerError("expected an agreement that names this institution's own keys")


def check_expiry(agreement: Agreement, today: date) -> None:
    """Refuse an agreement after its last day.

    Raises:
        Refusal: AGREEMENT_EXPIRED.
    """
    if today > agreement.schedule.last_day:
        raise Refusal(
            RefusalCode.AGREEMENT_EXPIRED, f"expected a day until {agreement.schedule.expires}"
        )
