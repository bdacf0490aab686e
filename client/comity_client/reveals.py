"""The answer to a survivor list: this vault's shares of what still masks the sum.

One list is answered in a round, and the answer is stored before it leaves: two answers to two
lists could open what a single institution sent.
"""

import sqlite3

import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.institution import Institution
from comity_client.rounds import Round
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import PeerError
from comity_common.ledger.bodies import RoundComplaint
from comity_common.secagg.messages import Plan, Reveal, Survivors
from comity_common.secagg.participant import answer
from comity_common.secagg.plan import plan_digest

log = structlog.get_logger()


class ListRefused(PeerError):
    """A survivor list that the operator signed is not one that may be answered.

    Attributes:
        round: its number.
    """

    def __init__(self, why: str, round: int) -> None:
        super().__init__(why)
        self.round = round


def read_list(agreement: Agreement, messages: tuple[Signed, ...]) -> Survivors:
    """Read the survivor list at the head of a parcel.

    Raises:
        PeerError: there is none that the operator signed.
    """
    if not messages:
        raise PeerError("expected a survivor list")
    operator = agreement.operator.identity
    raw = verify(operator.ed25519, operator.mldsa44, Purpose.SURVIVORS, messages[0])
    return decode(Survivors, raw)


def reveal(
    institution: Institution,
    agreement: Agreement,
    round: Round,
    survivors: Survivors,
    evidence: tuple[Signed, ...],
    boxes: tuple[bytes, ...],
) -> None:
    """Answer a survivor list of an open round, if it is the first, and put the answer in the post.

    Args:
        evidence: the survivors' headers, then their upload messages.
        boxes: those that were dealt to this institution.

    Raises:
        ListRefused: it is not a list that may be answered.
        PeerError: nothing of this round is held here.
    """
    if round.plan is None or round.held is None:
        raise PeerError("expected survivors of a round that is open here")
    body = round.reveal if round.survivors == survivors else None
    if body is None:
        headers, uploads = _halved(evidence)
        try:
            if round.survivors is not None:
                raise PeerError("expected the list that was answered; another is refused")
            made = answer(
                agreement,
                round.plan,
                institution.me,
                round.held,
                survivors,
                headers,
                uploads,
                boxes,
            )
        except PeerError as error:
            raise ListRefused(str(error), round.number) from error
        body = encode(made)
    signed = institution.keys.signing.sign(Purpose.REVEAL, body)
    with institution.store.transaction() as tx:
        if round.survivors is None:
            _note_complaints(institution, tx, round.plan, decode(Reveal, body))
        institution.rounds.reveal(tx, round, survivors, signed)
        institution.outbox.put(tx, agreement.digest, pb.PARCEL_KIND_REVEAL, signed, round.number)


def _note_complaints(
    institution: Institution, tx: sqlite3.Connection, plan: Plan, made: Reveal
) -> None:
    """Write down which dealers' shares are false: this vault knows it, proof or not."""
    if made.complaints:
        dealers = sorted(complaint.dealer for complaint in made.complaints)
        log.error("false shares", round=plan.round, dealers=dealers)
        institution.ledger.append(
            tx,
            RoundComplaint(
                agreement=plan.agreement,
                epoch=plan.epoch,
                round=plan.round,
                plan=plan_digest(plan),
                dealers=tuple(dealers),
            ),
        )


def _halved(messages: tuple[Signed, ...]) -> tuple[tuple[Signed, ...], tuple[Signed, ...]]:
    """Part the survivors' headers from their upload messages."""
    middle = len(messages) // 2
    return messages[:middle], messages[middle:]
