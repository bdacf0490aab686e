"""How numbers and times are written, alike in both languages."""

from decimal import ROUND_HALF_EVEN, Decimal

from comity_audit.epsilontext import SHOWN_PLACES, epsilon_shown
from comity_audit.report.facts import epsilon_value
from comity_host.markup import Markup, text


def whole(number: int) -> Markup:
    """Write a whole number: `1,436`."""
    return Markup(f"{number:,}")


def epsilon(value: str) -> Markup:
    """Write an ε that was computed, with four decimals, rounded up; `∞`; nothing for nothing."""
    if not value:
        return Markup("")
    exact = epsilon_value(value)
    return Markup("∞" if exact is None else epsilon_shown(exact))


def bound(value: str) -> Markup:
    """Write an ε that was agreed, as it was: `8`, `0.5`, `∞`."""
    exact = epsilon_value(value) if value else None
    return Markup("∞") if exact is None else Markup(f"{exact:f}")


def difference(value: str) -> Markup:
    """Write a difference of two ε with its sign."""
    if not value:
        return Markup("")
    exact = epsilon_value(value)
    if exact is None:
        return Markup("∞")
    rounded = exact.quantize(SHOWN_PLACES, ROUND_HALF_EVEN)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else ""
    return Markup(f"{sign}{abs(rounded):f}")


def delta(value: str) -> Markup:
    """Write a δ: `1e-5`; a dash for none."""
    if not value:
        return Markup("–")
    mantissa, _, exponent = f"{Decimal(value):e}".partition("e")
    digits = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return text(f"{digits}e{int(exponent)}")


def moment(time: str) -> Markup:
    """Write a time: `2026-11-28 01:19:53`; a dash for an unknown one."""
    return text(time.removesuffix("Z").replace("T", " ")) if time else Markup("–")
