"""How numbers and names of a run are written, alike in the terminal and on the page.

Rules it keeps: units stand beside numbers; what has no guarantee is called so.
"""


def in_bytes(n: float) -> str:
    """Write a number of bytes with three digits and a decimal unit: `46.2 kB`."""
    for unit in ("B", "kB", "MB"):
        if n < 999.5:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 99.95 else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:,.1f} GB"


def in_time(seconds: float) -> str:
    """Write a duration: `48 s`, `3 min 05 s`, `1 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def score(value: float | None) -> str:
    """Write an accuracy or F1 between 0 and 1."""
    return "–" if value is None else f"{value:.3f}"


def change(value: float) -> str:
    """Write a difference of two scores with its sign: `+0.041`, `−0.020`."""
    return f"{value:+.3f}".replace("-", "−")


def epsilon(value: float | None) -> str:
    """Write an ε; None is training without differential privacy, which has no finite ε."""
    return "∞" if value is None else f"{value:.2f}"


def delta(value: float) -> str:
    """Write a δ: `1e-5`."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def fraction(part: float, whole: float) -> str:
    """Write how small a part is: `1/1,950` when far below, else a percentage."""
    if part <= 0 or whole <= 0:
        return "–"
    return f"1/{whole / part:,.0f}" if whole >= 20 * part else f"{part / whole:.0%}"
