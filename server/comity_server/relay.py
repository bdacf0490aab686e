"""The relay between witnesses: institutions cosign each other's ledger heads through the operator.

Who has sent is known from TLS, all else the receiver checks. The operator is a witness too, and its
own ledger is witnessed by the institutions. Of one kind from one sender to one receiver only the
newest waits in a mailbox, so what a vault repeats while another is away does not pile up.
"""

from sqlalchemy import Connection

from comity.v1 import transfer_pb2 as pb
from comity_common.agreement import Agreement
from comity_common.canonical import decode
from comity_common.crypto.sign import Signed
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.witness import Cosignature, HeadRequest, Objection
from comity_common.wire import ParcelKind
from comity_server import parcels
from comity_server.agreements import Agreements
from comity_server.cosigning import Cosigner
from comity_server.heads import Heads
from comity_server.mailbox import Mailbox
from comity_server.store import Store

KINDS = (pb.PARCEL_KIND_HEAD, pb.PARCEL_KIND_COSIGNATURE, pb.PARCEL_KIND_OBJECTION)


class Relay:
    """Carries what witnesses say to each other, and is one of them.

    Args:
        cosigner: the operator as a witness of institutions.
        heads: of the operator's own ledger, whose witnesses the institutions are.
    """

    def __init__(
        self,
        store: Store,
        agreements: Agreements,
        mailbox: Mailbox,
        cosigner: Cosigner,
        heads: Heads,
    ) -> None:
        self._store = store
        self._agreements = agreements
        self._mailbox = mailbox
        self._cosigner = cosigner
        self._heads = heads

    def carry(
        self, sender: InstitutionId, agreement: Digest, kind: ParcelKind, signed: Signed
    ) -> None:
        """Post a message to whom it is for, or take it if that is the operator.

        Raises:
            PeerError: it is not the sender's own word to parties of this agreement.
        """
        terms = self._agreements.get_for(sender, agreement)
        named, said_by, receivers = _address(kind, signed, terms.roster)
        if named != agreement or said_by != sender or sender in receivers:
            raise PeerError("expected the sender's own word under this agreement")
        if receivers == {terms.operator.id}:
            self._take(terms, sender, kind, signed)
            return
        if not receivers <= set(terms.roster):
            raise PeerError("expected institutions of this agreement")
        gone = self._agreements.withdrawals(agreement).keys()
        parcel = parcels.from_witness(agreement, kind, signed)
        with self._store.write() as tx:
            if kind == pb.PARCEL_KIND_HEAD:
                self._post_answer(tx, terms, sender, signed)
            for receiver in sorted(receivers - gone):
                self._mailbox.post(tx, receiver, parcel, topic=f"{kind}/{sender}")
        self._mailbox.announce()

    def _take(
        self, terms: Agreement, sender: InstitutionId, kind: ParcelKind, signed: Signed
    ) -> None:
        if kind == pb.PARCEL_KIND_COSIGNATURE:
            self._heads.take_cosignature(terms, sender, signed)
        else:
            self._heads.take_objection(terms, sender, signed)

    def _post_answer(
        self, tx: Connection, terms: Agreement, owner: InstitutionId, signed: Signed
    ) -> None:
        """Cosign a head as the operator, or object to it."""
        kind, answer = self._cosigner.answer(tx, terms, signed)
        parcel = parcels.from_witness(terms.digest, kind, answer)
        self._mailbox.post(tx, owner, parcel, topic=f"{kind}/{terms.operator.id}")


def _address(
    kind: ParcelKind, signed: Signed, roster: tuple[InstitutionId, ...]
) -> tuple[Digest, InstitutionId, set[InstitutionId]]:
    """Read under which agreement a message is, who says it, and to whom."""
    if kind == pb.PARCEL_KIND_HEAD:
        asked = decode(HeadRequest, signed.body)
        owner = asked.head.institution
        return asked.agreement, owner, set(roster) - {owner}
    if kind == pb.PARCEL_KIND_COSIGNATURE:
        given = decode(Cosignature, signed.body)
        return given.agreement, given.witness, {given.head.institution}
    objection = decode(Objection, signed.body)
    return objection.agreement, objection.witness, {objection.institution}
