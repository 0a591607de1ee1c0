"""
The P&L explain: what the desk earned in a period, and why, in lines that cannot be plugged.

The total comes from balances and marks; the lines come from classified postings and their re-marks. Double entry is
the only thing that makes the two agree, so a posting that no line knows shows as a residual.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_UP, Context, Decimal, DivisionByZero, FloatOperation, Inexact, InvalidOperation, localcontext
from typing import TypeVar

from lending.engine.chart import Category

# What sums of such products need: numeric(38, 18) times numeric(38, 18) is 76 digits, and room to add up.
WIDE = Context(prec=120, traps=[InvalidOperation, DivisionByZero, FloatOperation, Inexact])

EARNED = tuple(category for category in Category if category not in {Category.BALANCE_SHEET, Category.CAPITAL})
FX = "fx"
INVENTORY = "inventory"
_Key = TypeVar("_Key")
LINES = (*(category.value for category in EARNED), FX, INVENTORY)


class UnableToExplain(ValueError):
    """A position has no mark at one end of the period."""


@dataclass(frozen=True)
class Position:
    """What the desk has of an asset, less what it owes of it, at both ends of a period; asset units."""

    asset: str
    before: Decimal
    after: Decimal


@dataclass(frozen=True)
class Flow:
    """
    The postings of one asset, client and category on income, expense and capital accounts; debit-positive.

    before: sum until the start, asset units. during: sum within the period, asset units. value: the same, each
    posting at the mark of its instant, USD.
    """

    asset: str
    client_id: int | None
    category: str
    before: Decimal
    during: Decimal
    value: Decimal


@dataclass(frozen=True)
class Explain:
    """Total, lines and what they leave unexplained, USD and exact; the same lines cut by asset and by client."""

    total: Decimal
    lines: Mapping[str, Decimal]
    by_asset: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    by_client: Mapping[int | None, Mapping[str, Decimal]] = field(default_factory=dict)

    @property
    def unexplained(self) -> Decimal:
        """Total less the sum of the lines, exact."""
        with localcontext(WIDE):
            return self.total - sum(self.lines.values(), Decimal(0))

    @property
    def residual(self) -> Decimal:
        """What is unexplained in cents; the smallest fraction of one shows as a whole cent."""
        with localcontext(WIDE) as context:
            context.traps[Inexact] = False
            return self.unexplained.quantize(Decimal("0.01"), ROUND_UP) + 0


def explain(
    positions: Sequence[Position],
    flows: Sequence[Flow],
    *,
    start: Mapping[str, Decimal],
    end: Mapping[str, Decimal],
    local: frozenset[str],
) -> Explain:
    """
    Return the P&L of a period, explained.

    total = sum(after x end - before x start) over positions, less capital paid in at the mark of its instant.
    A category's line is what was earned in it, at the marks of the instants. What was earned or paid in stays in its
    asset and moves with the mark: minus (before x (end - start) + during x end - value), in the line `fx` for cash and
    stablecoins and `inventory` for everything else.

    Parameters
    ----------
    positions : sequence of Position
        From the balances of everything that is neither income, expense nor capital.
    flows : sequence of Flow
        From the postings on income, expense and capital accounts. Categories no line knows are left out of the lines.
    start, end : mapping of asset to Decimal
        USD per unit at both ends of the period.
    local : frozenset of str
        Assets whose re-mark is FX: cash and stablecoins.

    Raises
    ------
    UnableToExplain
        If an asset that is held lacks a mark.
    """
    with localcontext(WIDE):
        total = sum((p.after * _mark(end, p.asset, p.after) for p in positions), Decimal(0))
        total -= sum((p.before * _mark(start, p.asset, p.before) for p in positions), Decimal(0))
        total += sum((flow.value for flow in flows if flow.category == Category.CAPITAL), Decimal(0))
        cells: list[tuple[str, int | None, str, Decimal]] = []
        for flow in flows:
            if flow.category != Category.CAPITAL and flow.category not in EARNED:
                continue
            if flow.category != Category.CAPITAL and flow.during:
                cells.append((flow.asset, flow.client_id, flow.category, -flow.value))
            held = flow.before or flow.during
            p0, p1 = _mark(start, flow.asset, flow.before), _mark(end, flow.asset, held)
            remark = -(flow.before * (p1 - p0) + flow.during * p1 - flow.value)
            cells.append((flow.asset, flow.client_id, FX if flow.asset in local else INVENTORY, remark))
        return Explain(
            total=total,
            lines=_summed(("", line, amount) for _, _, line, amount in cells).get("", dict.fromkeys(LINES, Decimal(0))),
            by_asset=_summed((asset, line, amount) for asset, _, line, amount in cells),
            by_client=_summed((client, line, amount) for _, client, line, amount in cells),
        )


def _mark(marks: Mapping[str, Decimal], asset: str, quantity: Decimal) -> Decimal:
    if not quantity:
        return marks.get(asset, Decimal(0))
    if asset not in marks:
        raise UnableToExplain(f"{asset} has no mark")
    return marks[asset]


def _summed(cells: Iterable[tuple[_Key, str, Decimal]]) -> dict[_Key, dict[str, Decimal]]:
    sums: dict[_Key, dict[str, Decimal]] = defaultdict(lambda: dict.fromkeys(LINES, Decimal(0)))
    for key, line, amount in cells:
        sums[key][line] += amount
    return dict(sums)
