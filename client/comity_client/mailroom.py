"""What the operator's parcels set off in the rounds of one agreement."""

from typing import Protocol

from comity.v1 import transfer_pb2 as pb
from comity_client.correspondence import Correspondence
from comity_client.institution import Institution
from comity_client.releases import accept_certificate
from comity_client.reveals import ListRefused
from comity_client.uplink import Delivery, Uplink
from comity_client.vault import Vault
from comity_common.agreement import Agreement
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.optimizer import ModelState
from comity_common.vectors import Vector
from comity_common.wire import digest_of

BESIDE = (pb.PARCEL_KIND_HEAD, pb.PARCEL_KIND_COSIGNATURE, pb.PARCEL_KIND_OBJECTION)
"""What witnesses say to each other; heard at once, as the worker may be training."""


class Looks(Protocol):
    """What looks at a released model on own rows; see `Workbench.look`."""

    def look(self, parameters: Vector) -> tuple[float, float] | None:
        """Return accuracy and macro F1, if there are rows to look at."""


class Mailroom:
    """The parcels of one agreement."""

    def __init__(
        self,
        institution: Institution,
        agreement: Agreement,
        vault: Vault,
        uplink: Uplink,
        correspondence: Correspondence,
        eyes: Looks,
    ) -> None:
        self._inst = institution
        self._agreement = agreement
        self._vault = vault
        self._uplink = uplink
        self._correspondence = correspondence
        self._eyes = eyes
        self._noted: set[tuple[RefusalCode, int | None]] = set()

    def deliver(self, delivery: Delivery) -> None:
        """Take one parcel of this agreement.

        Raises:
            PeerError: it is wrong.
            Unreachable: it needs the operator, who is away; take it again.
        """
        if digest_of(delivery.agreement) != self._agreement.digest:
            return
        try:
            self._handle(delivery)
        except ListRefused as error:
            self._note(Refusal(RefusalCode.SURVIVORS, str(error)), error.round)
            raise
        except PeerError as error:
            newest = self._inst.rounds.newest(self._agreement.digest)
            self._note(Refusal(RefusalCode.PARCEL, str(error)), newest or None)
            raise

    def _note(self, refusal: Refusal, round: int | None) -> None:
        """Write down what was refused, once a round: an operator must not fill the disk."""
        if (refusal.code, round) not in self._noted:
            with self._inst.store.transaction() as tx:
                self._inst.note_refusal(tx, refusal, self._agreement.digest, round)
            self._noted.add((refusal.code, round))

    def _handle(self, delivery: Delivery) -> None:
        match delivery.kind:
            case (
                pb.PARCEL_KIND_EPOCH_OPEN
                | pb.PARCEL_KIND_EPOCH_KEYS
                | pb.PARCEL_KIND_EPOCH_HALVES
                | pb.PARCEL_KIND_EPOCH_VIEWS
            ):
                self._set_up_keys(delivery)
            case pb.PARCEL_KIND_SURVIVORS:
                self._vault.answer_survivors(delivery.messages, delivery.boxes)
            case pb.PARCEL_KIND_DEADLINE:
                self._vault.note_deadline(delivery.messages)
            case pb.PARCEL_KIND_CERTIFICATE:
                self._end_round(delivery)
            case kind if kind in BESIDE:
                pass
            case _:
                raise PeerError("expected a parcel of the operator")

    def _set_up_keys(self, delivery: Delivery) -> None:
        inst, messages = self._inst, delivery.messages
        with inst.store.erasing() as tx:
            answer: Signed
            match delivery.kind:
                case pb.PARCEL_KIND_EPOCH_OPEN:
                    if len(messages) != 1:
                        raise PeerError("expected one invitation to a key epoch")
                    gone = inst.agreements.withdrawn(self._agreement.digest)
                    answer = inst.epochs.open(tx, self._agreement, messages[0], gone)
                    kind = pb.PARCEL_KIND_EPOCH_KEYS
                case pb.PARCEL_KIND_EPOCH_KEYS:
                    answer = inst.epochs.take_keys(tx, self._agreement, messages)
                    kind = pb.PARCEL_KIND_EPOCH_HALVES
                case pb.PARCEL_KIND_EPOCH_HALVES:
                    answer = inst.epochs.take_halves(tx, self._agreement, messages)
                    kind = pb.PARCEL_KIND_EPOCH_VIEWS
                case _:
                    inst.epochs.take_views(tx, self._agreement, messages)
                    return
            inst.outbox.put(tx, self._agreement.digest, kind, answer)

    def _end_round(self, delivery: Delivery) -> None:
        inst, agreement = self._inst, self._agreement
        state = accept_certificate(inst, agreement, self._uplink, delivery.messages)
        over = inst.progress.is_over(agreement)
        self._correspondence.send_waiting()  # others may wait for this endorsement
        if state is not None:
            self._look(agreement.digest, state)
        self._vault.rest("done" if over else "up to date")
        self._vault.look_for_a_forgotten_round(delivery.messages[0])

    def _look(self, agreement: Digest, state: ModelState) -> None:
        seen = self._eyes.look(state.parameters)
        if seen is not None:
            newest = self._inst.progress.get(agreement).newest
            with self._inst.store.transaction() as tx:
                tx.execute(
                    "insert or replace into private_metrics values (?, ?, ?, ?)",
                    (agreement, newest, *seen),
                )
