"""From a certificate to the next model, computed here from the integers that all can check.

A certificate is accepted once, in the order of the chain. The model that follows is computed with
pinned arithmetic and its digest signed, so a majority of institutions vouches for every model and
none can be handed a model of its own.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import structlog

from comity.v1 import transfer_pb2 as pb
from comity_client.institution import Institution
from comity_client.progress import Progress, ProgressTable
from comity_client.refunds import settle
from comity_client.scores import Score
from comity_client.uplink import Uplink
from comity_common import chunks
from comity_common.agreement import Agreement
from comity_common.canonical import decode, encode
from comity_common.crypto.sign import Purpose, Signed, verify
from comity_common.errors import LocalError, PeerError, Problem
from comity_common.fixedpoint import Lanes
from comity_common.ids import Digest
from comity_common.ledger.bodies import RefundReason, RoundVoid
from comity_common.ledger.forms import MAX_TEXT
from comity_common.modelfile import read_state, write_state
from comity_common.optimizer import ModelState, next_state, state_digest
from comity_common.scoresum import score_sum
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import sections, vector_bytes
from comity_common.secagg.messages import CertificateBody, Endorsement, Plan
from comity_common.secagg.participant import (
    certificate_digest,
    check_certificate,
    endorsed_model,
)
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.round import Phase
from comity_common.secagg.unmasking import check_canaries

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A global model that came out of certified rounds.

    Attributes:
        digest: of its state.
        certified: how many rounds went into it.
    """

    agreement: Agreement
    state: ModelState
    digest: Digest
    certified: int


def newest_release(institution: Institution, name: str) -> Release:
    """Find the newest model of an agreement.

    Args:
        name: of the agreement; empty for the last that has one.

    Raises:
        Problem: there is none.
    """
    agreements = institution.agreements
    candidates = [agreements.find(name)] if name else agreements.known()
    for known in reversed(candidates):
        agreement = known.agreement
        if institution.progress.known(agreement.digest):
            progress = institution.progress.get(agreement.digest)
            if progress.certified:
                return Release(
                    agreement=agreement,
                    state=institution.models.load(agreement.digest, progress.model),
                    digest=progress.model,
                    certified=progress.certified,
                )
    raise Problem("COM-EXPORT-001")


def check_continuation(progress: ProgressTable, agreement: Agreement) -> None:
    """Check that an agreement goes on where this vault has come to, if it was in the earlier one.

    Who joins now takes over the model that all who were there have signed for.

    Raises:
        Problem: it goes on from another certificate or model.
    """
    continues = agreement.continues
    if continues is None or not progress.known(continues.agreement):
        return
    here = progress.get(continues.agreement)
    there = continues.certificate, agreement.model.initial_state
    if (here.certificate, here.model) != there:
        raise Problem("COM-AGREE-007", agreement=agreement.federation)


def first_model(
    institution: Institution, agreement: Agreement, uplink: Uplink, built: ModelState
) -> ModelState:
    """Return the state from which an agreement starts.

    Args:
        built: the base with new parameters; what a new model starts from, and the shape of any.

    Raises:
        PeerError: what the operator has is not the model that the agreement names.
        Unreachable: the operator is away; call again.
    """
    continues = agreement.continues
    if continues is None:
        return built
    with suppress(LocalError):  # who joins has not been there
        return institution.models.load(continues.agreement, agreement.model.initial_state)
    raw = uplink.fetch_model(agreement.digest, len(write_state(built)))
    try:
        state = read_state(bytes(raw))
    except LocalError:
        raise PeerError("expected the model state that the agreement names") from None
    if state_digest(state) != agreement.model.initial_state:
        raise PeerError("expected the model state that the agreement names")
    return state


def accept_certificate(
    institution: Institution,
    agreement: Agreement,
    uplink: Uplink,
    messages: Sequence[Signed],
) -> ModelState | None:
    """Take a round's end: certificate, plan, and endorsements where I was not in it.

    Returns:
        the new model state, or None if the model is unchanged: after a void round, or a score.

    Raises:
        PeerError: it cannot be accepted.
        Unreachable: the sum could not be fetched now; call again.
    """
    if len(messages) < 2:
        raise PeerError("expected a certificate and its plan")
    certificate, signed_plan, *endorsements = messages
    operator = agreement.operator.identity
    plan = decode(Plan, verify(operator.ed25519, operator.mldsa44, Purpose.PLAN, signed_plan))
    before = institution.progress.get(agreement.digest)
    round = institution.rounds.get(agreement.digest, plan.round)
    answered = None
    if round is not None and round.plan_digest == plan_digest(plan):
        answered = round.survivors
    body = check_certificate(agreement, plan, answered, certificate, endorsements)
    if (body.epoch, body.round) != (plan.epoch, plan.round):
        raise PeerError("expected a certificate of its plan's round")
    if body.round <= before.newest:
        return None
    if (plan.previous, plan.model) != (before.certificate, before.model):
        raise PeerError("expected the certificate that follows the last one that I know")

    state, score, model = None, None, before.model
    if not body.void:
        lanes = _summed(agreement, uplink, plan, body)
        if plan.kind is RoundKind.EVALUATE:
            score = Score(
                round=body.round,
                certified=before.certified,
                vaults=len(body.survivors),
                total=score_sum(lanes, plan.ring_width),
            )
        else:
            state = _next(institution, agreement, plan, body, lanes)
            model = institution.models.save(agreement.digest, state)
        if endorsements and model != endorsed_model(agreement, plan, body, endorsements):
            raise PeerError("expected to compute the model that the others endorsed")
    after = Progress(
        model=model,
        certificate=certificate_digest(body),
        newest=body.round,
        certified=before.certified + (state is not None),
        scored=before.scored + (score is not None),
    )
    endorsement = Endorsement(
        agreement=agreement.digest,
        epoch=body.epoch,
        round=body.round,
        institution=institution.me,
        certificate=after.certificate,
        model=model,
    )
    signed = institution.keys.signing.sign(Purpose.ENDORSEMENT, encode(endorsement))
    with institution.store.erasing() as tx:
        if round is not None and round.phase is not Phase.CLOSED:
            reason = RefundReason.ROUND_VOID if body.void else RefundReason.OVERTAKEN
            settle(institution, tx, round, reason, after.certificate)
            institution.rounds.close(tx, round, "void" if body.void else "certified")
        if body.void:
            institution.ledger.append(
                tx,
                RoundVoid(
                    agreement=agreement.digest,
                    epoch=body.epoch,
                    round=body.round,
                    plan=body.plan,
                    reason=body.reason[:MAX_TEXT],
                ),
            )
        if score is not None:
            institution.scores.note(tx, agreement.digest, score)
        institution.progress.set(tx, agreement.digest, after)
        institution.outbox.put(tx, agreement.digest, pb.PARCEL_KIND_ENDORSEMENT, signed, body.round)
    if model != before.model:
        institution.models.forget(agreement.digest, before.model)
    log.info("round ended", round=body.round, void=body.void, reason=body.reason, model=model[:16])
    return state


def _summed(agreement: Agreement, uplink: Uplink, plan: Plan, body: CertificateBody) -> Lanes:
    """Fetch the sum and hold it against its certificate and the canaries.

    Returns:
        shape (lanes of the plan,), uint32.

    Raises:
        PeerError: it is not the sum of the survivors.
        Unreachable: the operator is away.
    """
    size = vector_bytes(plan.lanes, plan.ring_width)
    total = uplink.fetch_total(agreement.digest, body.round, size)
    view = memoryview(total)
    leaves = [
        chunks.leaf(view[start : start + chunks.CHUNK_BYTES])
        for start in range(0, size, chunks.CHUNK_BYTES)
    ]
    if chunks.root(size, leaves) != body.total:
        raise PeerError("expected the sum that the certificate names")
    q, z = sections(total, plan.lanes, plan.ring_width)
    check_canaries(q[plan.lanes :], z, len(body.survivors))
    return np.ascontiguousarray(q[: plan.lanes])


def _next(
    institution: Institution, agreement: Agreement, plan: Plan, body: CertificateBody, lanes: Lanes
) -> ModelState:
    return next_state(
        institution.models.load(agreement.digest, plan.model),
        lanes,
        len(body.survivors),
        len(plan.participants),
        agreement.aggregation,
    )
