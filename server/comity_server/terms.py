"""The terms file: what an operator decides about an agreement, in one commented TOML file.

A person writes what the federation is for, who takes part and what is promised; everything that is
rarely changed has a default. Keys, fingerprints, digests and the noise are not in it: `drafting`
makes an agreement of terms and these.

`samples/terms.toml` is a whole terms file whose comments are the descriptions of the keys here.
"""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from comity_common.agreement import (
    ID_PATTERN,
    MAX_ATTEMPTS,
    MAX_INSTITUTIONS,
    ModelOptimizer,
    Noise,
    Unit,
)
from comity_common.errors import LocalError
from comity_common.fixedpoint import lane_bound, largest_range
from comity_common.ids import InstitutionId
from comity_common.privatescore import MAX_GRID
from comity_common.secagg.thresholds import thresholds
from comity_host.modelterms import Line, ModelTerms, TaskTerms
from comity_host.settings import Settings, expected
from comity_server.recipes import RECIPES, Recipe, by_tune

SAMPLE = Path(__file__).with_name("samples") / "terms.toml"
FINE_GRID = 64  # parts of a row: a loss is rounded by at most 1/32 of its clip

Amount = Annotated[Decimal, Field(gt=0, le=1_000_000, decimal_places=12)]


def _roster(ids: tuple[str, ...]) -> tuple[str, ...]:
    for id in ids:
        if not ID_PATTERN.fullmatch(id):
            raise expected(f"ids of 1 to 40 lower-case letters, digits and hyphens, got {id!r}")
        if ids.count(id) > 1:
            raise expected(f"every institution once, got {id} twice")
    if not 3 <= len(ids) <= MAX_INSTITUTIONS:
        raise expected(f"3 to {MAX_INSTITUTIONS} institutions, got {len(ids)}")
    return ids


Roster = Annotated[
    tuple[InstitutionId, ...],
    AfterValidator(_roster),
    Field(json_schema_extra={"minItems": 3, "maxItems": MAX_INSTITUTIONS, "uniqueItems": True}),
]


class TrainingTerms(Settings):
    """How each vault trains in a round: by constants that are the same for all."""

    learning_rate: Amount | None = Field(
        default=None,
        description="Step size of Adam in the vaults, above 0. "
        f"Left out: {by_tune('learning_rate')}.",
    )
    local_steps: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Noisy steps that a vault takes in a round, 1 to 10000. "
        f"Left out: {by_tune('local_steps')}.",
    )
    sampling_probability: Amount | None = Field(
        default=None,
        le=1,
        description="Chance of each row to be in a step, above 0 and at most 1. "
        f"Left out: {by_tune('sampling_probability')}.",
    )
    clip_norm: Amount = Field(
        default=Decimal(1),
        description="The most that one row may pull at the model in a step, as the 2-norm of its "
        "gradient, above 0.",
    )
    divisor: Amount | None = Field(
        default=None,
        description="What the noisy sum of a step is divided by, above 0: about the number of rows "
        f"that a step takes. Left out: {by_tune('divisor')}.",
    )
    noise_multiplier: Amount | None = Field(
        default=None,
        description="Noise of a step in units of clip_norm, above 0. Left out: the least with "
        "which all rounds and spare rounds together keep the promise in [privacy].",
    )


class PrivacyTerms(Settings):
    """What is promised to every single row or person, even if all others conspire."""

    epsilon: Amount | None = Field(
        default=None,
        description="ε: how much all rounds together may reveal about a row (or a person), above "
        "0. Smaller is more private and less accurate; 8 is a usual start. Needed, unless noise "
        "is none.",
    )
    delta: Amount | None = Field(
        default=None,
        lt=1,
        description="δ: the chance that ε does not hold, above 0 and below 1. It should be well "
        "below one over the number of rows of any institution. Needed, unless noise is none.",
    )
    unit: Unit = Field(
        default=Unit.RECORD,
        description="What is protected: record (every single row) or person (all rows with the "
        "same key together).",
    )
    rows_per_unit: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="The most rows of one person that are used, 1 to 100000; always 1 for "
        "record. Left out: 1 for record, 100 for person.",
    )
    gate: Literal["renyi", "fixed-schedule"] = Field(
        default="renyi",
        description="Who counts: renyi (holds when later rounds are chosen after earlier ones) or "
        "fixed-schedule (needs less noise, for rounds that are all fixed beforehand).",
    )
    noise: Noise = Field(
        default=Noise.FULL,
        description="full-in-each-vault, or none for a baseline that promises nothing: ε is "
        "infinite then, and institutions refuse it unless their policy says otherwise.",
    )

    @model_validator(mode="after")
    def _promises_what_it_names(self) -> Self:
        if self.noise is Noise.FULL and None in (self.epsilon, self.delta):
            raise expected("epsilon and delta, unless noise is none")
        if self.noise is Noise.NONE and (self.epsilon, self.delta) != (None, None):
            raise expected("no epsilon and delta without noise")
        if self.unit is Unit.RECORD and self.rows_per_unit not in (None, 1):
            raise expected("rows_per_unit 1 where the unit is a record")
        return self

    @property
    def promised(self) -> tuple[Decimal, Decimal]:
        """ε and δ; both 0 where nothing is promised."""
        return self.epsilon or Decimal(0), self.delta or Decimal(0)


class AggregationTerms(Settings):
    """The masked sum, and how the model moves by it."""

    collusion: int = Field(
        default=1,
        ge=1,
        description="How many institutions may conspire with the operator and still learn nothing "
        "about a single contribution, at least 1.",
    )
    min_participants: int | None = Field(
        default=None,
        ge=3,
        description="A round with fewer institutions is refused; at least 3 and two thirds of all. "
        "Left out: just that many.",
    )
    ring_width: Literal[24, 32] = Field(
        default=32,
        description="Bits of a weight's change on the wire, 24 or 32: 24 uploads a quarter less "
        "and rounds more coarsely.",
    )
    range: Amount | None = Field(
        default=None,
        description="The most that one weight may change at one institution in a round, above 0; "
        "a larger change is cut. Left out: 1.5 times learning_rate times local_steps.",
    )
    optimizer: ModelOptimizer = Field(
        default=ModelOptimizer.FEDAVG,
        description="How the model moves: fedavg (by the mean of the changes) or fedavgm (with "
        "momentum).",
    )
    learning_rate: Amount = Field(
        default=Decimal(1), description="How far it moves, above 0; 1 is the whole mean."
    )
    momentum: Decimal | None = Field(
        default=None,
        ge=0,
        lt=1,
        decimal_places=12,
        description="How much of the last movement is kept, from 0 to below 1; 0 for fedavg. "
        "Left out: 0 for fedavg, 0.9 for fedavgm.",
    )

    @field_validator("momentum")
    @classmethod
    def _none_for_the_plain_mean(
        cls, momentum: Decimal | None, others: ValidationInfo
    ) -> Decimal | None:
        if momentum and others.data.get("optimizer") is ModelOptimizer.FEDAVG:
            raise expected("no momentum with fedavg; fedavgm has one")
        return momentum


class ScheduleTerms(Settings):
    """How long the agreement runs."""

    rounds: int | None = Field(
        default=None,
        ge=1,
        le=900,
        description=f"Rounds that shall succeed, 1 to 900. Left out: {by_tune('rounds')}.",
    )
    spare_rounds: int = Field(
        default=2,
        ge=0,
        le=100,
        description="Extra attempts for rounds that fail, 0 to 100. They are paid for with noise "
        "whether they are needed or not.",
    )
    expires: date = Field(
        description="The last day on which anything may be trained, year-month-day in UTC."
    )


class PrivateEvaluationTerms(Settings):
    """Noisy scores of the model on rows that the institutions hold out. Left out: no scores."""

    epsilon: Amount = Field(
        description="How much of the ε in [privacy] all scores, spare ones in, may cost on their "
        "own, above 0 and below that ε. Less makes the scores less certain; training gets more "
        "noise for what they cost.",
    )
    units: int = Field(
        ge=1,
        description="How many rows (or persons) all institutions together may be expected to hold "
        "out, at least 1, by what is publicly known. How certain a score will be follows from it.",
    )
    share: Decimal = Field(
        default=Decimal("0.2"),
        gt=0,
        le=Decimal("0.5"),
        decimal_places=12,
        description="Part of its rows (or persons) that each institution holds out, above 0 and at "
        "most 0.5: never trained on, and always the same.",
    )
    after: tuple[int, ...] | None = Field(
        default=None,
        description="After which rounds that succeeded the model is scored, as their numbers from "
        "1, ascending. Left out: after the last.",
    )
    spare: int = Field(
        default=1,
        ge=0,
        le=100,
        description="Extra attempts for scores that fail, 0 to 100. They are paid for with noise "
        "whether they are needed or not.",
    )
    loss_clip: Amount = Field(
        default=Decimal(4),
        description="The most that the loss of one row counts, in nats, above 0.",
    )
    grid: int | None = Field(
        default=None,
        ge=2,
        le=MAX_GRID,
        description=f"Into how many parts a row (or person) is divided when it is counted, even, 2 "
        f"to {MAX_GRID}. Left out: {FINE_GRID}, or less where units would not fit the sum.",
    )

    @field_validator("after")
    @classmethod
    def _in_order(cls, after: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if after is not None and (not after or list(after) != sorted({0, *after})[1:]):
            raise expected("at least one round, ascending, each once, from 1")
        return after

    @field_validator("grid")
    @classmethod
    def _in_halves(cls, grid: int | None) -> int | None:
        if grid is not None and grid % 2:
            raise expected(f"an even grid, got {grid}")
        return grid


class Terms(Settings):
    """The terms of one agreement, as the operator writes them."""

    federation: Line = Field(description="What the federation is called.")
    purpose: Line = Field(
        description="What the model is for, in one line; every institution reads it before signing."
    )
    institutions: Roster = Field(
        description="The ids of the institutions that take part, 3 to 255, as they were approved."
    )
    evaluation_set: Path = Field(
        description="A public file on which every model is scored, relative to this file: one JSON "
        "object a line, with text and label, or for token-classification with tokens and labels."
    )
    task: TaskTerms
    model: ModelTerms = ModelTerms()
    training: TrainingTerms = TrainingTerms()
    privacy: PrivacyTerms
    aggregation: AggregationTerms = AggregationTerms()
    schedule: ScheduleTerms
    private_evaluation: PrivateEvaluationTerms | None = None

    @field_validator("aggregation")
    @classmethod
    def _fits_the_roster(
        cls, aggregation: AggregationTerms, others: ValidationInfo
    ) -> AggregationTerms:
        count = len(others.data.get("institutions", ()))
        if not count:  # refused already
            return aggregation
        fewest = fewest_participants(count)
        if not fewest <= (aggregation.min_participants or fewest) <= count:
            raise expected(
                f"min_participants from {fewest} to {count}, got {aggregation.min_participants}"
            )
        try:
            thresholds(count, aggregation.collusion)
        except LocalError:
            raise expected(f"a smaller collusion than {aggregation.collusion}") from None
        return aggregation

    @model_validator(mode="after")
    def _no_noise_where_there_is_none(self) -> Self:
        if self.privacy.noise is Noise.NONE and self.training.noise_multiplier is not None:
            raise expected("no training.noise_multiplier where privacy.noise is none")
        return self

    @model_validator(mode="after")
    def _steps_outlast_rounding(self) -> Self:
        given, step = self.aggregation, self.step
        most = largest_range(given.ring_width, len(self.institutions), step)
        if self.range > most:
            raise expected(
                f"aggregation.range of at most {most:f}, got {self.range:f}: with "
                f"{given.ring_width} bits for a sum of {len(self.institutions)}, steps of {step:f} "
                "drown in rounding"
            )
        return self

    @model_validator(mode="after")
    def _pays_for_scores(self) -> Self:
        given, most = self.private_evaluation, self.privacy.epsilon
        if given is None:
            return self
        if most is None:
            raise expected("no private_evaluation where privacy.noise is none")
        if given.epsilon >= most:
            raise expected(
                f"private_evaluation.epsilon below privacy.epsilon, which is {most:f}, "
                f"got {given.epsilon:f}"
            )
        return self

    @model_validator(mode="after")
    def _comes_to_every_score(self) -> Self:
        given = self.private_evaluation
        if given is None:
            return self
        after = self.scored_after
        if after[-1] > self.rounds:
            raise expected(f"private_evaluation.after of at most {self.rounds}, got {after[-1]}")
        whole = self.rounds + self.schedule.spare_rounds + len(after) + given.spare
        if whole > MAX_ATTEMPTS:
            raise expected(f"at most {MAX_ATTEMPTS} rounds, scores and spare ones in, got {whole}")
        return self

    @model_validator(mode="after")
    def _counts_every_unit(self) -> Self:
        given = self.private_evaluation
        if given is not None and given.units > (most := self._room // self.grid):
            raise expected(
                f"private_evaluation.units of at most {most}, got {given.units}: at a grid of "
                f"{self.grid} their sum does not fit {self.aggregation.ring_width} bits"
            )
        return self

    @property
    def rounds(self) -> int:
        """How many rounds shall succeed."""
        return self.schedule.rounds or self.recipe.rounds

    @property
    def scored_after(self) -> tuple[int, ...]:
        """After which rounds the model is scored on private rows."""
        given = self.private_evaluation
        if given is None:
            return ()
        return (self.rounds,) if given.after is None else given.after

    @property
    def grid(self) -> int:
        """Parts of a unit: what the terms say, or else as many as fit, and at most 64."""
        given, grid = self.private_evaluation, FINE_GRID
        if given is None:
            return 0
        if given.grid is not None:
            return given.grid
        while grid > 2 and grid * given.units > self._room:
            grid //= 2
        return grid

    @property
    def _room(self) -> int:
        """How large the counts of all units together may be."""
        return lane_bound(self.aggregation.ring_width, len(self.institutions)) - 1

    @property
    def step(self) -> Decimal:
        """How far a step of Adam moves a weight."""
        return self.training.learning_rate or self.recipe.learning_rate

    @property
    def range(self) -> Decimal:
        """R: what the terms say, or else what their steps can reach."""
        steps = self.training.local_steps or self.recipe.local_steps
        return self.aggregation.range or self.recipe.range_per_step * self.step * steps

    @property
    def recipe(self) -> Recipe:
        """The defaults for what is trained."""
        return RECIPES[self.model.tune]


def fewest_participants(institutions: int) -> int:
    """Return the smallest `min_participants`: two thirds of all, and never fewer than three."""
    return max(3, -(-2 * institutions // 3))


def terms_schema() -> dict[str, Any]:
    """Return the JSON schema of a terms file, with a description of every key."""
    return Terms.model_json_schema()
