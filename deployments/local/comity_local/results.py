"""What a demo ended with: the one record that tables, page and `--json` are made from.

Rules it keeps:

* Field names are those of the JSON envelope and keep their meaning for ever; new ones may come.
* Numbers are finite: a missing score is None, and so is the ε of training without privacy.
* It is the demo's own view of a federation whose every vault it started itself. An operator sees
  neither `rows` nor `alone`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comity_common.errors import LocalError
from comity_common.secagg.kinds import RoundKind

TRAIN = RoundKind.TRAIN.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A model on the public evaluation set, both between 0 and 1."""

    accuracy: float
    macro_f1: float

    def __post_init__(self) -> None:
        if not (0 <= self.accuracy <= 1 and 0 <= self.macro_f1 <= 1):
            raise LocalError("expected accuracy and macro F1 between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """One round.

    Attributes:
        n: from 1.
        void: its sum was not used and the model did not change.
        survivors: ids of the institutions in the sum; of a void round, of those that uploaded.
        accuracy, macro_f1: of the model after it; None where it was not measured.
        reason: why it is void, else None.
        kind: `train`, or `evaluate` for a score on private rows, which leaves the model as it is.
        faults: that struck in it, as they were asked for.
        score: what a certified score on private rows says (`comity_common.scoresum.Score.data`).
    """

    n: int
    void: bool
    survivors: tuple[str, ...]
    seconds: float
    accuracy: float | None
    macro_f1: float | None
    reason: str | None = None
    faults: tuple[str, ...] = ()
    kind: str = TRAIN
    score: Mapping[str, Any] | None = None

    @property
    def moved(self) -> bool:
        """Whether the model changed."""
        return not self.void and self.kind == TRAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class InstitutionResult:
    """One institution, as its own vault knows it.

    Attributes:
        jurisdiction: ISO 3166-1 alpha-2.
        epsilon: spent, at `delta`; None when trained without differential privacy.
        epsilon_reserved: reserved and not yet closed or refunded, and spent: an upper bound.
        epsilon_cap: what the institution's own policy allows; None when it allows any.
        rounds: in how many it was a survivor.
        bytes_sent, bytes_received: all that passed its uplink, over all rounds.
    """

    id: str
    jurisdiction: str
    rows: int
    epsilon: float | None
    epsilon_reserved: float | None
    delta: float
    rounds: int
    bytes_sent: int
    bytes_received: int
    name: str = ""
    epsilon_cap: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """A whole run.

    Attributes:
        model_dir: the model in the format that other tools load.
        report: the page.
        seconds: from the first process to the last check.
        full_model_bytes: of all parameters as float32, what a plain exchange sends per round.
        baseline: the model before the first round.
        federated: the model after the last round.
        without_dp: the same rounds without clipping and noise; None when not run.
        alone: by institution's id, a model from its rows only; empty when not run.
        agreement: digest of the agreement.
        ledger, logs: where to look further.
        model, tune: which base model, and which part of it was trained.
        data: what was learnt from, in words.
        evaluation_rows, labels: size of the public evaluation set and number of classes.
    """

    workdir: Path
    model_dir: Path
    report: Path
    seconds: float
    full_model_bytes: int
    baseline: Score
    federated: Score
    without_dp: Score | None
    alone: Mapping[str, Score]
    rounds: tuple[RoundResult, ...]
    institutions: tuple[InstitutionResult, ...]
    agreement: str
    ledger: Path
    logs: Path
    model: str
    tune: str
    data: str
    evaluation_rows: int
    labels: int

    def best_alone(self) -> tuple[str, Score] | None:
        """Return the id and score of the institution that does best without the others."""
        if not self.alone:
            return None
        best = max(self.alone, key=lambda id: self.alone[id].accuracy)
        return best, self.alone[best]

    def largest_epsilon(self) -> float | None:
        """Return the most that any institution spent; None if one trained without privacy."""
        spent = [i.epsilon for i in self.institutions]
        return None if None in spent else max((e for e in spent if e is not None), default=0.0)

    def sent_per_round(self) -> float:
        """Return the mean bytes that an institution sent for a round it was in; 0 for none."""
        rounds = sum(i.rounds for i in self.institutions)
        return sum(i.bytes_sent for i in self.institutions) / rounds if rounds else 0.0


def envelope(result: DemoResult) -> str:
    """Return `{"ok": true, "data": …}` as one line of JSON, paths as texts."""
    data = {**asdict(result), "alone": {id: asdict(s) for id, s in result.alone.items()}}
    return json.dumps({"ok": True, "data": data}, default=str, allow_nan=False, ensure_ascii=False)
