"""A loan in default, on its page: what its collateral would have to bring, and the request to sell it."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending.admin.base import SEE_CLIENTS
from lending.admin.loan_parts import LoanPart
from lending.models import Loan
from lending.staff import roles
from risk import default_sales


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the place to which a default is fetched, with what is sold for it; nothing for a loan without one."""
    if not default_sales.may_be_sold(subject, now=now):
        return SafeString("")
    return render_to_string("admin/default_place.html", {"loan": subject}, request=request)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    row = default_sales.default_of(loan)
    cause = next(iter(default_sales.of_accounts([loan.margin_account_id] if row else [])), None)
    why_not = default_sales.why_not(loan, row, cause)
    asked = default_sales.waiting(loan, now=now) if not why_not else None
    return {
        "now": now,
        "asset": loan.asset.code,
        "row": row,
        "cause": cause if cause and cause.loan_id == loan.pk else None,
        "why_not": why_not,
        "asked": asked,
        "reason_length": default_sales.REASON_LENGTH,
        "may": not why_not and asked is None and bool(roles(request) & default_sales.ASKERS),
    }


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    default_sales.ask(loan, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for the head of risk."


LoanPart(
    title="Sell for its default",
    template="admin/default_sale.html",
    facts=_facts,
    act=_ask,
    refusals=(default_sales.UnableToSell,),
).at("defaults", "risk_default_sale", SEE_CLIENTS, "risk")
