"""The operator as a witness: it cosigns a head of an institution that extends the last one.

Its word is one of several and never counts towards the quorum, since an operator may be malicious.
What it has cosigned is on disk, and on its own ledger, before the cosignature is in a mailbox.
"""

from collections.abc import Callable

import structlog
from sqlalchemy import Connection, delete, insert, select

from comity.v1 import transfer_pb2 as pb
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, SigningKeys, verify
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.keys import LedgerKeys
from comity_common.ledger.operatorbodies import Head
from comity_common.ledger.witness import HeadRequest, Objection, cosign, extends, log_line
from comity_common.wire import ParcelKind
from comity_server.store import Store
from comity_server.tables import generations, witnessed

Answer = tuple[ParcelKind, Signed]

log = structlog.get_logger()


class Cosigner:
    """Cosigns the heads of institutions.

    Args:
        keys: with which messages are signed.
        now: seconds since 1970.
    """

    def __init__(self, store: Store, keys: SigningKeys, now: Callable[[], float]) -> None:
        self._store = store
        self._keys = keys
        self._ledger_keys = LedgerKeys.derive(keys.to_bytes())
        self._now = now

    def answer(self, tx: Connection, terms: Agreement, signed: Signed) -> Answer:
        """Cosign a head, or show what was cosigned before.

        Args:
            tx: a transaction that changes things; the answer is posted in it.

        Raises:
            PeerError: its owner did not sign it.
        """
        request = decode(HeadRequest, signed.body)
        owner = request.head.institution
        identity = terms.party(owner).identity
        verify(identity.ed25519, identity.mldsa44, Purpose.HEAD, signed)
        log_line(request, identity.ledger)
        last = _last(tx, owner)
        before = None if last is None else decode(HeadRequest, last.body).head
        if last is not None and not extends(request, before, _generations(tx, owner)):
            log.warning("head not cosigned", institution=owner, size=request.head.size)
            return pb.PARCEL_KIND_OBJECTION, self._objection(terms, owner, last)
        if before != request.head:
            self._remember(tx, request, signed)
        given = cosign(request, terms.operator.id, self._ledger_keys, int(self._now()))
        return pb.PARCEL_KIND_COSIGNATURE, self._keys.sign(Purpose.COSIGNATURE, encode(given))

    def _remember(self, tx: Connection, request: HeadRequest, signed: Signed) -> None:
        head = request.head
        tx.execute(delete(witnessed).where(witnessed.c.institution == head.institution))
        row = {"body": signed.body, "signature": signed.signature}
        tx.execute(insert(witnessed).values(institution=head.institution, **row))
        if head.generation not in _generations(tx, head.institution):
            seen = {"institution": head.institution, "generation": head.generation}
            tx.execute(insert(generations).values(seen))
        entry = Head(
            institution=head.institution,
            generation=head.generation,
            size=head.size,
            root=Digest(head.root.hex()),
        )
        self._store.ledger.append(tx, entry)

    def _objection(self, terms: Agreement, owner: InstitutionId, last: Signed) -> Signed:
        body = Objection(
            agreement=terms.digest,
            witness=terms.operator.id,
            institution=owner,
            body=last.body,
            signature=last.signature,
        )
        return self._keys.sign(Purpose.OBJECTION, encode(body))


def _last(tx: Connection, owner: InstitutionId) -> Signed | None:
    row = tx.execute(select(witnessed).where(witnessed.c.institution == owner)).first()
    return None if row is None else Signed(body=row.body, signature=row.signature)


def _generations(tx: Connection, owner: InstitutionId) -> frozenset[bytes]:
    query = select(generations.c.generation).where(generations.c.institution == owner)
    return frozenset(tx.execute(query).scalars())


def check_said(terms: Agreement, sender: InstitutionId, purpose: Purpose, signed: Signed) -> None:
    """Check that an institution signed what it sent.

    Raises:
        PeerError: it did not.
    """
    if sender not in terms.roster:
        raise PeerError("expected an institution of this agreement")
    identity = terms.party(sender).identity
    verify(identity.ed25519, identity.mldsa44, purpose, signed)
