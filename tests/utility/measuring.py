"""Scores of every arm on the public test set, over some runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import mean

from comity_client.model.evaluate import Scores
from comity_common.dp import pld
from tests.utility.arms import DELTA, Arm, Chosen, Settings, Spread, arms
from tests.utility.encoded import Say
from tests.utility.world import World

GOAL_POINTS = 10.0  # of accuracy that privacy and the federation together may cost
GOAL_EPSILON = 8
GOAL_SET = "cs_banking77"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An arm and what came of it.

    Attributes:
        noise, order: σ and the order of its Rényi filter; 0 without privacy.
        fixed_noise: σ with which a fixed schedule would keep the same promise.
        scores: of every run.
    """

    arm: Arm
    settings: Settings
    noise: Decimal
    order: int
    fixed_noise: Decimal
    scores: tuple[Scores, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the runs."""
        return mean(score.accuracy for score in self.scores)

    @property
    def macro_f1(self) -> float:
        """The mean over the runs."""
        return mean(score.macro_f1 for score in self.scores)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest accuracy."""
        each = [score.accuracy for score in self.scores]
        return min(each), max(each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All arms of a data set.

    Attributes:
        rows: of each region; `test_rows` of the public test set.
    """

    name: str
    labels: int
    rows: dict[str, int]
    test_rows: int
    lines: tuple[Line, ...]

    def line(self, spread: Spread, epsilon: int | None) -> Line:
        """Find the line of an arm that is not alone."""
        return next(
            line for line in self.lines if (line.arm.spread, line.arm.epsilon) == (spread, epsilon)
        )

    @property
    def best_alone(self) -> Line:
        """The region that does best without the others."""
        alone = [line for line in self.lines if line.arm.spread is Spread.ALONE]
        return max(alone, key=lambda line: line.accuracy)

    @property
    def points_behind(self) -> float:
        """How far the federation at ε = 8 is behind all rows in one place without privacy."""
        pooled = self.line(Spread.POOLED, None).accuracy
        return 100 * (pooled - self.line(Spread.FEDERATED, GOAL_EPSILON).accuracy)

    @property
    def points_above(self) -> float:
        """How far the federation at ε = 8 is above every region alone without privacy."""
        federated = self.line(Spread.FEDERATED, GOAL_EPSILON).accuracy
        return 100 * (federated - self.best_alone.accuracy)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None for a data set that has none."""
        if self.name != GOAL_SET:
            return None
        return self.points_behind <= GOAL_POINTS and self.points_above > 0


def measure(world: World, settings: Chosen, runs: int, say: Say) -> Table:
    """Train every arm some times and score it on the test set."""
    data = world.data
    return Table(
        name=data.name,
        labels=len(data.labels),
        rows={id: len(rows) for id, rows in data.regions.items()},
        test_rows=len(data.test),
        lines=tuple(
            _line(world, arm, settings[arm.kind], runs, say) for arm in arms(list(data.regions))
        ),
    )


def _line(world: World, arm: Arm, settings: Settings, runs: int, say: Say) -> Line:
    agreement = world.agreement(arm.epsilon, settings)
    scores: Sequence[Scores] = [world.on_test(world.train(arm, settings)) for _ in range(runs)]
    say(f"{arm.words}: {mean(score.accuracy for score in scores):.3f}")
    fixed, training = Decimal(0), agreement.training
    if arm.epsilon is not None:
        steps = training.local_steps * agreement.schedule.attempts
        fixed = pld.calibrate(training.sampling_probability, steps, arm.epsilon, DELTA)
    return Line(
        arm=arm,
        settings=settings,
        noise=training.noise_multiplier,
        order=agreement.privacy.order,
        fixed_noise=fixed,
        scores=tuple(scores),
    )
