"""What an agreement does to rows, in the terms in which it is paid for.

Each kind of round is one mechanism, run at most so many times; all of it is fixed when the
agreement is signed. Training and scores touch different units (see `privatescore`) and are charged
as a sum all the same.
"""

from comity_common.agreement import Agreement
from comity_common.dp.spending import Spending
from comity_common.dp.terms import NON_PRIVATE, SAMPLED_GAUSSIAN, Guarantee, SampledGaussian
from comity_common.errors import LocalError
from comity_common.secagg.kinds import RoundKind


def spending_of(agreement: Agreement) -> Spending:
    """Return what an agreement may do to rows, as the budget counts it."""
    privacy = agreement.privacy
    claim = Guarantee(epsilon=privacy.epsilon, delta=privacy.delta) if privacy.is_private else None
    return Spending(
        agreement=agreement.digest,
        unit=privacy.unit,
        gate=privacy.gate,
        order=privacy.order,
        guarantee=claim,
        schedule=schedule_events(agreement),
    )


def kinds_of(agreement: Agreement) -> tuple[RoundKind, ...]:
    """List the kinds of rounds that use a budget under an agreement."""
    scores = () if agreement.private_evaluation is None else (RoundKind.EVALUATE,)
    return (RoundKind.TRAIN, *scores)


def schedule_events(agreement: Agreement) -> tuple[SampledGaussian, ...]:
    """List every mechanism that an agreement may run, over all rounds and spare rounds (T_max)."""
    events = [schedule_event(agreement, agreement.schedule.attempts)]
    scores = agreement.private_evaluation
    if scores is not None:
        events.append(schedule_event(agreement, scores.attempts, RoundKind.EVALUATE))
    return tuple(events)


def schedule_event(
    agreement: Agreement, rounds: int, kind: RoundKind = RoundKind.TRAIN
) -> SampledGaussian:
    """Return the mechanism that so many rounds of one kind are.

    Raises:
        LocalError: the agreement has no rounds of this kind.
    """
    if kind is RoundKind.TRAIN:
        return SampledGaussian(
            sampling_probability=agreement.training.sampling_probability,
            noise_multiplier=agreement.training.noise_multiplier,
            steps=agreement.training.local_steps * rounds,
            mechanism=SAMPLED_GAUSSIAN if agreement.privacy.is_private else NON_PRIVATE,
        )
    if agreement.private_evaluation is None:
        raise LocalError("expected an agreement with scores on private rows")
    return agreement.private_evaluation.score.event(rounds)
