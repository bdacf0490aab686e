"""Setting up key epochs: the operator relays, step by step, and sees no key.

    keys → halves → views → ready
       └──────┴───────┴──→ failed

A step ends when every member's message for it is here; then all of them go to every member, in the
same transaction. A message that peers could not use is refused at the door, so one member cannot
stall the others with it. A failed epoch is never taken up again: the next has a fresh number.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from sqlalchemy import Row, func, insert, select, update

from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.seal import seal
from comity_common.crypto.sign import Purpose, Signed, SigningKeys, verify
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_common.secagg.keyepoch import read_halves, read_keys, view_digest
from comity_common.secagg.messages import EpochHalves, EpochKey, EpochOpen, EpochView
from comity_server import parcels
from comity_server.errors import WrongTime
from comity_server.mailbox import Mailbox
from comity_server.store import Store
from comity_server.tables import epoch_messages, epochs


class EpochStep(StrEnum):
    """What a key epoch waits for, or how it ended."""

    KEYS = "keys"
    HALVES = "halves"
    VIEWS = "views"
    READY = "ready"
    FAILED = "failed"


NEXT = {
    EpochStep.KEYS: EpochStep.HALVES,
    EpochStep.HALVES: EpochStep.VIEWS,
    EpochStep.VIEWS: EpochStep.READY,
}
RELAY = {
    EpochStep.KEYS: parcels.epoch_keys,
    EpochStep.HALVES: parcels.epoch_halves,
    EpochStep.VIEWS: parcels.epoch_views,
}
EpochMessage = EpochKey | EpochHalves | EpochView


class KeyEpoch:
    """One key epoch; its owner's lock guards it.

    Attributes:
        opened: number and members.
        step: what it waits for.
        culprits: why it failed, where that is known.
    """

    def __init__(
        self, store: Store, mailbox: Mailbox, agreement: Agreement, row: Row[tuple[object, ...]]
    ) -> None:
        self._store = store
        self._mailbox = mailbox
        self._agreement = agreement
        self.opened = decode(EpochOpen, row.body)
        self.step = EpochStep(row.step)
        self.culprits: frozenset[InstitutionId] = frozenset()
        self._messages: dict[EpochStep, dict[InstitutionId, Signed]] = {step: {} for step in NEXT}
        query = select(epoch_messages).where(
            epoch_messages.c.agreement == agreement.digest,
            epoch_messages.c.epoch == self.opened.epoch,
        )
        with store.read() as tx:
            for message in tx.execute(query):
                signed = Signed(body=message.body, signature=message.signature)
                step = EpochStep(message.step)
                self._messages[step][InstitutionId(message.institution)] = signed
        self._relay_if_complete()

    @classmethod
    def newest(cls, store: Store, mailbox: Mailbox, agreement: Agreement) -> "KeyEpoch | None":
        """Return the last key epoch of an agreement, whatever became of it."""
        query = select(epochs).where(epochs.c.agreement == agreement.digest)
        with store.read() as tx:
            row = tx.execute(query.order_by(epochs.c.number.desc())).first()
        return None if row is None else cls(store, mailbox, agreement, row)

    @classmethod
    def open(
        cls,
        store: Store,
        mailbox: Mailbox,
        keys: SigningKeys,
        agreement: Agreement,
        members: Collection[InstitutionId],
    ) -> "KeyEpoch":
        """Open a key epoch with a fresh number and invite its members."""
        digest = agreement.digest
        with store.write() as tx:
            last = select(func.max(epochs.c.number)).where(epochs.c.agreement == digest)
            number = (tx.execute(last).scalar() or 0) + 1
            opened = EpochOpen(agreement=digest, epoch=number, members=tuple(sorted(members)))
            signed = keys.sign(Purpose.EPOCH_OPEN, encode(opened))
            tx.execute(
                insert(epochs).values(
                    agreement=digest,
                    number=number,
                    step=EpochStep.KEYS,
                    body=signed.body,
                    signature=signed.signature,
                )
            )
            for member in opened.members:
                mailbox.post(tx, member, parcels.epoch_open(digest, signed))
            where = (epochs.c.agreement == digest) & (epochs.c.number == number)
            row = tx.execute(select(epochs).where(where)).one()
        mailbox.announce()
        return cls(store, mailbox, agreement, row)

    def take(self, step: EpochStep, sender: InstitutionId, signed: Signed) -> None:
        """Take a member's message for a step. Idempotent.

        Raises:
            PeerError: it is invalid, or differs from what this member sent before.
            WrongTime: its step or its epoch is over, or has not come.
        """
        message = _read(step, signed)
        if message.agreement != self._agreement.digest or message.institution != sender:
            raise PeerError("expected a message of the sender for this agreement")
        if message.epoch != self.opened.epoch:
            raise WrongTime(f"expected key epoch {self.opened.epoch}, got {message.epoch}")
        if sender not in self.opened.members:
            raise PeerError(f"expected a member of key epoch {self.opened.epoch}")
        identity = self._agreement.party(sender).identity
        verify(identity.ed25519, identity.mldsa44, _PURPOSE[step], signed)
        known = self._messages[step].get(sender)
        if known is not None:
            if known.body != signed.body:
                raise PeerError("expected the message that was sent before")
            return
        if self.step is not step:
            raise WrongTime(f"expected no {step} of a key epoch that is at {self.step}")
        _check_usable(message, len(self.opened.members))
        with self._store.write() as tx:
            tx.execute(
                insert(epoch_messages).values(
                    agreement=self._agreement.digest,
                    epoch=self.opened.epoch,
                    step=step,
                    institution=sender,
                    body=signed.body,
                    signature=signed.signature,
                )
            )
        self._messages[step][sender] = signed
        self._relay_if_complete()

    def missing(self) -> frozenset[InstitutionId]:
        """Return the members whose message for the present step is not here."""
        if self.step not in NEXT:
            return frozenset()
        return frozenset(self.opened.members) - self._messages[self.step].keys()

    def fail(self) -> None:
        """Give the epoch up."""
        self._move(EpochStep.FAILED, None)

    def _relay_if_complete(self) -> None:
        if self.step not in NEXT or self.missing():
            return
        messages = self._ordered(self.step)
        if self.step is EpochStep.VIEWS:
            self.culprits = self._dissenters()
            if self.culprits:
                self.fail()
                return
        self._move(NEXT[self.step], messages)

    def _move(self, to: EpochStep, messages: Sequence[Signed] | None) -> None:
        digest, number = self._agreement.digest, self.opened.epoch
        with self._store.write() as tx:
            where = (epochs.c.agreement == digest) & (epochs.c.number == number)
            tx.execute(update(epochs).where(where).values(step=to))
            if messages is not None:
                for member in self.opened.members:
                    self._mailbox.post(tx, member, RELAY[self.step](digest, messages))
        self._mailbox.announce()
        self.step = to

    def _dissenters(self) -> frozenset[InstitutionId]:
        """Return the members who say that they saw something else than was relayed."""
        keys = read_keys(self._agreement, self.opened, self._ordered(EpochStep.KEYS))
        halves = read_halves(self._agreement, self.opened, self._ordered(EpochStep.HALVES))
        relayed = view_digest(self.opened, keys, halves)
        views = self._messages[EpochStep.VIEWS]
        return frozenset(
            member
            for member, signed in views.items()
            if decode(EpochView, signed.body).view != relayed
        )

    def _ordered(self, step: EpochStep) -> list[Signed]:
        return [self._messages[step][member] for member in self.opened.members]


_PURPOSE: Mapping[EpochStep, Purpose] = {
    EpochStep.KEYS: Purpose.EPOCH_KEY,
    EpochStep.HALVES: Purpose.EPOCH_HALVES,
    EpochStep.VIEWS: Purpose.EPOCH_VIEW,
}
_KIND: Mapping[EpochStep, type[EpochMessage]] = {
    EpochStep.KEYS: EpochKey,
    EpochStep.HALVES: EpochHalves,
    EpochStep.VIEWS: EpochView,
}


def _read(step: EpochStep, signed: Signed) -> EpochMessage:
    return decode(_KIND[step], signed.body)


def _check_usable(message: EpochMessage, members: int) -> None:
    """Check what every other member is going to do with a message."""
    if isinstance(message, EpochKey):
        seal(message.key, b"", b"")
    if isinstance(message, EpochHalves) and len(message.sealed) != members:
        raise PeerError(f"expected {members} sealed halves, got {len(message.sealed)}")
