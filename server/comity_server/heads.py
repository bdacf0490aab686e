"""The heads of the operator's own ledger: institutions are asked to cosign them after each round.

So an operator cannot show one ledger to one auditor and another to the next, nor take an entry
back, as soon as one honest institution has cosigned a head that holds it.
"""

import structlog
from sqlalchemy import insert, select

from comity.v1 import transfer_pb2 as pb
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys, verify
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_common.ledger.witness import (
    Cosignature,
    HeadRequest,
    Objection,
    TreeHead,
    is_past_of,
    request_head,
    witness_lines,
)
from comity_server import parcels
from comity_server.cosigning import check_said
from comity_server.mailbox import Mailbox
from comity_server.store import Store
from comity_server.tables import cosignatures

log = structlog.get_logger()


class Heads:
    """Asks for cosignatures and keeps them.

    Args:
        keys: with which messages are signed.
    """

    def __init__(self, store: Store, keys: SigningKeys, mailbox: Mailbox) -> None:
        self._store = store
        self._keys = keys
        self._mailbox = mailbox
        self._told: set[int] = set()
        self._asked_size = 0  # there is one ledger, whoever is asked about it

    def ask(self, agreement: Agreement) -> None:
        """Ask all institutions of an agreement to cosign the present head."""
        ledger = self._store.ledger
        with self._store.read() as tx:
            tree, generation = ledger.tree(tx)
            known = set(tx.execute(select(cosignatures.c.size).distinct()).scalars())
        request = request_head(
            agreement.digest,
            ledger.operator,
            generation,
            tree,
            known | self._told | {self._asked_size},
            ledger.keys.head,
        )
        self._asked_size = request.head.size
        signed = self._keys.sign(Purpose.HEAD, encode(request))
        kind = pb.PARCEL_KIND_HEAD
        parcel = parcels.from_witness(agreement.digest, kind, signed)
        with self._store.write() as tx:
            for institution in agreement.roster:
                self._mailbox.post(tx, institution, parcel, topic=f"{kind}/{ledger.operator}")
        self._mailbox.announce()

    def take_cosignature(self, terms: Agreement, sender: InstitutionId, signed: Signed) -> None:
        """Keep an institution's signature under a head of this ledger.

        Raises:
            PeerError: it is not that.
        """
        check_said(terms, sender, Purpose.COSIGNATURE, signed)
        given = decode(Cosignature, signed.body)
        witness_lines(given, terms.party(sender).identity.ledger)
        if given.witness != sender or not self._is_past(given.head):
            raise PeerError("expected a cosignature of a head of this ledger")
        key = {"agreement": terms.digest, "witness": sender, "size": given.head.size}
        same = [cosignatures.c[name] == value for name, value in key.items()]
        with self._store.write() as tx:
            if tx.execute(select(cosignatures.c.size).where(*same)).first() is None:
                row = {**key, "body": signed.body, "signature": signed.signature}
                tx.execute(insert(cosignatures).values(row))

    def take_objection(self, terms: Agreement, sender: InstitutionId, signed: Signed) -> None:
        """See what an institution has cosigned before: this ledger's past, or another's future.

        Raises:
            PeerError: it shows nothing that this operator has signed.
        """
        check_said(terms, sender, Purpose.OBJECTION, signed)
        objection = decode(Objection, signed.body)
        own = terms.operator.identity
        shown = Signed(body=objection.body, signature=objection.signature)
        verify(own.ed25519, own.mldsa44, Purpose.HEAD, shown)
        head = decode(HeadRequest, shown.body).head
        if self._is_past(head):
            self._told.add(head.size)
        else:
            log.error("a newer ledger of this operator was witnessed", by=sender)

    def _is_past(self, head: TreeHead) -> bool:
        ledger = self._store.ledger
        with self._store.read() as tx:
            tree, generation = ledger.tree(tx)
        return head.institution == ledger.operator and is_past_of(tree, (generation,), head)
