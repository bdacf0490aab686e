"""What a demo is asked to do."""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from comity_common.errors import LocalError
from comity_common.tuning import Tune


class FaultKind(StrEnum):
    """What goes wrong on purpose."""

    KILL_VAULT = "kill-vault"
    KILL_SUPERNODE = "kill-supernode"
    STOP_BEFORE_UPLOAD = "stop-before-upload"
    STOP_BEFORE_REVEAL = "stop-before-reveal"
    KILL_SERVER = "kill-server"
    KILL_SUPERLINK = "kill-superlink"


VAULT_FAULTS = {FaultKind.KILL_VAULT, FaultKind.STOP_BEFORE_UPLOAD, FaultKind.STOP_BEFORE_REVEAL}
FLOWER_FAULTS = {FaultKind.KILL_SUPERNODE, FaultKind.KILL_SUPERLINK}
STOPS = {FaultKind.STOP_BEFORE_UPLOAD, FaultKind.STOP_BEFORE_REVEAL}  # the others kill


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        institution: whose process, or whose upload triggers it at the operator.
        round: in which, from 1.
    """

    kind: FaultKind
    institution: str
    round: int

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return f"{self.kind}:{self.institution}@{self.round}"


def read_fault(text: str) -> Fault:
    """Read `KIND:INSTITUTION@ROUND`.

    Raises:
        LocalError: it is anything else.
    """
    kind, _, rest = text.partition(":")
    who, _, when = rest.rpartition("@")
    if kind not in set(FaultKind):
        raise LocalError(f"expected a fault of {', '.join(FaultKind)}, got {kind!r}")
    if not when.isascii() or not when.isdigit() or int(when) < 1:
        raise LocalError(f"expected {kind}:INSTITUTION@ROUND with a round from 1, got {text!r}")
    return Fault(kind=FaultKind(kind), institution=who, round=int(when))


def parse_fault(text: str, institutions: tuple[str, ...]) -> Fault:
    """Read a fault whose institution is given by id or by its number from 1.

    Raises:
        LocalError: it is no fault, or of nobody here.
    """
    fault = read_fault(text)
    who = fault.institution
    if who.isdigit() and 1 <= int(who) <= len(institutions):
        who = institutions[int(who) - 1]
    if who not in institutions:
        raise LocalError(
            f"expected an institution by number from 1 to {len(institutions)} or one of "
            f"{', '.join(institutions)}, got {who!r}"
        )
    return replace(fault, institution=who)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A demo.

    Attributes:
        data: folder with train.jsonl and test.jsonl; None generates rows.
        institutions: how many; None takes one per region.
        model: `minilm`, a directory, or a name on the Hugging Face hub.
        score_epsilon: how much of `epsilon` a score on private rows may cost; None for no score.
        ceiling: the most ε that a data set may ever spend; None is `epsilon`.
        faults: as written on the command line.
        baselines: whether to train what the federation is compared with.
    """

    workdir: Path
    data: Path | None
    institutions: int | None
    model: str
    tune: Tune
    rounds: int | None
    spare_rounds: int
    epsilon: Decimal
    delta: Decimal
    score_epsilon: Decimal | None
    ceiling: Decimal | None
    clip_norm: Decimal
    seed: int
    faults: tuple[str, ...]
    baselines: bool

    def __post_init__(self) -> None:
        if self.rounds is not None and self.rounds < 1:
            raise LocalError(f"expected at least one round, got {self.rounds}")
        if self.spare_rounds < 0:
            raise LocalError(f"expected no negative spare rounds, got {self.spare_rounds}")
        if self.institutions is not None and self.institutions < 3:
            raise LocalError(f"expected at least 3 institutions, got {self.institutions}")
        for name, value in (("epsilon", self.epsilon), ("clip-norm", self.clip_norm)):
            if not value.is_finite() or value <= 0:
                raise LocalError(f"expected --{name} above 0, got {value}")
        if not self.delta.is_finite() or not 0 < self.delta < 1:
            raise LocalError(f"expected --delta between 0 and 1, got {self.delta}")
        if self.score_epsilon is not None and not 0 < self.score_epsilon < self.epsilon:
            raise LocalError(f"expected --score-epsilon below --epsilon, got {self.score_epsilon}")
        if self.ceiling is not None and not self.epsilon <= self.ceiling < Decimal("Infinity"):
            raise LocalError(f"expected --ceiling of at least --epsilon, got {self.ceiling}")
        for text in self.faults:
            read_fault(text)
