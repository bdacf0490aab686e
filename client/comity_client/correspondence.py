"""What this institution and the operator tell each other outside the rounds.

Agreements come from the operator, signatures and withdrawals go back. Whatever is to be sent waits
in the outbox until the operator has it, so it may be said while the operator is away.
"""

import sqlite3

import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.agreements import AgreementState, Known, check_expiry, check_is_named
from comity_client.datasets import read_for
from comity_client.institution import Institution
from comity_client.limits import JUDGED_A_DAY, judged_today
from comity_client.model.base import check_base
from comity_client.releases import check_continuation
from comity_client.uplink import AgreementState as Told
from comity_client.uplink import Uplink
from comity_common.agreement import Agreement, Unit
from comity_common.canonical import encode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import ComityError, PeerError, Problem, Refusal, RefusalCode
from comity_common.ids import Digest
from comity_common.ledger.bodies import DatasetId, Restore
from comity_common.mechanisms import spending_of
from comity_common.membership import Withdrawal

WITHDRAWN = "withdrawn"

log = structlog.get_logger()


class Correspondence:
    """One institution's letters."""

    def __init__(self, institution: Institution, uplink: Uplink) -> None:
        self._inst = institution
        self._uplink = uplink

    def refresh(self) -> None:
        """Learn what moved: new agreements, the signatures of all, withdrawals.

        Raises:
            Unreachable: the operator is away.
        """
        for told in self._uplink.fetch_agreements():
            try:
                self._take(told)
            except ComityError as error:
                log.warning("agreement refused", why=str(error))

    def send_waiting(self) -> None:
        """Send what waits in the outbox, in order.

        Raises:
            Unreachable: the operator is away; the rest waits on.
        """
        for waiting in self._inst.outbox.waiting():
            try:
                self._uplink.send(waiting.agreement, waiting.kind, waiting.message)
            except PeerError as error:
                log.warning("message refused", why=str(error))
            self._inst.outbox.delivered(waiting)

    def _take(self, told: Told) -> None:
        inst, operator = self._inst, self._inst.card.operator
        agreement = inst.agreements.offer(told.raw, told.signatures.get(operator.id, b""), operator)
        for withdrawal in told.withdrawals:
            inst.agreements.note_withdrawal(agreement, inst.me, withdrawal)
        known = inst.agreements.find(agreement.digest)
        if known.state is AgreementState.OFFERED and self._have_signed(agreement, told):
            log.error("a signature that was forgotten: this vault was restored")
            with inst.store.transaction() as tx:
                refuse(inst, tx, agreement.digest)
                inst.ledger.append(tx, Restore(agreement=agreement.digest, epoch=0, round=0))
        elif told.state == WITHDRAWN:
            with inst.store.transaction() as tx:
                inst.agreements.retire(tx, agreement.digest)
        elif known.state is AgreementState.SIGNED and set(agreement.roster) <= set(told.signatures):
            inst.agreements.activate(told.raw, told.signatures)

    def _have_signed(self, agreement: Agreement, told: Told) -> bool:
        """Tell whether the operator holds a true signature of this institution."""
        own = self._inst.keys.identity
        signed = Signed(body=told.raw, signature=told.signatures.get(self._inst.me, b""))
        try:
            verify(own.ed25519, own.mldsa44, Purpose.AGREEMENT, signed)
        except PeerError:
            return False
        return agreement.party(self._inst.me).identity == own


def sign(institution: Institution, known: Known, dataset: DatasetId) -> None:
    """Sign an agreement, and leave the signature for the operator in the outbox.

    What keeps it from being signed stands on the ledger, as a code, once a day.

    Raises:
        Refusal: the policy or the budget does not allow it, or its last day is over.
        Problem: it is over, its model is not here or not as computed here, a row of the data set
            does not fit its task, or too many were judged today.
    """
    inst, agreement = institution, known.agreement
    if known.state not in (AgreementState.OFFERED, AgreementState.SIGNED):
        raise Problem("COM-AGREE-002", agreement=agreement.federation, state=known.state)
    judged = judged_today(inst.ledger)
    if agreement.digest not in judged and len(judged) >= JUDGED_A_DAY:
        raise Problem("COM-AGREE-009", limit=JUDGED_A_DAY)
    try:
        signed = _signed(inst, known, dataset)
    except ComityError as error:
        why = error if isinstance(error, Refusal) else Refusal(RefusalCode.UNAVAILABLE, str(error))
        if agreement.digest not in judged:
            with inst.store.transaction() as tx:
                inst.note_refusal(tx, why, agreement.digest, None)
        raise
    with inst.store.transaction() as tx:
        inst.outbox.put(tx, agreement.digest, pb.PARCEL_KIND_SIGNATURE, signed)


def _signed(inst: Institution, known: Known, dataset: DatasetId) -> Signed:
    agreement = known.agreement
    check_is_named(agreement, inst.me, inst.keys)
    check_expiry(agreement, inst.ledger.day())
    inst.check_policy(agreement)  # before the operator's order is fixed for the data
    check_base(agreement.model)
    check_continuation(inst.progress, agreement)
    source = inst.data.source(dataset)
    key = source.unit_key if agreement.privacy.unit is Unit.PERSON else ""
    read_for(source.path, agreement.task, key)
    privacy, wanted = agreement.privacy, spending_of(agreement)
    inst.data.grant(dataset, privacy.order, gate=privacy.gate, wanted=wanted)
    return inst.agreements.sign(known.raw, inst.keys, inst.me, inst.policy, dataset)


def refuse(institution: Institution, tx: sqlite3.Connection, digest: Digest) -> None:
    """Say no to an agreement, or leave it, for good; the operator tells the others."""
    inst = institution
    withdrawal = Withdrawal(agreement=digest, institution=inst.me, by=inst.me)
    signed = inst.keys.signing.sign(Purpose.WITHDRAWAL, encode(withdrawal))
    inst.agreements.refuse(tx, digest)
    inst.outbox.put(tx, digest, pb.PARCEL_KIND_WITHDRAWAL, signed)
