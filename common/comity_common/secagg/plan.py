"""The plan of a round: made by the operator, recomputed by every institution.

Operator and institution call the same `make_plan`. An institution accepts a plan only if it equals
what it would have written itself from the agreement, and if it is the next in its own chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypedDict

from comity_common.agreement import Agreement
from comity_common.canonical import encode
from comity_common.crypto.derive import digest
from comity_common.errors import LocalError, PeerError, Refusal, RefusalCode
from comity_common.fixedpoint import lane_bound
from comity_common.ids import Digest, InstitutionId
from comity_common.privatescore import LANES
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import Plan
from comity_common.secagg.thresholds import thresholds

NONCE_BYTES = 16


def make_plan(
    agreement: Agreement,
    *,
    epoch: int,
    round: int,
    participants: Sequence[InstitutionId],
    previous: Digest,
    model: Digest,
    nonce: bytes,
    kind: RoundKind = RoundKind.TRAIN,
) -> Plan:
    """Write the plan that the agreement prescribes for these participants.

    Raises:
        LocalError: no safe thresholds exist for so few participants, or the agreement has no such
            rounds.
    """
    aggregation = agreement.aggregation
    bound = lane_bound(aggregation.ring_width, len(participants))
    limits = thresholds(len(participants), aggregation.collusion)
    return Plan(
        agreement=agreement.digest,
        epoch=epoch,
        round=round,
        participants=tuple(participants),
        previous=previous,
        model=model,
        nonce=nonce,
        kind=kind,
        threshold=limits.shares,
        minimum=limits.survivors,
        ring_width=aggregation.ring_width,
        lane_bound=bound,
        **_summed(agreement, kind, bound),
    )


class _Summed(TypedDict):
    """What a plan says of the vectors that are summed, and of the mechanism that makes them."""

    lanes: int
    range: Decimal
    sampling_probability: Decimal
    noise_multiplier: Decimal
    clip_norm: Decimal
    steps: int


def lanes_of(agreement: Agreement, kind: RoundKind) -> int:
    """Return how many coordinates are summed in a round of a kind, without canaries."""
    return agreement.model.parameters if kind is RoundKind.TRAIN else LANES


def _summed(agreement: Agreement, kind: RoundKind, bound: int) -> _Summed:
    if kind is RoundKind.TRAIN:
        training = agreement.training
        return _Summed(
            lanes=lanes_of(agreement, kind),
            range=agreement.aggregation.range,
            sampling_probability=training.sampling_probability,
            noise_multiplier=training.noise_multiplier,
            clip_norm=training.clip_norm,
            steps=training.local_steps,
        )
    scores = agreement.private_evaluation
    if kind is not RoundKind.EVALUATE or scores is None:
        raise LocalError("expected a kind of round that the agreement has")
    return _Summed(
        lanes=lanes_of(agreement, kind),
        range=Decimal(bound - 1),  # scores are whole numbers
        sampling_probability=Decimal(1),
        noise_multiplier=scores.noise_multiplier,
        clip_norm=scores.loss_clip,
        steps=1,
    )


def plan_digest(plan: Plan) -> Digest:
    """P, which enters every mask."""
    return Digest(digest("plan", encode(plan)).hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an institution stands when a plan arrives.

    Attributes:
        epoch, members: of the key epoch it has set up; epoch 0 if none.
        newest: the last round whose end it knows, 0 if none.
        certificate: digest of the last certificate's body, at first the agreement's digest.
        model: digest of the model state that it computed.
        certified, scored: how many rounds of training and of scoring it knows to be certified.
    """

    me: InstitutionId
    epoch: int
    members: tuple[InstitutionId, ...]
    newest: int
    certificate: Digest
    model: Digest
    certified: int
    scored: int


def check_plan(agreement: Agreement, standing: Standing, plan: Plan) -> None:
    """Accept a plan or say why not.

    Raises:
        Refusal: STALE_ROUND, BEHIND or PLAN.
    """
    if plan.epoch != standing.epoch or plan.round <= standing.newest:
        raise Refusal(
            RefusalCode.STALE_ROUND,
            f"expected epoch {standing.epoch} and a round after {standing.newest}, "
            f"got {plan.epoch} and {plan.round}",
        )
    if standing.me not in plan.participants or not set(plan.participants) <= set(standing.members):
        raise Refusal(RefusalCode.PLAN, "expected participants of this key epoch, me among them")
    if (plan.previous, plan.model) != (standing.certificate, standing.model):
        raise Refusal(RefusalCode.BEHIND, "expected the certificate and the model that I computed")
    is_due = agreement.owes_score(standing.certified, standing.scored)
    if plan.kind is RoundKind.EVALUATE and not is_due:
        raise Refusal(RefusalCode.PLAN, "expected no score before one is due")
    try:
        check_terms(agreement, plan)
    except PeerError as error:
        raise Refusal(RefusalCode.PLAN, str(error)) from None


def check_terms(agreement: Agreement, plan: Plan) -> None:
    """Check all of a plan that an agreement says, whoever reads it, also of a round long ago.

    Raises:
        PeerError: it is not what the agreement prescribes for some participants of its roster.
    """
    participants = plan.participants
    if list(participants) != sorted(set(participants) & set(agreement.roster)):
        raise PeerError("expected participants of the roster in order, each once")
    least = agreement.aggregation.min_participants
    if len(participants) < least:
        raise PeerError(f"expected at least {least} participants, got {len(participants)}")
    if not 1 <= plan.round <= agreement.attempts or plan.epoch < 1:
        raise PeerError(
            f"expected a round of 1 to {agreement.attempts}, spare ones in, of a key epoch"
        )
    if len(plan.nonce) != NONCE_BYTES:
        raise PeerError(f"expected a nonce of {NONCE_BYTES} bytes")
    first = (agreement.digest, agreement.model.initial_state)
    if plan.round == 1 and (plan.previous, plan.model) != first:
        raise PeerError("expected the first round to begin with the agreement and its model")
    if plan != _own(agreement, plan):
        raise PeerError("expected the terms that the agreement prescribes")


def _own(agreement: Agreement, plan: Plan) -> Plan | None:
    try:
        return make_plan(
            agreement,
            epoch=plan.epoch,
            round=plan.round,
            participants=plan.participants,
            previous=plan.previous,
            model=plan.model,
            nonce=plan.nonce,
            kind=plan.kind,
        )
    except LocalError:
        return None
