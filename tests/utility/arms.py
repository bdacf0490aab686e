"""What is compared, and with which settings each is trained.

An *arm* says whose rows are trained on, how they come together and what is promised. Its settings
were chosen by accuracy on dev rows (`tuning`) and stand in `chosen.json`. Which and how many rows
a step takes is not among them: q and the divisor are the recipe's constants in every arm.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from comity_common.tuning import Tune
from comity_server.recipes import RECIPES

CHOSEN = Path(__file__).with_name("chosen.json")
DELTA = Decimal("1e-5")
EPSILONS = (8, 3, 1)
RECIPE = RECIPES[Tune.HEAD]


class Spread(StrEnum):
    """Whose rows are trained on."""

    ALONE = "alone"
    POOLED = "pooled"
    FEDERATED = "federated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One line of a table.

    Attributes:
        region: whose rows, for one that is alone.
        epsilon: what is promised at δ; None: nothing.
    """

    spread: Spread
    region: str = ""
    epsilon: int | None = None

    @property
    def kind(self) -> str:
        """What arms with the same settings have in common: `federated, ε = 8`."""
        return f"{self.spread}, {'no DP' if self.epsilon is None else f'ε = {self.epsilon}'}"

    @property
    def words(self) -> str:
        """What a table calls it."""
        return f"{self.region} {self.kind}".strip()


def arms(regions: Sequence[str]) -> list[Arm]:
    """List all arms of a data set in the order of its table."""
    alone = [Arm(spread=Spread.ALONE, region=region) for region in regions]
    pooled = [Arm(spread=Spread.POOLED, epsilon=epsilon) for epsilon in (None, EPSILONS[0])]
    federated = [Arm(spread=Spread.FEDERATED, epsilon=epsilon) for epsilon in (None, *EPSILONS)]
    return [*alone, *pooled, *federated]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is tuned; defaults are the recipe's.

    Attributes:
        momentum: of the mean delta; 0 is FedAvg, more is FedAvgM.
    """

    learning_rate: Decimal = RECIPE.learning_rate
    rounds: int = RECIPE.rounds
    local_steps: int = RECIPE.local_steps
    clip_norm: Decimal = Decimal(1)
    momentum: Decimal = Decimal(0)


Chosen = Mapping[str, Settings]
"""Settings by kind of arm."""


def chosen(name: str) -> Chosen:
    """Read what was chosen for a data set."""
    kinds = json.loads(CHOSEN.read_text("utf-8"))[name]
    return {kind: _settings(values) for kind, values in kinds.items()}


def keep(name: str, settings: Chosen) -> None:
    """Write what was chosen for a data set."""
    everything = json.loads(CHOSEN.read_text("utf-8")) if CHOSEN.is_file() else {}
    everything[name] = {kind: asdict(one) for kind, one in settings.items()}
    text = json.dumps(everything, indent=1, default=str, ensure_ascii=False, sort_keys=True)
    CHOSEN.write_text(text + "\n", "utf-8")


def _settings(values: Mapping[str, str | int]) -> Settings:
    return Settings(
        **{key: Decimal(one) if isinstance(one, str) else one for key, one in values.items()}
    )
