"""How an ε is told, to people and in JSON, which has no infinity; and how a number is asked for."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

INFINITE = "infinite"


def finite(epsilon: float | None) -> float | str | None:
    """Return what stands in JSON: a number, `infinite`, or null where nothing is granted."""
    return INFINITE if epsilon is not None and math.isinf(epsilon) else epsilon


def in_words(epsilon: float | str) -> str:
    """Say an ε to two places."""
    if isinstance(epsilon, str) or math.isinf(epsilon):
        return "ε = ∞"
    return f"ε = {epsilon:.2f}"


def positive(option: str, text: str, below: int | None = None) -> "Decimal":
    """Read a number above 0, and below a bound if there is one.

    Raises:
        Problem: it is none.
    """
    from decimal import Decimal, InvalidOperation

    from comity_common.errors import Problem

    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or number <= 0 or (below is not None and number >= below):
        expected = "a number above 0" + (f" and below {below}" if below is not None else "")
        raise Problem("COM-DATA-022", option=option, expected=expected)
    return number
