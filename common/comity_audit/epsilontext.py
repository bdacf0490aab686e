"""How an ε is written: never smaller than it is.

    epsilon_text(7.18091)   "7.18091"   nine decimals, for what is computed with further
    epsilon_shown(7.18091)  "7.1810"    four decimals, for people

Both round up, so whoever shows a text of the first by the second gets what the ε itself gives.
"""

from decimal import ROUND_CEILING, Decimal

INFINITE = "infinite"
TEXT_PLACES, SHOWN_PLACES = Decimal("1e-9"), Decimal("1e-4")
MOST = Decimal("1e15")  # nobody promises as little as that


def epsilon_text(value: float | Decimal) -> str:
    """Write an ε with nine decimals, rounded up; or `infinite`, from 10¹⁵ on."""
    rounded = _rounded(value, TEXT_PLACES)
    if rounded is None:
        return INFINITE
    return f"{rounded:f}".rstrip("0").rstrip(".")


def epsilon_shown(value: float | Decimal) -> str:
    """Write an ε for people, with four decimals, rounded up; or `∞`, from 10¹⁵ on."""
    rounded = _rounded(value, SHOWN_PLACES)
    return "∞" if rounded is None else f"{rounded:f}"


def _rounded(value: float | Decimal, places: Decimal) -> Decimal | None:
    """Round up; None for what is infinite."""
    exact = value if isinstance(value, Decimal) else Decimal(value)
    if not exact.is_finite() or abs(exact) >= MOST:
        return None
    return exact.quantize(places, ROUND_CEILING) + 0  # no zero with a sign
