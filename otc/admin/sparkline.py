"""A figure's last hours as a line small enough to stand beside it."""

from collections.abc import Sequence
from decimal import Decimal

WIDTH, HEIGHT = 120, 28


def points(values: Sequence[Decimal | None]) -> str:
    """Return the points of a polyline on a drawing 120 x 28, "" when fewer than two values are known."""
    known = [(n, value) for n, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(value for _n, value in known), max(value for _n, value in known)
    last = len(values) - 1

    def height(value: Decimal) -> int:
        return HEIGHT // 2 if high == low else round((HEIGHT - 4) * (1 - (value - low) / (high - low))) + 2

    return " ".join(f"{round(n * (WIDTH - 4) / last) + 2},{height(value)}" for n, value in known)
