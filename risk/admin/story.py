"""What happened to a loan's margin account, for the loan's page: its calls, and what was ordered to be sold."""

from datetime import datetime

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending.admin.base import SEE_CLIENTS
from lending.models import Loan
from lending.staff import roles
from risk import sales
from risk.models import LiquidationOrder, MarginCall

_ROWS = 25


def calls_and_orders(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the calls and the orders of a loan's margin account, the newest first, for who may see clients."""
    if not roles(request) & SEE_CLIENTS:
        return SafeString("")
    calls = sales.with_sales(MarginCall.objects).filter(margin_account=subject.margin_account_id)
    known = list(
        calls.select_related("cure_asset", "margin_account__margin_status").order_by("-issued_at", "-pk")[:_ROWS]
    )
    orders = LiquidationOrder.objects.filter(margin_account=subject.margin_account_id).select_related("asset", "cause")
    context = {
        # An account that was never called has no state to tell of.
        "status": known[0].margin_account.margin_status if known else None,
        "calls": known,
        "orders": orders.order_by("-ordered_at", "-pk")[:_ROWS],
        "now": now,
    }
    return render_to_string("admin/story.html", context, request=request)
