"""What a step of a recomputation found, and what all of them say together."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from comity_common.errors import LocalError, PeerError, Problem


class Outcome(StrEnum):
    """What became of a step."""

    HOLDS = "holds"
    FAILS = "fails"
    WORD = "word"  # it rests on the operator's word; nothing here contradicts it
    ABSENT = "absent"  # what it needs is not there, so it was not checked
    UNANCHORED = "unanchored"  # nobody outside the directory has vouched for the agreement
    INAPPLICABLE = "inapplicable"  # what it is about is of another kind of ledger


class Verdict(StrEnum):
    """What all steps say together."""

    TRUE = "true"
    FALSE = "false"
    UNANCHORED = "unanchored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        number: from 1.
        name: one or two words.
        detail: what was checked, or what is wrong and whose file it is.
    """

    number: int
    name: str
    outcome: Outcome
    detail: str


def verdict(steps: Sequence[Step]) -> Verdict:
    """Say what the steps of a recomputation that has come to its end amount to."""
    outcomes = {step.outcome for step in steps}
    if Outcome.FAILS in outcomes:
        return Verdict.FALSE
    return Verdict.UNANCHORED if Outcome.UNANCHORED in outcomes else Verdict.TRUE


def outcome_of(check: Callable[[], tuple[Outcome, str]]) -> tuple[Outcome, str]:
    """Look at one thing: what became of it and what was checked, or what is wrong.

    Raises:
        Problem: something that a person must mend first.
    """
    try:
        return check()
    except Problem:
        raise
    except (PeerError, LocalError) as error:
        return Outcome.FAILS, str(error)


@contextmanager
def about(name: str) -> Iterator[None]:
    """Name the file that a check is about in what it raises: untrue bytes raise only PeerError."""
    try:
        yield
    except Problem:
        raise
    except (PeerError, LocalError) as error:
        raise PeerError(f"{name}: {error}") from None
