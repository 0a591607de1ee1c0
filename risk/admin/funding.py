"""Funding a loan: the price check and the payment in one step, so the door stands where prices are known."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lending import access, loans, withdrawals
from lending.admin import acts
from lending.models import Loan, LoanState, Role
from lending.permits import UnableToVerify
from lending.staff import Page, roles
from risk import permits


def button(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the button that funds a loan, for operations, but not who made or approved it, while it waits for that."""
    mine = request.user.pk in (subject.made_by_id, subject.approved_by_id)
    if subject.state != LoanState.COLLATERAL_PENDING or Role.OPERATIONS not in roles(request) or mine:
        return SafeString("")
    return format_html(
        '<form method="post" action="{}"><input type="hidden" name="csrfmiddlewaretoken" value="{}">'
        '<button class="button">Check the collateral and fund</button></form>',
        reverse("admin:risk_fund", args=[subject.pk]),
        get_token(request),
    )


def fund(request: HttpRequest, pk: int) -> HttpResponse:
    """Check a loan's collateral at the marks of now, and pay the loan out if it holds."""
    mine = Loan.objects.filter(client__in=access.clients_for(request.user)).select_related("asset", "margin_account")
    refusals = (
        permits.UnableToPermit, UnableToVerify, loans.UnableToMove, loans.UnableToFund, withdrawals.UnableToWithdraw
    )  # fmt: skip
    return acts.perform(request, mine, pk, _fund, refusals=refusals)


def _fund(request: HttpRequest, loan: Loan, now: datetime) -> str:
    actor: Any = request.user
    access.require_role(actor, Role.OPERATIONS)
    permit = permits.issue_draw(loan.margin_account, loan.asset, loan.principal, now=now)
    loans.fund(loan, permit=permit, actor=actor, now=now)
    if loan.is_line:
        return "Open: the collateral holds for all of it at the marks of now, and the client can draw."
    where = "is on its way to the client's address" if loan.payout_address else "lies in the client's free balance"
    return f"Funded: the collateral holds at the marks of now, and the money {where}."


_site: Any = admin.site
_site.add_page(Page("funding/<int:pk>/", "risk_fund", fund, frozenset({Role.OPERATIONS}), "risk"))
