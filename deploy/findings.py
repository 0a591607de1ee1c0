"""What a database of calls, sales and postings amounts to: the figures that a replay reports."""

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, Sum

from deploy import invariants
from lending import ledger
from lending.engine.chart import AccountKind
from lending.models import Book, Posting
from otc import pnl
from otc.models import Fill
from risk.models import CallState, DecisionLog, LiquidationOrder, MarginCall, SaleCause


class Findings:
    """Figures of everything that happened between two instants."""

    def __init__(self, start_at: datetime, end_at: datetime) -> None:
        self._start_at, self._end_at = start_at, end_at

    def calls(self) -> dict[str, Any]:
        """Return how margin calls ended."""
        states = Counter(MarginCall.objects.values_list("state", flat=True))
        # A deadline that passed below the clearing level is written down as a decision, not as an expiry with a sale.
        spared = DecisionLog.objects.filter(
            decision="not_expired", margin_account=OuterRef("margin_account"), episode=OuterRef("episode")
        )
        expired = MarginCall.objects.filter(Q(events__kind="expired") | Exists(spared)).distinct()
        return {
            "calls": sum(states.values()),
            "cures": states[CallState.CURED],
            "cured_by_market": states[CallState.CURED_BY_MARKET],
            "expired": expired.count(),
            "expired_liquidated": expired.filter(state=CallState.LIQUIDATED).count(),
            "expired_cleared": expired.exclude(state=CallState.LIQUIDATED).exclude(close_reason="").count(),
            "open_calls": MarginCall.objects.filter(closed_at=None).count(),
        }

    def sales(self) -> dict[str, Any]:
        """Return how many accounts were sold out of, at what slippage, and what was left unpaid."""
        fills = Fill.objects.aggregate(
            notional=Sum(F("quantity") * F("mark_price")),
            cost=Sum(F("quantity") * F("mark_price") * F("slippage_bps")),
        )
        lost = Posting.objects.filter(account__kind=AccountKind.CREDIT_LOSS).aggregate(total=Sum("amount"))["total"]
        return {
            "liquidations": SaleCause.objects.filter(orders__filled_quantity__gt=0).distinct().count(),
            "orders": LiquidationOrder.objects.count(),
            "fills": Fill.objects.count(),
            "shortfall_usd": f"{lost or Decimal(0):.2f}",
            "slippage_bps": f"{(fills['cost'] or 0) / (fills['notional'] or 1):.2f}",
        }

    def profit_and_loss(self) -> dict[str, Any]:
        """Return the desk's P&L over the whole span, over all books, and what its lines leave unexplained."""
        total, residual, lines = Decimal(0), Decimal(0), Counter[str]()
        for book in Book.objects.order_by("code"):
            explained = pnl.explain(book, self._start_at, self._end_at)
            total += explained.total
            residual += explained.residual
            for line, amount in explained.lines.items():
                lines[line] += amount  # type: ignore[assignment]
        return {
            "pnl_usd": f"{total:.2f}",
            "pnl_residual": f"{residual:.2f}",
            "pnl_lines": {line: f"{amount:.2f}" for line, amount in sorted(lines.items())},
        }

    def wrongful_sales(self) -> int:
        """Return how many sales an independent checker can not justify."""
        from tests.independent import wrongful_sales  # beside the platform, not part of it: loaded only to judge it

        with connection.cursor() as cursor:
            return wrongful_sales.count(cursor)

    def invariants(self) -> str | list[dict[str, Any]]:
        """Return "ok", or what is broken."""
        broken = invariants.check()
        return [violation.as_dict() for violation in broken] if broken else "ok"

    def ledger_hash(self) -> str:
        """Return the one hash over all entries."""
        return ledger.ledger_hash()
