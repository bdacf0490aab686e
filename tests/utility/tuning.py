"""The search behind `chosen.json`: accuracy on the dev rows of all regions, one run for each try.

One thing after the other: the learning rate, with the recipe's schedule; then, where there is
privacy or a federation, its neighbours one at a time, each kept if it does better. Test rows are
not even encoded. What looking at dev rows reveals about them is charged to no budget.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from statistics import mean

from tests.utility.arms import Arm, Settings, Spread, arms
from tests.utility.encoded import Say
from tests.utility.world import World

RATES = ("0.01", "0.02", "0.04", "0.08")
OTHERS: tuple[dict[str, Decimal | int], ...] = (
    {"rounds": 10, "local_steps": 10},
    {"clip_norm": Decimal("0.5")},
    {"momentum": Decimal("0.5")},
)


def tune(world: World, say: Say) -> dict[str, Settings]:
    """Choose settings for every kind of arm."""
    kinds: dict[str, list[Arm]] = {}
    for arm in arms(list(world.data.regions)):
        kinds.setdefault(arm.kind, []).append(arm)
    return {kind: _best(world, several, say) for kind, several in kinds.items()}


def _best(world: World, several: list[Arm], say: Say) -> Settings:
    """Choose for arms with the same settings, by the mean of their scores."""

    def score(settings: Settings) -> float:
        found = mean(world.on_dev(world.train(arm, settings)).accuracy for arm in several)
        say(f"{several[0].kind}: {found:.4f} on dev with {settings}")
        return found

    rates = [Settings(learning_rate=Decimal(rate)) for rate in RATES]
    best, most = max(((one, score(one)) for one in rates), key=lambda pair: pair[1])
    for change in _changes(several[0]):
        found = score(replace(best, **change))
        if found > most:
            best, most = replace(best, **change), found
    return best


def _changes(arm: Arm) -> Iterator[dict[str, Decimal | int]]:
    """Name what makes a difference to an arm: what is clipped, or averaged."""
    for change in OTHERS:
        clips, averages = arm.epsilon is not None, arm.spread is Spread.FEDERATED
        if (clips and "clip_norm" in change) or (averages and "clip_norm" not in change):
            yield change
