"""A P&L as a waterfall: each line as a bar that starts where the one above it ended, down to the total."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

RESIDUAL, TOTAL = "residual", "total"
_WIDTH = Decimal(1000)


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: its amount in USD, its bar on a drawing 1000 wide, where zero lies on it, and what it rests on."""

    name: str
    amount: Decimal
    x: int
    width: int
    zero: int
    tone: str
    address: str


def bars(lines: Mapping[str, Decimal], unexplained: Decimal, total: Decimal, address: Callable[..., str]) -> list[Bar]:
    """
    Return the bars of the lines, of the residual and of the total, all on one scale.

    The residual has its bar even when it is zero: it is shown, never hidden.
    """
    steps: list[tuple[str, Decimal, Decimal]] = []
    reached = Decimal(0)
    for name, amount in (*lines.items(), (RESIDUAL, unexplained)):
        steps.append((name, reached, reached + amount))
        reached += amount
    steps.append((TOTAL, Decimal(0), total))
    low = min(min(start, end) for _name, start, end in steps)
    high = max(max(start, end) for _name, start, end in steps)

    def at(value: Decimal) -> int:
        return int((value - low) / (high - low) * _WIDTH) if high > low else 0

    return [
        Bar(
            name=name,
            amount=end - start,
            x=at(min(start, end)),
            width=max(at(max(start, end)) - at(min(start, end)), 2 if end != start else 0),
            zero=at(Decimal(0)),
            tone=name if name in (RESIDUAL, TOTAL) else _tone(end - start),
            address="" if name in (RESIDUAL, TOTAL) else address(line=name),
        )
        for name, start, end in steps
    ]


def _tone(amount: Decimal) -> str:
    if not amount:
        return "nothing"
    return "gain" if amount > 0 else "loss"
