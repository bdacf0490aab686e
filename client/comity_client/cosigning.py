"""This vault as a witness of the others: it cosigns a head of theirs that extends the last one.

What it has cosigned is on disk before the cosignature leaves; one that cannot be cosigned is
answered by the last that could, with its owner's own signature. It happens beside the worker, which
may be training: the others wait for it before they draw noise.
"""

import sqlite3
from collections.abc import Callable

import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.agreements import AgreementState
from comity_client.institution import Institution
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.ledger.witness import (
    HeadRequest,
    Objection,
    TreeHead,
    cosign,
    extends,
    log_line,
)
from comity_common.wire import ParcelKind

log = structlog.get_logger()

WITNESSING = (AgreementState.IN_FORCE, AgreementState.RETIRED)

Send = Callable[[Digest, ParcelKind, Signed], None]


class Cosigner:
    """Cosigns the heads of other institutions, and of the operator.

    Args:
        send: hands one small message to the operator.
    """

    def __init__(self, institution: Institution, send: Send) -> None:
        self._inst = institution
        self._send = send
        self._known: dict[Digest, Agreement] = {}

    def answer(self, agreement: Digest, messages: tuple[Signed, ...]) -> None:
        """Cosign the head that another institution asks for, or show why not.

        Raises:
            PeerError: it is no request of an institution of an agreement of ours.
            Unreachable: the operator is away; the institution will ask again.
        """
        if len(messages) != 1:
            raise PeerError("expected one head to cosign")
        inst, (signed,) = self._inst, messages
        request = decode(HeadRequest, signed.body)
        owner = request.head.institution
        self._check(agreement, request, signed)
        with inst.store.transaction() as tx:
            last = self._last(tx, owner)
            seen = tx.execute("select generation from generations where institution = ?", (owner,))
            generations = {row["generation"] for row in seen}
            before = None if last is None else decode(HeadRequest, last.body).head
            may = extends(request, before, generations)
            if may:
                self._remember(tx, request.head, signed)
        if may:
            body = cosign(request, inst.me, inst.keys.ledger, int(inst.clock().timestamp()))
            cosigned = inst.keys.signing.sign(Purpose.COSIGNATURE, encode(body))
            self._send(agreement, pb.PARCEL_KIND_COSIGNATURE, cosigned)
        elif last is not None:
            log.warning("head not cosigned", institution=owner, size=request.head.size)
            self._send(agreement, pb.PARCEL_KIND_OBJECTION, self._objection(agreement, owner, last))

    def _check(self, agreement: Digest, request: HeadRequest, signed: Signed) -> None:
        terms = self._agreement(agreement)
        owner = request.head.institution
        parties = terms.everybody - {self._inst.me}
        if request.agreement != agreement or owner not in parties:
            raise PeerError("expected the head of another party of this agreement")
        identity = terms.any_party(owner).identity
        verify(identity.ed25519, identity.mldsa44, Purpose.HEAD, signed)
        log_line(request, identity.ledger)

    def _agreement(self, digest: Digest) -> Agreement:
        if digest not in self._known:
            for known in self._inst.agreements.known():
                if known.state in WITNESSING:
                    self._known[known.agreement.digest] = known.agreement
        if digest not in self._known:
            raise PeerError("expected an agreement that all have signed")
        return self._known[digest]

    @staticmethod
    def _last(tx: sqlite3.Connection, owner: InstitutionId) -> Signed | None:
        row = tx.execute(
            "select body, signature from witnessed where institution = ?", (owner,)
        ).fetchone()
        return None if row is None else Signed(body=row["body"], signature=row["signature"])

    @staticmethod
    def _remember(tx: sqlite3.Connection, head: TreeHead, signed: Signed) -> None:
        tx.execute(
            "insert or replace into witnessed values (?, ?, ?)",
            (head.institution, signed.body, signed.signature),
        )
        tx.execute(
            "insert or ignore into generations values (?, ?)", (head.institution, head.generation)
        )

    def _objection(self, agreement: Digest, owner: InstitutionId, last: Signed) -> Signed:
        body = Objection(
            agreement=agreement,
            witness=self._inst.me,
            institution=owner,
            body=last.body,
            signature=last.signature,
        )
        return self._inst.keys.signing.sign(Purpose.OBJECTION, encode(body))
