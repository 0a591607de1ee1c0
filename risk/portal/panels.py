"""What risk adds to the borrower's pages: how safe each loan is, what must be done, what would change it."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import obligations
from lending.models import Loan, LoanState
from lending.panels import Indebted
from risk import default_sales, margin_calls, positions, previews, prices, what_if
from risk.models import MarginCall, MarginState, SaleCause
from risk.portal import charts
from risk.portal.forms import WhatIfForm
from risk.positions import Standing
from risk.prices import Marks

_WORST_FIRST = (
    MarginState.LIQUIDATE,
    MarginState.ACCELERATED,
    MarginState.CALL,
    MarginState.UNKNOWN,
    MarginState.WARNING,
    MarginState.HEALTHY,
)


def home(request: HttpRequest, subjects: Sequence[Indebted], *, now: datetime) -> list[SafeString]:
    """Return for each client how safe their loans are, the least safe first, and what must be done about it."""
    debts = [debt for subject in subjects for debt in subject.debts]
    accounts = list({loan.margin_account_id: loan.margin_account for loan, _payoff in debts}.values())
    found = positions.standings(accounts, now=now, debts=debts)
    clients = [subject.client for subject in subjects]
    calls = margin_calls.open_of(MarginCall.objects.filter(client__in=clients))
    for_default = default_sales.for_default(debts, now=now)
    return [
        _home(
            request,
            [standing for standing in found.values() if standing.account.client_id == client.pk],
            [(call, found.get(call.margin_account_id)) for call in calls if call.client_id == client.pk],
            awaited,
            [cause for cause in for_default if cause.client_id == client.pk],
            now=now,
        )
        for client, awaited in [(subject.client, subject.awaited) for subject in subjects]
    ]


def _home(
    request: HttpRequest,
    standings: list[Standing],
    duties: list[tuple[MarginCall, Standing | None]],
    awaited: Sequence[Loan],
    defaults: Sequence[SaleCause],
    *,
    now: datetime,
) -> SafeString:
    worst_first = sorted(standings, key=_danger)
    return render_to_string(
        "portal/safety.html",
        {
            "standings": worst_first,
            "worst": next(iter(worst_first), None),
            "duties": duties,
            "awaited": awaited,
            "defaults": defaults,
            "now": now,
        },
        request=request,
    )


def _danger(standing: Standing) -> tuple[int, Decimal]:
    """Return what sorts the least safe account first: its state, then how far its LTV is up its own ladder."""
    ltv = Decimal(0) if standing.ltv is None else standing.ltv
    return _WORST_FIRST.index(standing.state), -(ltv / standing.facts.terms.margin_call_ltv)


def loan(request: HttpRequest, subject: Indebted, *, now: datetime) -> SafeString:
    """Return where a loan's margin account stands, with the ladder in prices, and what would change it."""
    if subject.loan is None:
        return SafeString("")
    if subject.loan.state == LoanState.COLLATERAL_PENDING:
        return _awaited(request, subject.loan, now=now)
    account = subject.loan.margin_account
    marks = prices.current(now=now)
    standing = positions.standing(account, now=now, marks=marks, debts=subject.debts)
    return render_to_string(
        "portal/standing.html",
        {
            "loan": subject.loan,
            "standing": standing,
            "calls": margin_calls.open_of(account.margin_calls),
            "cause": next(iter(default_sales.for_default(standing.debts, now=now)), None),
            "now": now,
            "spans": charts.SPANS,
            "span": charts.USUAL,
            **what_if_context(request, subject.loan, standing, marks),
        },
        request=request,
    )


def pledged(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """
    Return the way to the collateral of a loan that is not owed; nothing where none is pledged.

    It may secure a loss, or other loans of its pool.
    """
    account = subject.margin_account
    if not account.pledges.filter(quantity__gt=0).exists():
        return SafeString("")
    held_back = obligations.holds_back(subject.client, pledged_to=account)
    trigger = account.terms.release_trigger if not held_back and obligations.secures(account) else None
    context = {"loan": subject, "held_back": held_back, "trigger": trigger}
    return render_to_string("portal/back_card.html", context, request=request)


def _awaited(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return what has to arrive before a loan is paid out, and where it goes."""
    sent = previews.awaited(subject, now=now)
    ways = [
        {
            "planned": planned,
            "missing": with_all.missing,
            "coming": sent.coming.get(planned.asset),
            "address": row,
            "late": False,
        }
        for planned, with_all, row in zip(sent.arrived.planned, sent.expected.planned, sent.where.values(), strict=True)
    ]
    context = {
        "loan": subject,
        "preview": sent.arrived,
        "expected": sent.expected,
        "is_coming": sent.is_coming,
        "rows": ways,
        "deposits": sent.transfers,
        "now": now,
    }
    return render_to_string("portal/awaited.html", context, request=request)


def what_if_context(request: HttpRequest, subject: Loan, standing: Standing, marks: Marks) -> dict[str, Any]:
    """Return the form of a question about a loan and, when one was asked, its answer or why there is none."""
    assets = [holding.asset for holding in standing.holdings]
    asked = "move" in request.GET
    form = WhatIfForm(request.GET if asked else None, assets=assets, loan_asset=subject.asset.code)
    outcome, refusal = None, ""
    if asked and form.is_valid():
        try:
            outcome = what_if.imagine(standing.facts, marks, form.change(), loan_asset=subject.asset.code)
        except what_if.UnableToImagine as error:
            refusal = str(error)
    return {"form": form, "outcome": outcome, "refusal": refusal}
