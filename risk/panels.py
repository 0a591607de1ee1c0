"""What risk adds to the pages of lending: how safe a client is, what a call asks for, where a loan's ladder stands."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import access
from lending.models import Client, Loan, MarginAccount
from risk import positions
from risk.models import OPEN_CALL_STATES, MarginCall, MarginState, MarginStatus

_WORST_FIRST = (
    MarginState.LIQUIDATE,
    MarginState.ACCELERATED,
    MarginState.CALL,
    MarginState.UNKNOWN,
    MarginState.WARNING,
    MarginState.HEALTHY,
)


def safety(request: HttpRequest, client: Client, *, now: datetime) -> SafeString:
    """Return how safe a client's margin accounts are, the least safe first."""
    accounts = list(MarginAccount.objects.filter(client=client, loans__principal_outstanding__gt=0).distinct())
    found = positions.standings(accounts, now=now).values()
    return _html(
        "portal/safety.html",
        request,
        {"standings": sorted(found, key=lambda item: _WORST_FIRST.index(item.state)), "now": now},
    )


def duties(request: HttpRequest, client: Client, *, now: datetime) -> SafeString:
    """Return the open calls of a client, the most urgent first."""
    return _html("portal/duties.html", request, {"calls": _open_calls(client.margin_calls.all()), "now": now})


def loan(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return where a loan's margin account stands, with the ladder in prices, for its borrower."""
    return _loan("portal/standing.html", request, subject, now=now)


def staff_loan(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the same for staff who may know margin triggers; nothing for a desk trader."""
    if not access.clients_for(request.user).filter(pk=subject.client_id).exists():
        return SafeString("")
    return _loan("admin/standing.html", request, subject, now=now)


def _loan(template: str, request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    account = subject.margin_account
    return _html(
        template,
        request,
        {
            "standing": positions.standing(account, now=now),
            "status": MarginStatus.objects.filter(margin_account=account).first(),
            "calls": _open_calls(account.margin_calls.all()),
            "now": now,
        },
    )


def _open_calls(calls: Any) -> Iterable[MarginCall]:
    found = calls.filter(state__in=OPEN_CALL_STATES).select_related("cure_asset", "client")
    return found.order_by("cure_due_at", "pk")


def _html(template: str, request: HttpRequest, context: dict[str, Any]) -> SafeString:
    return render_to_string(template, context, request=request)
