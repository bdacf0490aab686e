"""Agreements at the operator: proposed, signed by all, running, over.

The operator proposes exact bytes; every institution signs them with both its keys; nothing runs
before all signatures are here and every approved TLS key is the one that the agreement names.

    proposed ─start→ running ─→ finished
       │             ↑     └─→ stopped (with a reason) ─withdraw─┐
       │             └─start──────┘                              ↓
       └─withdraw────────────────────────────────────────→ withdrawn

Every institution that is named hears of each change by a parcel in its mailbox that says no more
than that something moved; it then fetches what there is.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from comity_common.agreement import Agreement, Party, stored_agreement
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys, verify
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.bodies import AgreementSign
from comity_common.ledger.operatorbodies import AgreementEnd, AgreementStart, Ending
from comity_common.membership import check_withdrawal
from comity_common.optimizer import ModelState
from comity_common.vectors import Vector
from comity_server import parcels
from comity_server.errors import Stranger
from comity_server.mailbox import Mailbox
from comity_server.models import Models
from comity_server.registry import Registry
from comity_server.store import Store
from comity_server.tables import agreements, signatures, withdrawals


class AgreementState(StrEnum):
    """Where an agreement is."""

    PROPOSED = "proposed"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    WITHDRAWN = "withdrawn"


OVER = (AgreementState.FINISHED, AgreementState.WITHDRAWN)
CONTINUED = "another agreement goes on with its model"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRecord:
    """An agreement and what became of it.

    Attributes:
        reason: why it stopped, empty otherwise.
        signatures: by party, the operator's included.
        withdrawals: the words of those who left, or of the operator about them.
    """

    agreement: Agreement
    state: AgreementState
    reason: str
    signatures: Mapping[InstitutionId, bytes]
    withdrawals: tuple[Signed, ...]


class Agreements:
    """The agreements in the operator's store."""

    def __init__(
        self, store: Store, registry: Registry, models: Models, mailbox: Mailbox | None = None
    ) -> None:
        """Open the agreements.

        Args:
            mailbox: the daemon's, whose readers are to be woken; None in a tool beside it.
        """
        self._store = store
        self._registry = registry
        self._models = models
        self._mailbox = mailbox or Mailbox(store, lambda: None)
        self._decoded: dict[Digest, Agreement] = {}

    def propose(self, agreement: Agreement, keys: SigningKeys, parameters: Vector) -> Signed:
        """Sign an agreement as the operator and keep it with its first model.

        Args:
            parameters: shape (d,), float32, the model that training starts from.

        Returns:
            the exact bytes that every institution is to sign, with the operator's signature.

        Raises:
            LocalError: it is not this operator's, or the model is not the one it names.
        """
        _check_own(agreement, keys)
        self._models.begin(agreement, parameters)
        return self._keep_proposed(agreement, keys)

    def propose_continuation(
        self, agreement: Agreement, keys: SigningKeys, state: ModelState
    ) -> Signed:
        """Sign and keep an agreement that goes on with the model of an earlier one.

        Raises:
            LocalError: as `propose`.
        """
        _check_own(agreement, keys)
        self._models.carry(agreement, state)
        return self._keep_proposed(agreement, keys)

    def _keep_proposed(self, agreement: Agreement, keys: SigningKeys) -> Signed:
        signed = keys.sign(Purpose.AGREEMENT, encode(agreement))
        with self._store.write() as tx:
            if tx.execute(_state(agreement.digest)).first() is not None:
                raise LocalError("expected an agreement that was not proposed before")
            tx.execute(
                insert(agreements).values(
                    digest=agreement.digest,
                    body=signed.body,
                    state=AgreementState.PROPOSED,
                    reason="",
                    started=0.0,
                    proposed=time.time(),
                )
            )
            _keep_signature(tx, agreement.digest, agreement.operator.id, signed.signature)
            self._store.ledger.append(tx, AgreementSign(agreement=agreement.digest))
            self._ring(tx, agreement)
        self._mailbox.announce()
        return signed

    def sign(self, digest: Digest, institution: InstitutionId, signature: bytes) -> None:
        """Take an institution's signature over the exact bytes.

        Raises:
            PeerError: it is not valid.
            LocalError: the agreement is unknown or does not name the institution.
        """
        agreement = self.get(digest)
        _check_signature(agreement, agreement.party(institution), signature)
        with self._store.write() as tx:
            _keep_signature(tx, digest, institution, signature)
            self._ring(tx, agreement)
        self._mailbox.announce()

    def withdraw(self, digest: Digest) -> None:
        """Take a proposal back, for good.

        Raises:
            LocalError: it is unknown, runs, or is over.
        """
        agreement = self.get(digest)
        with self._store.write() as tx:
            state = tx.execute(_state(digest)).scalar_one()
            if state not in (AgreementState.PROPOSED, AgreementState.STOPPED):
                raise LocalError(f"expected an agreement that does not run, it is {state}")
            _move(tx, digest, AgreementState.WITHDRAWN, "")
            ended = AgreementEnd(agreement=digest, ending=Ending.WITHDRAWN)
            self._store.ledger.append(tx, ended)
            self._ring(tx, agreement)
        self._mailbox.announce()

    def leave(self, digest: Digest, signed: Signed) -> InstitutionId:
        """Take an institution out of an agreement, by its own word or the operator's.

        Returns:
            who left.

        Raises:
            PeerError: nobody who may has signed it.
            LocalError: the agreement is unknown.
        """
        agreement = self.get(digest)
        gone = check_withdrawal(agreement, signed).institution
        same = (withdrawals.c.agreement == digest) & (withdrawals.c.institution == gone)
        with self._store.write() as tx:
            if tx.execute(select(withdrawals).where(same)).first() is None:
                tx.execute(
                    insert(withdrawals).values(
                        agreement=digest,
                        institution=gone,
                        body=signed.body,
                        signature=signed.signature,
                    )
                )
                self._ring(tx, agreement)
        self._mailbox.announce()
        return gone

    def withdrawals(self, digest: Digest) -> Mapping[InstitutionId, Signed]:
        """Return who left an agreement, with the word of who said so."""
        query = select(withdrawals).where(withdrawals.c.agreement == digest)
        with self._store.read() as tx:
            rows = tx.execute(query).all()
        return {
            InstitutionId(row.institution): Signed(body=row.body, signature=row.signature)
            for row in rows
        }

    def records(self) -> list[AgreementRecord]:
        """List every agreement, oldest first."""
        with self._store.read() as tx:
            rows = tx.execute(select(agreements).order_by(agreements.c.proposed)).all()
        return [
            AgreementRecord(
                agreement=self.get(Digest(row.digest)),
                state=AgreementState(row.state),
                reason=row.reason,
                signatures=self.signatures(Digest(row.digest)),
                withdrawals=tuple(self.withdrawals(Digest(row.digest)).values()),
            )
            for row in rows
        ]

    def find(self, name: str) -> AgreementRecord:
        """Look up an agreement by its digest, the beginning of it, or its federation's name.

        Raises:
            Problem: there is none, or several.
        """
        every = self.records()
        found = [one for one in every if name and one.agreement.digest.startswith(name)]
        found = found or [one for one in every if one.agreement.federation == name]
        if len(found) > 1:
            found = [one for one in found if one.state not in OVER]
        if len(found) != 1:
            raise Problem("COM-AGREE-003", name=name[:64], count=len(found) or "no")
        return found[0]

    def start(self, digest: Digest) -> None:
        """Let a signed agreement run, or go on after it was stopped.

        Raises:
            PeerError: a signature is missing or wrong.
            LocalError: a TLS key is another, or the agreement is over.
            Problem: this or another one runs, or another goes on with its model.
        """
        agreement = self.get(digest)
        given = self.signatures(digest)
        for party in (agreement.operator, *agreement.institutions):
            if party.id not in given:
                raise PeerError(f"expected a signature of {party.id}")
            _check_signature(agreement, party, given[party.id])
        approved, gone = self._registry.fingerprints(), self.withdrawals(digest)
        for party in agreement.institutions:
            if party.id not in gone and approved.get(party.id) != party.identity.tls:
                raise LocalError(f"expected {party.id} to be approved with the agreement's TLS key")
        with self._store.write() as tx:
            running = agreements.c.state == AgreementState.RUNNING
            at_work = tx.execute(select(agreements.c.digest).where(running)).scalar()
            if at_work is not None:
                federation = self.get(Digest(at_work)).federation
                raise Problem("COM-RUN-004", agreement=federation)
            if (later := self._successor(tx, digest)) is not None:
                raise Problem("COM-RUN-005", agreement=agreement.federation, later=later)
            state = tx.execute(_state(digest)).scalar_one()
            if state in OVER:
                raise LocalError(f"expected an agreement that is open, this one is {state}")
            if agreement.continues is not None:
                earlier = agreement.continues.agreement
                _move(tx, earlier, AgreementState.FINISHED, CONTINUED)
                ended = AgreementEnd(agreement=earlier, ending=Ending.FINISHED)
                self._store.ledger.append(tx, ended)
            this = agreements.c.digest == digest
            tx.execute(update(agreements).where(this).values(started=time.time()))
            _move(tx, digest, AgreementState.RUNNING, "")
            self._store.ledger.append(tx, AgreementStart(agreement=digest))

    def _successor(self, tx: Connection, digest: Digest) -> str | None:
        """Name the agreement that goes on where this one ends, if it was not withdrawn."""
        query = select(agreements.c.digest).where(agreements.c.state != AgreementState.WITHDRAWN)
        for other in tx.execute(query).scalars():
            later = self.get(Digest(other))
            if later.continues is not None and later.continues.agreement == digest:
                return later.digest[:16]
        return None

    def end(self, digest: Digest, state: AgreementState, reason: str = "") -> None:
        """Note that an agreement is finished, or stopped for a reason."""
        with self._store.write() as tx:
            _move(tx, digest, state, reason)
            ended = AgreementEnd(agreement=digest, ending=Ending(state.value))
            self._store.ledger.append(tx, ended)

    def get(self, digest: Digest) -> Agreement:
        """Look up an agreement.

        Raises:
            LocalError: it is unknown.
            Problem: it is not stored as it was proposed.
        """
        if digest not in self._decoded:
            query = select(agreements.c.body).where(agreements.c.digest == digest)
            with self._store.read() as tx:
                body = tx.execute(query).scalar()
            if body is None:
                raise LocalError("expected an agreement that was proposed here")
            self._decoded[digest] = stored_agreement(body, digest)
        return self._decoded[digest]

    def first_model(self, digest: Digest) -> Path:
        """Return where the state lies from which an agreement starts."""
        continues = self.get(digest).continues
        return self._models.path(digest, continues.certified if continues else 0)

    def get_for(self, institution: InstitutionId, digest: Digest) -> Agreement:
        """Look up an agreement on behalf of an institution.

        Raises:
            Stranger: it is unknown, or does not name the institution.
        """
        try:
            agreement = self.get(digest)
            agreement.party(institution)
        except LocalError:
            raise Stranger("expected an agreement that names this institution") from None
        return agreement

    def running(self) -> Agreement | None:
        """Return the agreement that runs now."""
        running = agreements.c.state == AgreementState.RUNNING
        with self._store.read() as tx:
            digest = tx.execute(select(agreements.c.digest).where(running)).scalar()
        return None if digest is None else self.get(Digest(digest))

    def latest(self) -> tuple[Agreement, AgreementState, str] | None:
        """Return the agreement that was started last, with its state and reason."""
        query = select(agreements).where(agreements.c.started > 0)
        with self._store.read() as tx:
            row = tx.execute(query.order_by(agreements.c.started.desc())).first()
        if row is None:
            return None
        return self.get(Digest(row.digest)), AgreementState(row.state), row.reason

    def signatures(self, digest: Digest) -> Mapping[InstitutionId, bytes]:
        """Return the signatures that are here, the operator's included."""
        query = select(signatures.c.party, signatures.c.signature)
        with self._store.read() as tx:
            rows = tx.execute(query.where(signatures.c.agreement == digest)).all()
        return {InstitutionId(row.party): row.signature for row in rows}

    def flower_run(self, digest: Digest) -> str | None:
        """Return the last run of Flower that was started for an agreement."""
        query = select(agreements.c.flower_run).where(agreements.c.digest == digest)
        with self._store.read() as tx:
            run: str | None = tx.execute(query).scalar()
        return run

    def set_flower_run(self, digest: Digest, run: str) -> None:
        """Note a run of Flower."""
        with self._store.write() as tx:
            tx.execute(
                update(agreements).where(agreements.c.digest == digest).values(flower_run=run)
            )

    def _ring(self, tx: Connection, agreement: Agreement) -> None:
        for institution in agreement.roster:
            self._mailbox.post(tx, institution, parcels.agreement_moved(agreement.digest))


def _check_own(agreement: Agreement, keys: SigningKeys) -> None:
    identity = agreement.operator.identity
    if (identity.ed25519, identity.mldsa44) != keys.public():
        raise LocalError("expected an agreement that names this operator's own keys")


def _move(tx: Connection, digest: Digest, state: AgreementState, reason: str) -> None:
    this = agreements.c.digest == digest
    tx.execute(update(agreements).where(this).values(state=state, reason=reason))


def _state(digest: Digest) -> Select[Any]:
    return select(agreements.c.state).where(agreements.c.digest == digest)


def _keep_signature(tx: Connection, digest: Digest, party: InstitutionId, raw: bytes) -> None:
    same = (signatures.c.agreement == digest) & (signatures.c.party == party)
    tx.execute(delete(signatures).where(same))
    tx.execute(insert(signatures).values(agreement=digest, party=party, signature=raw))


def _check_signature(agreement: Agreement, party: Party, signature: bytes) -> None:
    signed = Signed(body=encode(agreement), signature=signature)
    verify(party.identity.ed25519, party.identity.mldsa44, Purpose.AGREEMENT, signed)
