"""The other institutions of an agreement as witnesses of this vault's ledger.

The operator cosigns too, and never counts towards the quorum: it may be malicious.
Before noise is drawn, a quorum of them has cosigned a head that holds the reserve, and before a
masked vector leaves, one that holds its egress (`comity_common.ledger.witness`). Until then the
round waits. A witness that holds a head which is not in this ledger's past, signed with this
vault's own key, shows that the disk was put back, or that the vault runs twice.
"""

import time
from collections.abc import Callable

import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.cosigning import Send
from comity_client.institution import Institution
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError
from comity_common.ids import InstitutionId
from comity_common.ledger.witness import (
    Cosignature,
    HeadRequest,
    Objection,
    TreeHead,
    is_past_of,
    quorum,
    request_head,
    witness_lines,
)

log = structlog.get_logger()

AGAIN_S = 10.0  # an answer may be lost; a repeated request changes nothing


class Witnesses:
    """Who has cosigned what this vault's ledger has come to.

    Args:
        send: hands one small message to the operator.
        clock: seconds on a clock that never goes back.

    Attributes:
        is_caught: whether one of them has shown that this ledger is not the newest of its owner.
    """

    def __init__(
        self,
        institution: Institution,
        agreement: Agreement,
        send: Send,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inst = institution
        self._agreement = agreement
        self._send = send
        self._clock = clock
        self._asked_size, self._asked_at = 0, 0.0
        self._told: set[int] = set()
        self.is_caught = False
        self.quorum = quorum(agreement)

    def have_seen(self, size: int) -> int:
        """Count the institutions that have cosigned a head of at least so many entries."""
        row = self._inst.store.reading().execute(
            "select count(distinct witness) from cosignatures "
            "where agreement = ? and size >= ? and witness != ?",
            (self._agreement.digest, size, self._agreement.operator.id),
        )
        return int(row.fetchone()[0])

    def are_enough(self, size: int) -> bool:
        """Tell whether a quorum has cosigned a head of at least so many entries."""
        return not self.is_caught and self.have_seen(size) >= self.quorum

    def ask(self, size: int = 1) -> None:
        """Ask for cosignatures of the present head, unless one of such a size was asked for lately.

        Raises:
            Unreachable: the operator is away; ask again.
        """
        now = self._clock()
        if self._asked_size >= size and now - self._asked_at < AGAIN_S:
            return
        inst, agreement = self._inst, self._agreement.digest
        generations, tree = inst.ledger.generations(), inst.ledger.tree()
        key = inst.keys.ledger.head
        known = self._cosigned() | {self._asked_size}  # whose cosignatures may be on their way
        request = request_head(agreement, inst.me, generations[-1], tree, known, key)
        self._asked_size, self._asked_at = request.head.size, now
        signed = inst.keys.signing.sign(Purpose.HEAD, encode(request))
        self._send(agreement, pb.PARCEL_KIND_HEAD, signed)

    def introduce(self) -> None:
        """Ask once after a start, so that a disk that was put back is noticed before it is used.

        Raises:
            Unreachable: the operator is away; ask again.
        """
        if not self._asked_size:
            self.ask()

    def take_cosignature(self, messages: tuple[Signed, ...]) -> None:
        """Keep a witness's signature under a head of this ledger.

        Raises:
            PeerError: it is not that.
        """
        if len(messages) != 1:
            raise PeerError("expected one cosignature")
        (signed,) = messages
        cosignature = decode(Cosignature, signed.body)
        self._check(cosignature.witness, Purpose.COSIGNATURE, signed)
        party = self._agreement.any_party(cosignature.witness)
        witness_lines(cosignature, party.identity.ledger)
        if not self._is_past(cosignature.head) or cosignature.head.institution != self._inst.me:
            raise PeerError("expected a cosignature of a head of this ledger")
        with self._inst.store.transaction() as tx:
            tx.execute(
                "insert or ignore into cosignatures values (?, ?, ?, ?, ?)",
                (
                    *(self._agreement.digest, cosignature.witness, cosignature.head.size),
                    *(signed.body, signed.signature),
                ),
            )

    def take_objection(self, messages: tuple[Signed, ...]) -> None:
        """See what a witness has cosigned before: our own past, or another's future.

        Raises:
            PeerError: it shows nothing that this institution has signed.
        """
        if len(messages) != 1:
            raise PeerError("expected one objection")
        (signed,) = messages
        objection = decode(Objection, signed.body)
        self._check(objection.witness, Purpose.OBJECTION, signed)
        own = self._inst.keys.identity
        shown = Signed(body=objection.body, signature=objection.signature)
        verify(own.ed25519, own.mldsa44, Purpose.HEAD, shown)
        head = decode(HeadRequest, shown.body).head
        if not self._is_past(head):
            log.error("a newer ledger of this vault was witnessed", by=objection.witness)
            self.is_caught = True
        elif head.size not in self._told:
            self._told.add(head.size)
            self._asked_size = 0  # ask again, with a proof from there

    def _check(self, witness: InstitutionId, purpose: Purpose, signed: Signed) -> None:
        if witness not in self._agreement.everybody - {self._inst.me}:
            raise PeerError("expected another party of this agreement")
        identity = self._agreement.any_party(witness).identity
        verify(identity.ed25519, identity.mldsa44, purpose, signed)

    def _is_past(self, head: TreeHead) -> bool:
        generations, tree = self._inst.ledger.generations(), self._inst.ledger.tree()
        return is_past_of(tree, generations, head)

    def _cosigned(self) -> set[int]:
        rows = self._inst.store.reading().execute(
            "select max(size) from cosignatures group by witness"
        )
        return {int(row[0]) for row in rows.fetchall()} | self._told
