"""One round at the operator: every event is on disk before the collector sees it.

The collector is a machine without a memory of its own. Its events are rows, in order of arrival;
after a crash they are handed in again and lead to the same stage, the same survivor list and the
same residue. What the collector refuses is taken off the disk again, and refused again should the
crash come in between.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum

from sqlalchemy import delete, insert, select, update

from comity.v1 import transfer_pb2 as pb
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys
from comity_common.errors import PeerError, RefusalCode
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.operatorbodies import ModelRelease, RoundCertificate, RoundPlan
from comity_common.secagg.collector import Collector
from comity_common.secagg.messages import CertificateBody, Deadline, Plan, Survivors
from comity_common.secagg.participant import certificate_digest
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Stage
from comity_server import parcels
from comity_server.errors import WrongTime
from comity_server.mailbox import Mailbox
from comity_server.store import Store
from comity_server.tables import endorsements, events, rounds
from comity_server.uploads import Uploads

NOBODY = InstitutionId("")
_NOTHING = Signed(body=b"", signature=b"")


class EventKind(StrEnum):
    """What happened in a round."""

    ACCEPTED = "accepted"
    EXCUSED = "excused"
    DECLINED = "declined"
    UPLOADED = "uploaded"
    REVEALED = "revealed"
    EXPIRED = "expired"


class Round:
    """The round that is going on; its owner's lock guards it.

    Attributes:
        agreement, plan, signed_plan, digest: what was ordered; the digest is the plan's.
        collector: knows survivors and residue.
        accepted: who answered the order with yes.
        certificate: how it ended, once it has.
        published: whether the certificate went to all.
        signed_survivors: the list that was posted, once it was.
        uploads: where what was uploaded lies.
        until: uploads are waited for until then at least, in seconds since 1970; 0 as long as
            nobody has extended their time.
    """

    def __init__(self, store: Store, uploads: Uploads, agreement: Agreement, number: int) -> None:
        self._store = store
        self.uploads = uploads
        self.agreement = agreement
        where = (rounds.c.agreement == agreement.digest, rounds.c.number == number)
        happened = (events.c.agreement == agreement.digest, events.c.round == number)
        with store.read() as tx:
            row = tx.execute(select(rounds).where(*where)).one()
            stored = tx.execute(select(events).where(*happened).order_by(events.c.id)).all()
        self._here = where
        self.signed_plan = Signed(body=row.body, signature=row.signature)
        self.plan = decode(Plan, row.body)
        self.digest = Digest(row.plan)
        self.collector = Collector(agreement, self.plan)
        self.accepted: set[InstitutionId] = set()
        self.published: bool = row.published
        self.until: float = row.until or 0.0
        self.certificate = (
            None
            if row.certificate is None
            else Signed(body=row.certificate, signature=row.certificate_signature)
        )
        self.signed_survivors = (
            None
            if row.survivors is None
            else Signed(body=row.survivors, signature=row.survivors_signature)
        )
        self._told = Stage(row.stage)
        for event in stored:
            signed = Signed(body=event.body, signature=event.signature)
            with suppress(PeerError):
                self._apply(EventKind(event.kind), InstitutionId(event.institution), signed)

    @classmethod
    def begin(
        cls, store: Store, uploads: Uploads, keys: SigningKeys, agreement: Agreement, plan: Plan
    ) -> "Round":
        """Sign a plan and begin its round."""
        signed = keys.sign(Purpose.PLAN, encode(plan))
        with store.write() as tx:
            tx.execute(
                insert(rounds).values(
                    agreement=agreement.digest,
                    number=plan.round,
                    epoch=plan.epoch,
                    plan=plan_digest(plan),
                    body=signed.body,
                    signature=signed.signature,
                    stage=Stage.COLLECTING,
                    published=False,
                    started=time.time(),
                )
            )
            began = RoundPlan(
                agreement=agreement.digest,
                epoch=plan.epoch,
                round=plan.round,
                plan=plan_digest(plan),
            )
            store.ledger.append(tx, began)
        return cls(store, uploads, agreement, plan.round)

    @property
    def stage(self) -> Stage:
        """Where the round is."""
        return self._told if self.certificate is not None else self.collector.stage

    def accept(self, institution: InstitutionId) -> None:
        """Note that an institution takes part."""
        if institution not in self.accepted and self.stage is Stage.COLLECTING:
            self._take(EventKind.ACCEPTED, institution)

    def excuse(self, institution: InstitutionId, code: RefusalCode) -> None:
        """Stop waiting for an institution."""
        waiting = institution not in self.collector.uploads.keys() | self.collector.declined.keys()
        if waiting and self.stage is Stage.COLLECTING:
            self._take(EventKind.EXCUSED, institution, Signed(body=code.encode(), signature=b""))

    def decline(self, institution: InstitutionId, signed: Signed) -> None:
        """Take an institution's own word that it takes no further part.

        Raises:
            PeerError: it is invalid.
        """
        if self.stage is Stage.COLLECTING and institution not in self.collector.uploads:
            self._take(EventKind.DECLINED, institution, signed)

    def upload(self, institution: InstitutionId, header: Digest) -> None:
        """Take an upload whose bytes are all here.

        Raises:
            PeerError: it is invalid.
            WrongTime: the survivors are listed already.
        """
        if institution in self.collector.uploads:
            return
        if self.stage is not Stage.COLLECTING:
            raise WrongTime(f"expected no upload of a round that is {self.stage}")
        named = Signed(body=header.encode(), signature=b"")
        self._take(EventKind.UPLOADED, institution, named)

    def reveal(self, institution: InstitutionId, signed: Signed) -> None:
        """Take a survivor's shares.

        Raises:
            PeerError: they are invalid, or not those that it sent before.
        """
        known = institution in self.collector.reveals
        if known or self.stage is not Stage.REVEALING:
            self.collector.reveal(signed)
        else:
            self._take(EventKind.REVEALED, institution, signed)

    def extend(self, mailbox: Mailbox, keys: SigningKeys, until: int) -> frozenset[InstitutionId]:
        """Wait for uploads until then at least, and tell those whose upload is not here.

        Args:
            until: seconds since 1970; earlier than what was said before changes nothing.

        Returns:
            who was told.

        Raises:
            WrongTime: no upload is waited for any more.
        """
        if self.stage is not Stage.COLLECTING:
            raise WrongTime(f"expected a round that waits for uploads, this one is {self.stage}")
        if until <= self.until:
            return frozenset()
        arrived = self.collector.uploads.keys() | self.collector.declined.keys()
        told = frozenset(self.plan.participants) - arrived
        signed = keys.sign(Purpose.DEADLINE, encode(Deadline(plan=self.digest, until=until)))
        with self._store.write() as tx:
            for institution in sorted(told):
                mailbox.post(tx, institution, parcels.deadline(self.agreement.digest, signed))
            tx.execute(update(rounds).where(*self._here).values(until=until))
        self.until = until
        mailbox.announce()
        return told

    def expire(self) -> None:
        """Let the deadline of the present stage pass."""
        if self.stage in (Stage.COLLECTING, Stage.REVEALING):
            # Which stage expired is named, so that it cannot be taken for the other one's.
            named = Signed(body=self.stage.encode(), signature=b"")
            self._take(EventKind.EXPIRED, NOBODY, named)

    def list_survivors(self, mailbox: Mailbox, keys: SigningKeys) -> None:
        """Ask the survivors for their shares, once."""
        listed = self.collector.survivors
        if listed is None or self._told is not Stage.COLLECTING:
            return
        signed = keys.sign(Purpose.SURVIVORS, encode(listed))
        with self._store.write() as tx:
            for survivor in listed.survivors:
                mailbox.post(tx, survivor, self._survivors_parcel(listed, signed, survivor))
            tx.execute(
                update(rounds)
                .where(*self._here)
                .values(
                    stage=Stage.REVEALING,
                    survivors=signed.body,
                    survivors_signature=signed.signature,
                )
            )
        self._told, self.signed_survivors = Stage.REVEALING, signed
        mailbox.announce()

    def end(
        self,
        mailbox: Mailbox,
        keys: SigningKeys,
        body: CertificateBody,
        model: Digest,
    ) -> None:
        """Sign how the round ended and tell it: to the survivors, a void round to all.

        Args:
            model: digest of the model state from now on.
        """
        signed = keys.sign(Purpose.CERTIFICATE, encode(body))
        stage = Stage.VOID if body.void else Stage.CERTIFIED
        told = self.agreement.roster if body.void else body.survivors
        with self._store.write() as tx:
            for institution in told:
                parcel = parcels.certificate(self.agreement.digest, signed, self.signed_plan)
                mailbox.post(tx, institution, parcel)
            tx.execute(
                update(rounds)
                .where(*self._here)
                .values(
                    stage=stage,
                    published=body.void,
                    ended=time.time(),
                    certificate=signed.body,
                    certificate_signature=signed.signature,
                    model=model,
                )
            )
            ended = RoundCertificate(
                agreement=self.agreement.digest,
                epoch=self.plan.epoch,
                round=self.plan.round,
                plan=self.digest,
                certificate=certificate_digest(body),
                is_void=body.void,
                model=model,
            )
            self._store.ledger.append(tx, ended)
        self._told, self.certificate, self.published = stage, signed, body.void
        mailbox.announce()

    def absent(self) -> frozenset[InstitutionId]:
        """Return the institutions that were not among the survivors of a certified round."""
        if self.certificate is None:
            return frozenset()
        survivors = decode(CertificateBody, self.certificate.body).survivors
        return frozenset(self.agreement.roster) - frozenset(survivors)

    def publish(self, mailbox: Mailbox, endorsed: Sequence[Signed]) -> None:
        """Tell a certified round to those who were not among its survivors."""
        if self.certificate is None or self.published:
            return
        parcel = parcels.certificate(
            self.agreement.digest, self.certificate, self.signed_plan, endorsed
        )
        with self._store.write() as tx:
            for institution in sorted(self.absent()):
                mailbox.post(tx, institution, parcel)
            model = tx.execute(select(rounds.c.model).where(*self._here)).scalar_one()
            released = ModelRelease(
                agreement=self.agreement.digest, round=self.plan.round, model=model
            )
            self._store.ledger.append(tx, released)
            tx.execute(update(rounds).where(*self._here).values(published=True))
        self.published = True
        mailbox.announce()

    def endorsements(self) -> list[Signed]:
        """Return the endorsements of the plan's participants."""
        query = select(endorsements).where(
            endorsements.c.agreement == self.agreement.digest,
            endorsements.c.round == self.plan.round,
            endorsements.c.institution.in_(self.plan.participants),
        )
        with self._store.read() as tx:
            rows = tx.execute(query.order_by(endorsements.c.institution)).all()
        return [Signed(body=row.body, signature=row.signature) for row in rows]

    def reveals(self) -> dict[InstitutionId, Signed]:
        """Return the reveals that counted, as they were signed."""
        taken = self.collector.reveals
        return {
            sender: signed
            for sender, signed in self._said(EventKind.REVEALED)
            if sender in taken and encode(taken[sender]) == signed.body
        }

    def declines(self) -> dict[InstitutionId, Signed]:
        """Return the words of those who took no part, as they were signed.

        A refusal that Flower brought is in no message that anybody signed, and is not among them.
        """
        gone = self.collector.declined
        said = self._said(EventKind.DECLINED)
        return {sender: signed for sender, signed in said if sender in gone}

    def _said(self, kind: EventKind) -> list[tuple[InstitutionId, Signed]]:
        """Return the signed messages of a kind, in order of arrival."""
        query = select(events).where(
            events.c.agreement == self.agreement.digest,
            events.c.round == self.plan.round,
            events.c.kind == kind,
        )
        with self._store.read() as tx:
            rows = tx.execute(query.order_by(events.c.id)).all()
        return [
            (InstitutionId(row.institution), Signed(body=row.body, signature=row.signature))
            for row in rows
        ]

    def _take(self, kind: EventKind, institution: InstitutionId, signed: Signed = _NOTHING) -> None:
        with self._store.write() as tx:
            row = {
                "agreement": self.agreement.digest,
                "round": self.plan.round,
                "kind": kind,
                "institution": institution,
                "body": signed.body,
                "signature": signed.signature,
            }
            event = tx.execute(insert(events).values(row).returning(events.c.id)).scalar_one()
        try:
            self._apply(kind, institution, signed)
        except PeerError:
            with self._store.write() as tx:
                tx.execute(delete(events).where(events.c.id == event))
            raise

    def _apply(self, kind: EventKind, institution: InstitutionId, signed: Signed) -> None:
        match kind:
            case EventKind.ACCEPTED:
                self.accepted.add(institution)
            case EventKind.EXCUSED:
                self.collector.excuse(institution, RefusalCode(signed.body.decode()))
            case EventKind.DECLINED:
                self.collector.decline(signed)
            case EventKind.UPLOADED:
                declared = self.uploads.declared(Digest(signed.body.decode()))
                self.collector.upload(
                    declared.signed_header, declared.signed_upload, declared.boxes
                )
            case EventKind.REVEALED:
                self.collector.reveal(signed)
            case EventKind.EXPIRED:
                if self.collector.stage == signed.body.decode():
                    self.collector.expire()

    def _survivors_parcel(
        self, listed: Survivors, signed: Signed, receiver: InstitutionId
    ) -> pb.Parcel:
        received = [self.collector.uploads[party] for party in listed.survivors]
        slot = self.plan.participants.index(receiver)
        return parcels.survivors(
            self.agreement.digest,
            signed,
            [upload.signed_header for upload in received],
            [upload.signed_upload for upload in received],
            [upload.boxes[slot] for upload in received],
        )
