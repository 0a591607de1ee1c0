"""How the sale behind an open call goes, for people to read: since when, how much of it is done, what it waits for."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, Exists, F, Manager, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Cast, JSONObject

from risk.models import LIVE_ORDER_STATES, CallState, DecisionLog, LiquidationOrder, MarginCall, SaleCause

IN_SALE = (CallState.EXPIRED, CallState.LIQUIDATING)
_PUT_OFF = ("sale_waits", "sale_refused")


@dataclass(frozen=True, slots=True)
class Part:
    """One asset of a sale, over all its slices: units that were ordered and not given back, and units filled."""

    asset: str
    ordered: Decimal
    filled: Decimal


@dataclass(frozen=True, slots=True)
class Sale:
    """
    What happens instead of a call's clock.

    `since` is when the cause of the sale was declared. `waits` says why nothing is ordered now; "" while an order is
    live, or while the next slice is just being worked out.
    """

    since: datetime | None
    parts: tuple[Part, ...]
    waits: str

    @property
    def begun(self) -> bool:
        """Return whether anything has been filled."""
        return any(part.filled for part in self.parts)


def standing(margin_account_id: int) -> dict[int | None, datetime]:
    """
    Return what an account is being sold for, and since when each was declared.

    A loan in default, by its key, or None where it is for its margin.
    """
    found = SaleCause.objects.filter(margin_account=margin_account_id, closed_at=None)
    return dict(found.values_list("loan", "declared_at"))


def with_sales(calls: QuerySet[MarginCall] | Manager[MarginCall]) -> QuerySet[MarginCall]:
    """Return calls that `of` can tell the sale of without asking again, however many they are."""
    mine = {"margin_account": OuterRef("margin_account"), "episode": OuterRef("episode")}
    sums = LiquidationOrder.objects.filter(**mine).values("asset__code")
    sums = sums.annotate(units=Sum(F("quantity") - F("cancelled_quantity")), sold=Sum("filled_quantity"))
    part = JSONObject(asset="asset__code", ordered=Cast("units", CharField()), filled=Cast("sold", CharField()))
    later = Q(state__in=LIVE_ORDER_STATES) | Q(ordered_at__gt=OuterRef("last_at"))
    put_off = DecisionLog.objects.filter(**mine, decision__in=_PUT_OFF)
    put_off = put_off.exclude(Exists(LiquidationOrder.objects.filter(later, **mine)))
    return calls.annotate(
        sale_since=Subquery(SaleCause.objects.filter(**mine).order_by("-declared_at").values("declared_at")[:1]),
        sale_parts=ArraySubquery(sums.filter(units__gt=0).order_by("asset__code").values(part=part)),
        sale_waits=Subquery(put_off.order_by("-last_at").values("reason")[:1]),
    )


def of(call: MarginCall) -> Sale | None:
    """Return how the sale behind a call goes, of one that was read `with_sales`; None unless it is in sale."""
    if call.state not in IN_SALE:
        return None
    facts = vars(call)
    return Sale(
        since=facts["sale_since"],
        parts=tuple(Part(row["asset"], Decimal(row["ordered"]), Decimal(row["filled"])) for row in facts["sale_parts"]),
        waits=facts["sale_waits"] or "",
    )
