"""How an ε is told: to people, and in JSON, which has no infinity."""

import math

INFINITE = "infinite"


def finite(epsilon: float | None) -> float | str | None:
    """Return what stands in JSON: a number, `infinite`, or null where nothing is granted."""
    return INFINITE if epsilon is not None and math.isinf(epsilon) else epsilon


def in_words(epsilon: float | str) -> str:
    """Say an ε to two places."""
    if isinstance(epsilon, str) or math.isinf(epsilon):
        return "ε = ∞"
    return f"ε = {epsilon:.2f}"
