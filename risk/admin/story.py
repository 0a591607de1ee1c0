"""What happened to a loan's margin account, for the loan's page: its calls, and what was ordered to be sold."""

from datetime import datetime

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending.admin.base import SEE_CLIENTS
from lending.models import Loan
from lending.staff import roles
from risk import sales
from risk.models import LiquidationOrder, MarginCall, MarginStatus

_ROWS = 25


def calls_and_orders(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the calls and the orders of a loan's margin account, the newest first, for who may see clients."""
    if not roles(request) & SEE_CLIENTS:
        return SafeString("")
    calls = sales.with_sales(MarginCall.objects).filter(margin_account=subject.margin_account_id)
    calls = calls.select_related("cure_asset")
    orders = LiquidationOrder.objects.filter(margin_account=subject.margin_account_id).select_related("asset", "cause")
    context = {
        # Of an account on which nothing was lent the recorded state says nothing about this loan.
        "status": MarginStatus.objects.filter(margin_account=subject.margin_account_id).first()
        if subject.start_at
        else None,
        "calls": calls.order_by("-issued_at", "-pk")[:_ROWS],
        "orders": orders.order_by("-ordered_at", "-pk")[:_ROWS],
        "now": now,
    }
    return render_to_string("admin/story.html", context, request=request)
