"""The states of a round, on both sides, as tables: state × event → state.

An event that has no row in the table raises and changes nothing. The database, the wire and the
screens use the words of these enums.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from comity_common.errors import PeerError


class Phase(StrEnum):
    """Where an institution is in a round."""

    ORDERED = "ordered"  # Flower said so; nothing is decided
    JOINED = "joined"  # the plan is accepted, the budget reserved, older rounds are closed
    STARTED = "started"  # others have witnessed the reserve; noise may have been drawn
    MASKED = "masked"  # masked file, header and boxes are durable
    UPLOADED = "uploaded"  # the operator gave a receipt
    REVEALED = "revealed"  # one survivor list is answered, no other will be
    CLOSED = "closed"  # certified, void, declined or overtaken; the keys are gone


class Step(StrEnum):
    """What moves an institution on."""

    JOIN = "join"
    START = "start"
    MASK = "mask"
    RECEIPT = "receipt"
    REVEAL = "reveal"
    CLOSE = "close"


INSTITUTION: Mapping[tuple[Phase, Step], Phase] = {
    (Phase.ORDERED, Step.JOIN): Phase.JOINED,
    (Phase.ORDERED, Step.CLOSE): Phase.CLOSED,
    (Phase.JOINED, Step.START): Phase.STARTED,
    (Phase.JOINED, Step.CLOSE): Phase.CLOSED,
    (Phase.STARTED, Step.MASK): Phase.MASKED,
    (Phase.STARTED, Step.CLOSE): Phase.CLOSED,
    (Phase.MASKED, Step.RECEIPT): Phase.UPLOADED,
    (Phase.MASKED, Step.REVEAL): Phase.REVEALED,  # the receipt was lost on the way
    (Phase.MASKED, Step.CLOSE): Phase.CLOSED,
    (Phase.UPLOADED, Step.RECEIPT): Phase.UPLOADED,
    (Phase.UPLOADED, Step.REVEAL): Phase.REVEALED,
    (Phase.UPLOADED, Step.CLOSE): Phase.CLOSED,
    (Phase.REVEALED, Step.REVEAL): Phase.REVEALED,  # the same list again, the same answer
    (Phase.REVEALED, Step.CLOSE): Phase.CLOSED,
}


class Stage(StrEnum):
    """Where the operator is in a round."""

    COLLECTING = "collecting"
    REVEALING = "revealing"
    SUMMING = "summing"
    CERTIFIED = "certified"
    VOID = "void"


class Event(StrEnum):
    """What moves the operator on."""

    ENOUGH = "enough"  # all have uploaded or declined, or the deadline passed with m uploads
    UNMASKED = "unmasked"  # t reveals fit the commitments
    SUMMED = "summed"  # every canary counts the survivors
    FAIL = "fail"


OPERATOR: Mapping[tuple[Stage, Event], Stage] = {
    (Stage.COLLECTING, Event.ENOUGH): Stage.REVEALING,
    (Stage.COLLECTING, Event.FAIL): Stage.VOID,
    (Stage.REVEALING, Event.UNMASKED): Stage.SUMMING,
    (Stage.REVEALING, Event.FAIL): Stage.VOID,
    (Stage.SUMMING, Event.SUMMED): Stage.CERTIFIED,
    (Stage.SUMMING, Event.FAIL): Stage.VOID,
}

State = TypeVar("State", Phase, Stage)
Move = TypeVar("Move", Step, Event)


def advance(table: Mapping[tuple[State, Move], State], state: State, move: Move) -> State:
    """Look up the next state.

    Raises:
        PeerError: the table has no such row.
    """
    try:
        return table[state, move]
    except KeyError:
        raise PeerError(f"expected no {move} of a round that is {state}") from None
