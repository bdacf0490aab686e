"""What is known of an agreement's rounds: how each ended and who computed the same next model.

The chain of rounds runs over the bodies of their certificates, void ones included. An *endorsement*
is an institution's signature under the model that it holds after a round, computed by itself, or
unchanged after a void one and after a score; whoever endorsed the newest round is up to date.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Row, insert, select

from comity_common.agreement import MAX_ATTEMPTS, Agreement
from comity_common.canonical import decode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import CertificateBody, Endorsement, Plan
from comity_common.secagg.participant import certificate_digest
from comity_common.secagg.round import Stage
from comity_server.errors import WrongTime
from comity_server.store import Store
from comity_server.tables import endorsements, rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """One round as the store knows it.

    Attributes:
        kind: what it sums.
        plan: its digest.
        signed_plan: as the operator sent it.
        published: whether the certificate went to all.
        started, ended: seconds since 1970.
        certificate: of an ended round.
        model: digest of the state after it, unchanged if it is void or a score.
    """

    number: int
    kind: RoundKind
    epoch: int
    agreement: Digest
    plan: Digest
    signed_plan: Signed
    published: bool
    started: float
    ended: float | None
    certificate: CertificateBody | None
    model: Digest | None

    @property
    def is_certified(self) -> bool:
        """Whether it ended in a sum."""
        return self.certificate is not None and not self.certificate.void

    @property
    def moved_the_model(self) -> bool:
        """Whether it ended in a sum of deltas."""
        return self.is_certified and self.kind is RoundKind.TRAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where an agreement stands.

    Attributes:
        begun: how many rounds of either kind.
        begun_scores: how many of them are scores.
        certified, scored: how many rounds of training and of scoring are certified.
        previous: digest of the last certificate's body, at first the agreement's.
        model: digest of the present model state.
    """

    begun: int
    begun_scores: int
    certified: int
    scored: int
    previous: Digest
    model: Digest


class History:
    """The rounds of all agreements."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def rounds(self, agreement: Digest) -> list[RoundRecord]:
        """Return an agreement's rounds in order."""
        return self._query(rounds.c.agreement == agreement)

    def find(self, plan: Digest) -> RoundRecord | None:
        """Return the round of a plan."""
        found = self._query(rounds.c.plan == plan)
        return found[0] if found else None

    def get(self, agreement: Digest, number: int) -> RoundRecord | None:
        """Return a round by its number."""
        found = self._query((rounds.c.agreement == agreement) & (rounds.c.number == number))
        return found[0] if found else None

    def last(self, agreement: Digest) -> RoundRecord | None:
        """Return the newest round."""
        found = self.rounds(agreement)
        return found[-1] if found else None

    def head(self, agreement: Agreement) -> Head:
        """Return where an agreement stands."""
        head = Head(
            begun=0,
            begun_scores=0,
            certified=0,
            scored=0,
            previous=agreement.digest,
            model=agreement.model.initial_state,
        )
        for record in self.rounds(agreement.digest):
            body, model = record.certificate, record.model
            is_score = record.kind is RoundKind.EVALUATE
            head = Head(
                begun=head.begun + 1,
                begun_scores=head.begun_scores + is_score,
                certified=head.certified + record.moved_the_model,
                scored=head.scored + (record.is_certified and is_score),
                previous=head.previous if body is None else certificate_digest(body),
                model=head.model if model is None else model,
            )
        return head

    def endorse(self, agreement: Agreement, sender: InstitutionId, signed: Signed) -> int:
        """Keep an endorsement. Idempotent.

        Returns:
            the number of its round.

        Raises:
            PeerError: it is invalid, or for a model that the operator did not compute.
            WrongTime: its round has not ended.
        """
        message = decode(Endorsement, signed.body)
        if message.agreement != agreement.digest or message.institution != sender:
            raise PeerError("expected an endorsement of the sender for this agreement")
        identity = agreement.party(sender).identity
        verify(identity.ed25519, identity.mldsa44, Purpose.ENDORSEMENT, signed)
        record = self.get(agreement.digest, message.round)
        if record is None or record.certificate is None:
            raise WrongTime("expected an endorsement of a round that has ended")
        named = certificate_digest(record.certificate)
        if (message.epoch, message.certificate) != (record.epoch, named):
            raise PeerError("expected an endorsement of this round's certificate")
        if message.model != record.model:
            raise PeerError("expected an endorsement of the model that follows from the round")
        self._keep(message, signed)
        return message.round

    def endorsements(self, agreement: Digest, round: int) -> dict[InstitutionId, Signed]:
        """Return all endorsements of the model of a round, of whoever computed it."""
        query = select(endorsements).where(
            endorsements.c.agreement == agreement, endorsements.c.round == round
        )
        with self._store.read() as tx:
            rows = tx.execute(query.order_by(endorsements.c.institution)).all()
        return {
            InstitutionId(row.institution): Signed(body=row.body, signature=row.signature)
            for row in rows
        }

    def endorsers(self, agreement: Digest, round: int) -> frozenset[InstitutionId]:
        """Return who endorsed the model of a round."""
        query = select(endorsements.c.institution).where(
            endorsements.c.agreement == agreement, endorsements.c.round == round
        )
        with self._store.read() as tx:
            return frozenset(InstitutionId(id) for id in tx.execute(query).scalars())

    def _keep(self, message: Endorsement, signed: Signed) -> None:
        if message.institution in self.endorsers(message.agreement, message.round):
            return
        with self._store.write() as tx:
            tx.execute(
                insert(endorsements).values(
                    agreement=message.agreement,
                    round=message.round,
                    institution=message.institution,
                    body=signed.body,
                    signature=signed.signature,
                )
            )

    def _query(self, where: ColumnElement[bool]) -> list[RoundRecord]:
        with self._store.read() as tx:
            rows = tx.execute(select(rounds).where(where).order_by(rounds.c.number)).all()
        return [_record(row) for row in rows]


@lru_cache(maxsize=MAX_ATTEMPTS)  # plans never change, and the whole history is read at every look
def _kind_of(plan: bytes) -> RoundKind:
    return decode(Plan, plan).kind


def _record(row: Row[Any]) -> RoundRecord:
    assert (row.stage in (Stage.CERTIFIED, Stage.VOID)) == (row.certificate is not None)
    return RoundRecord(
        number=row.number,
        kind=_kind_of(row.body),
        epoch=row.epoch,
        agreement=Digest(row.agreement),
        plan=Digest(row.plan),
        signed_plan=Signed(body=row.body, signature=row.signature),
        published=row.published,
        started=row.started,
        ended=row.ended,
        certificate=None if row.certificate is None else decode(CertificateBody, row.certificate),
        model=None if row.model is None else Digest(row.model),
    )
