"""Risk's part of the admin's home page: open calls, and the loans that are closest to one."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from lending import access, staff
from lending.admin.base import SEE_CLIENTS
from lending.models import Client, MarginAccount, Role
from lending.staff import Page, roles
from risk import positions, sales
from risk.models import OPEN_CALL_STATES, MarginCall

SHOWN = 10
_MOST_CALLS = 25
_WORKS_ON_CALLS = access.RISK_ROLES | {Role.RELATIONSHIP_MANAGER, Role.DESK_HEAD}

# Screens by the newest marks; whoever is shown is worked out again, exactly. Accounts with an asset that has no mark
# come first: nobody knows how close they are.
_CLOSEST = """
    WITH debt AS (
        SELECT l.margin_account_id AS id,
               sum((l.principal_outstanding + l.interest_due + l.fees_due)
                   * CASE WHEN s.code = 'USD' THEN 1 ELSE m.price END)::float8 AS usd,
               bool_or(s.code <> 'USD' AND m.price IS NULL) AS unknown
          FROM lending_loan l JOIN lending_asset s ON s.id = l.asset_id LEFT JOIN risk_mark m ON m.asset_id = s.id
         WHERE l.principal_outstanding + l.interest_due + l.fees_due > 0 AND l.client_id = ANY(%(clients)s)
         GROUP BY 1
    ), held AS (
        SELECT p.margin_account_id AS id,
               sum((p.quantity + p.held_quantity) * (1 - p.haircut)
                   * CASE WHEN s.code = 'USD' THEN 1 ELSE m.price END)::float8 AS usd
          FROM lending_pledge p JOIN lending_asset s ON s.id = p.asset_id LEFT JOIN risk_mark m ON m.asset_id = s.id
         WHERE p.client_id = ANY(%(clients)s) GROUP BY 1
    )
    SELECT debt.id
      FROM debt LEFT JOIN held USING (id)
      JOIN lending_marginaccount a ON a.id = debt.id JOIN lending_ladderterms t ON t.id = a.terms_id
     WHERE NOT EXISTS (
        SELECT 1 FROM risk_margincall c WHERE c.margin_account_id = debt.id AND c.state = ANY(%(open)s))
     ORDER BY debt.unknown DESC, debt.usd / nullif(held.usd * t.margin_call_ltv, 0) DESC NULLS FIRST, debt.id
     LIMIT %(shown)s
"""


def calls(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return the open calls, for whom they come before everything else."""
    return _calls(request, now) if roles(request) & _WORKS_ON_CALLS else SafeString("")


def calls_of_others(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return the open calls, for whom they are not the day's work: after it."""
    return SafeString("") if roles(request) & _WORKS_ON_CALLS else _calls(request, now)


def _calls(request: HttpRequest, now: datetime) -> SafeString:
    """Return the open calls among the clients that the reader sees, the first to end on top."""
    if not roles(request) & SEE_CLIENTS:
        return SafeString("")
    mine = sales.with_sales(MarginCall.objects).filter(state__in=OPEN_CALL_STATES, client__in=staff.clients(request))
    found = mine.select_related("client", "cure_asset").order_by("cure_due_at", "pk")[: _MOST_CALLS + 1]
    rows = list(found)
    return render_to_string(
        "admin/home/calls.html",
        {"calls": rows[:_MOST_CALLS], "more": len(rows) > _MOST_CALLS, "now": now},
        request=request,
    )


def closest(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return the place where the loans closest to a call are fetched to, once the page is there."""
    if not roles(request) & SEE_CLIENTS:
        return SafeString("")
    return render_to_string("admin/home/closest_place.html", {}, request=request)


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the loans closest to a call: a page, or the part of one that asks for it again and again."""
    now = staff.now(request)
    keys = _closest_accounts(staff.clients(request))
    accounts = MarginAccount.objects.select_related("terms", "client").in_bulk(keys)
    found = positions.standings([accounts[key] for key in keys], now=now)
    context = {"standings": [found[key] for key in keys], "now": now, "title": "Closest to a call"}
    if request.headers.get("HX-Request"):
        return TemplateResponse(request, "admin/home/closest.html", context)
    return TemplateResponse(request, "admin/home/closest_page.html", {**admin.site.each_context(request), **context})


def _closest_accounts(seen: QuerySet[Client]) -> list[int]:
    """Return the accounts without a call that are nearest to their call level, those that nobody can judge first."""
    clients = list(seen.values_list("pk", flat=True))
    facts: dict[str, Any] = {"clients": clients, "open": [state.value for state in OPEN_CALL_STATES], "shown": SHOWN}
    with connection.cursor() as cursor:
        cursor.execute(_CLOSEST, facts)
        return [key for (key,) in cursor.fetchall()]


_site = admin.site
_site.add_page(Page("close-to-a-call/", "risk_closest", page, SEE_CLIENTS, "risk", title="Closest to a call"))  # type: ignore[attr-defined]
