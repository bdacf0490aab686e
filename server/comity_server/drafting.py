"""From terms to an agreement: the defaults are settled and the noise is worked out.

Nothing here touches a file, a clock or a key; `proposing` brings what is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from comity_common.agreement import (
    VERSION,
    Aggregation,
    Agreement,
    Continuation,
    Gate,
    Model,
    ModelOptimizer,
    Noise,
    Party,
    Privacy,
    PrivateEvaluation,
    Schedule,
    Training,
    Unit,
)
from comity_common.dp import accountant, pld
from comity_common.dp.terms import SampledGaussian
from comity_common.errors import LocalError, Problem
from comity_common.ids import Digest
from comity_common.optimizer import ModelState
from comity_server.terms import Terms, fewest_participants

ROWS_OF_A_PERSON = 100  # at most, where the terms do not say
MOMENTUM = {ModelOptimizer.FEDAVG: Decimal(0), ModelOptimizer.FEDAVGM: Decimal("0.9")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What building the model tells: the base's digest, d, and the first state's digest."""

    base: Digest
    parameters: int
    initial_state: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """What a new agreement takes over.

    Attributes:
        state: the model after the last certified round.
    """

    agreement: Agreement
    continuation: Continuation
    state: ModelState


def write_agreement(
    terms: Terms,
    operator: Party,
    institutions: Sequence[Party],
    start: Start,
    evaluation_set: Digest,
    nonce: bytes,
    seed: bytes,
    continued: Continued | None = None,
) -> Agreement:
    """Write the agreement that terms amount to.

    Args:
        institutions: those that the terms name, in any order.
        nonce: 16 fresh bytes.
        seed: 32 bytes, by which the model of `start` was built.
        continued: what it goes on from; budgets stay counted at that agreement's order.

    Raises:
        Problem: no noise, or not the one that the terms ask for, keeps the promises.
        LocalError: the parties are others than the terms name, or two have the same keys.
    """
    parties = tuple(sorted(institutions, key=lambda party: party.id))
    if [party.id for party in parties] != sorted(terms.institutions):
        raise LocalError("expected the institutions that the terms name")
    noise, order = noise_of(
        terms, (continued.agreement.privacy.order or None) if continued else None
    )
    return Agreement(
        version=VERSION,
        federation=terms.federation,
        purpose=terms.purpose,
        nonce=nonce,
        continues=continued.continuation if continued else None,
        operator=operator,
        institutions=parties,
        task=terms.task.task(),
        model=Model(
            name=terms.model.name,
            base=start.base,
            pooling=terms.model.pooling,
            tune=terms.model.tune,
            lora_rank=terms.model.lora_rank,
            lora_alpha=terms.model.lora_alpha,
            seed=seed,
            parameters=start.parameters,
            initial_state=start.initial_state,
        ),
        evaluation_set=evaluation_set,
        private_evaluation=evaluation_of(terms),
        training=_training(terms, noise),
        privacy=_privacy(terms, order),
        aggregation=aggregation_of(terms),
        schedule=_schedule(terms),
    )


def noise_of(terms: Terms, order: int | None = None) -> tuple[Decimal, int]:
    """Work out the noise multiplier with which all attempts, and all scores, keep the promise.

    It is calibrated with the accountant that the terms name as the gate: what is enough for the
    loss distribution of a fixed schedule is refused by a Rényi filter. The noise of the scores is
    fixed before (`evaluation_of`).

    Args:
        order: of the Rényi filter, where it is fixed already.

    Returns:
        the noise multiplier, the terms' own if they have one, and the order of the Rényi filter;
        0 for both where there is none.

    Raises:
        Problem: no noise keeps a promise, or the terms' own is too little.
    """
    if terms.privacy.noise is Noise.NONE:
        return Decimal(0), 0
    epsilon, delta = terms.privacy.promised
    scores = evaluation_of(terms)
    beside = [] if scores is None else [scores.score.event(scores.attempts)]
    try:
        least, best = _least_noise(terms, order, beside)
    except LocalError:
        raise Problem("COM-TERMS-003", epsilon=epsilon, delta=delta) from None
    given = terms.training.noise_multiplier
    if given is None:
        return least, best
    if given < least:
        raise Problem("COM-TERMS-004", noise=given, epsilon=epsilon, delta=delta, least=least)
    return given, best  # more noise costs less with every accountant


def evaluation_of(terms: Terms) -> PrivateEvaluation | None:
    """Settle the scores on private rows, with the least noise that keeps their part of ε.

    Alone, scores are a schedule that is fixed beforehand, whatever the gate: their part holds at
    the Rényi order that is best for them. What they cost beside training is counted at the gate's.

    Raises:
        Problem: no noise keeps it.
    """
    given = terms.private_evaluation
    if given is None:
        return None
    attempts, delta = len(terms.scored_after) + given.spare, terms.privacy.promised[1]
    try:
        noise, _ = accountant.calibrate(1, attempts, given.epsilon, delta)
    except LocalError:
        raise Problem("COM-TERMS-008", epsilon=given.epsilon, delta=delta) from None
    return PrivateEvaluation(
        share=given.share,
        after=terms.scored_after,
        spare=given.spare,
        units=given.units,
        noise_multiplier=noise,
        loss_clip=given.loss_clip,
        grid=terms.grid,
    )


def aggregation_of(terms: Terms) -> Aggregation:
    """Settle how the deltas are summed and what moves the model."""
    given = terms.aggregation
    return Aggregation(
        collusion=given.collusion,
        min_participants=given.min_participants or fewest_participants(len(terms.institutions)),
        ring_width=given.ring_width,
        range=terms.range,
        optimizer=given.optimizer,
        learning_rate=given.learning_rate,
        momentum=MOMENTUM[given.optimizer] if given.momentum is None else given.momentum,
    )


def _training(terms: Terms, noise: Decimal) -> Training:
    given, recipe = terms.training, terms.recipe
    return Training(
        learning_rate=given.learning_rate or recipe.learning_rate,
        local_steps=given.local_steps or recipe.local_steps,
        sampling_probability=given.sampling_probability or recipe.sampling_probability,
        clip_norm=given.clip_norm,
        noise_multiplier=noise,
        divisor=given.divisor or recipe.divisor,
    )


def _least_noise(
    terms: Terms, order: int | None, beside: Sequence[SampledGaussian]
) -> tuple[Decimal, int]:
    # The noise does not matter for how often and how many.
    training, attempts = _training(terms, Decimal(1)), _schedule(terms).attempts
    q, steps = training.sampling_probability, training.local_steps * attempts
    epsilon, delta = terms.privacy.promised
    if Gate(terms.privacy.gate) is Gate.FIXED_SCHEDULE:
        return pld.calibrate(q, steps, epsilon, delta, beside), 0
    return accountant.calibrate(q, steps, epsilon, delta, order, beside)


def _privacy(terms: Terms, order: int) -> Privacy:
    given = terms.privacy
    epsilon, delta = given.promised
    many = 1 if given.unit is Unit.RECORD else ROWS_OF_A_PERSON
    return Privacy(
        unit=given.unit,
        rows_per_unit=given.rows_per_unit or many,
        adjacency="add-remove",
        noise=given.noise,
        gate=Gate.NONE if given.noise is Noise.NONE else Gate(given.gate),
        order=order,
        epsilon=epsilon,
        delta=delta,
    )


def _schedule(terms: Terms) -> Schedule:
    return Schedule(
        rounds=terms.rounds,
        spare_rounds=terms.schedule.spare_rounds,
        expires=terms.schedule.expires.isoformat(),
    )
