"""Numbers and lists as a reader wants them."""

import math
from collections.abc import Sequence

MISSING = "–"


def number(value: float, digits: int = 2) -> str:
    """A number with `digits` decimals, or a dash where it is not known."""
    return f"{value:.{digits}f}" if math.isfinite(value) else MISSING


def times(ratio: float) -> str:
    """A ratio such as "0.40 times"."""
    return f"{number(ratio)} times"


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as whole per cent."""
    return f"{100 * fraction:.0f} %" if math.isfinite(fraction) else MISSING


def percent_of(accuracy: float) -> str:
    """An accuracy in [0, 1] as per cent with one decimal, or a dash where it is not known."""
    return f"{number(100 * accuracy, 1)} %" if math.isfinite(accuracy) else MISSING


def rate(value: float) -> str:
    """A rate or time with three digits that count."""
    if not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as "48 s", "5 min 20 s" or "3 h 10 min"."""
    if not math.isfinite(seconds):
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def listed(items: Sequence[str]) -> str:
    """Items as "a", "a and b" or "a, b and c"."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def signed(magnitude: float) -> str:
    """A magnitude with one decimal and a real minus sign."""
    return f"{magnitude:.1f}".replace("-", "−")
