"""The borrower's pages: what do I owe, how safe am I, what must I do."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access, clock, interest, ledger, loans, panels, repayments
from lending.engine.chart import AccountKind
from lending.engine.entries import AccountKey
from lending.models import Client, Deposit, DepositAddress, Loan, LoanState, Notice
from lending.portal.doors import SignedIn, borrower_only
from lending.portal.forms import RepaymentForm

_OVER = (LoanState.CANCELLED, LoanState.CLOSED, LoanState.REPAID, LoanState.WRITTEN_OFF, LoanState.RECOVERED)
_NOT_OWED_YET = (LoanState.QUOTED, LoanState.ACCEPTED, LoanState.APPROVED, LoanState.COLLATERAL_PENDING)


@require_safe
@borrower_only
def home(request: SignedIn) -> HttpResponse:
    """Show every client of the reader: debts, safety, duties."""
    now = clock.now()
    clients = list(access.own_clients(request.user).order_by("name"))
    return render(
        request,
        "portal/home.html",
        {"now": now, "page": "home", "clients": [_summary(request, client, now) for client in clients]},
    )


def _summary(request: SignedIn, client: Client, now: datetime) -> dict[str, Any]:
    rows = Loan.objects.filter(client=client).select_related("asset", "product").order_by("maturity_date", "pk")
    shown = sorted((loan for loan in rows if loan.state != LoanState.CANCELLED), key=lambda loan: loan.state in _OVER)
    running = [loan for loan in shown if loan.state not in (*_OVER, *_NOT_OWED_YET)]
    payoffs = interest.payoffs(running, now=now)
    owed: dict[str, Decimal] = {}
    for loan in running:
        owed[loan.asset.code] = owed.get(loan.asset.code, Decimal(0)) + payoffs[loan.pk].total
    return {
        "client": client,
        "owed": sorted(owed.items()),
        "loans": [(loan, payoffs.get(loan.pk)) for loan in shown],
        "quotes": [loan for loan in shown if loan.state == LoanState.QUOTED and loan.quoted_until > now],
        "safety": panels.render("portal.home.safety", request, client, now=now),
        "duties": panels.render("portal.home.duties", request, client, now=now),
        "next_maturity": next(iter(running), None),
        "notices": Notice.objects.filter(client=client).order_by("-created_at", "-pk")[:5],
    }


def _own_loan(request: SignedIn, public_id: uuid.UUID) -> Loan:
    """Return a loan of the reader's clients; anybody else's does not exist."""
    mine = Loan.objects.filter(client__in=access.own_clients(request.user))
    return get_object_or_404(mine.select_related("client", "asset", "product", "margin_account"), public_id=public_id)


@require_safe
@borrower_only
def loan(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show one loan."""
    return _loan_page(request, _own_loan(request, public_id), now=clock.now())


def _free_balance(loan: Loan) -> Decimal:
    return -ledger.balance(AccountKey(AccountKind.CLIENT_FREE, loan.asset.code, client_id=loan.client_id))


def _loan_page(
    request: SignedIn, shown: Loan, *, now: datetime, form: RepaymentForm | None = None, status: int = 200
) -> HttpResponse:
    owing = shown.start_at is not None and shown.state not in _OVER
    payoff = interest.payoff(shown, now=now) if owing else None
    free = _free_balance(shown) if payoff else Decimal(0)
    signer = access.may_sign(request.user, shown.client)
    if form is None and payoff and signer and free > 0:
        form = RepaymentForm(loan=shown, free=free, owed=payoff.total)
    account = shown.margin_account
    return render(
        request,
        "portal/loan.html",
        {
            "now": now,
            "loan": shown,
            "payoff": payoff,
            "free": free,
            "form": form,
            "may_sign": signer,
            "may_accept": signer and shown.state == LoanState.QUOTED and shown.quoted_until > now,
            "margin": panels.render("portal.loan", request, shown, now=now) if owing else "",
            "repayments": shown.repayments.annotate(cost=F("fees") + F("interest")).order_by("-received_at", "-pk"),
            "movements": account.movements.select_related("asset").order_by("-effective_at", "-pk")[:50],
            "addresses": DepositAddress.objects.filter(margin_account=account)
            .select_related("asset")
            .order_by("purpose", "asset__code"),
            "deposits": deposits_of(account.pk),
            "events": shown.events.order_by("-happened_at", "-pk"),
        },
        status=status,
    )


def deposits_of(margin_account_id: int) -> list[Deposit]:
    """Return the newest transfers to a margin account's addresses, with the confirmations that each needs."""
    rows = Deposit.objects.filter(address__margin_account=margin_account_id).select_related("asset", "address")
    found = list(rows.prefetch_related("asset__networks").order_by("-seen_at", "-pk")[:20])
    for deposit in found:
        deposit.needed = max((network.confirmations for network in deposit.asset.networks.all()), default=0)  # type: ignore[attr-defined]
    return found


@require_POST
@borrower_only
def accept(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Accept a quoted loan for the client."""
    quoted = _own_loan(request, public_id)
    try:
        loans.accept(quoted, by=request.user, now=clock.now())
    except (loans.UnableToMove, PermissionDenied) as refusal:
        messages.error(request, f"Not accepted: {refusal}.")
    else:
        messages.success(request, "Accepted. The desk now checks it and tells you where to send the collateral.")
    return redirect("portal_loan", public_id=public_id)


@require_POST
@borrower_only
def repay(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Repay out of the client's free balance; the form's token makes it happen once."""
    now = clock.now()
    owed = _own_loan(request, public_id)
    access.require_signer(request.user, owed.client)
    payoff = interest.payoff(owed, now=now)
    form = RepaymentForm(request.POST, loan=owed, free=_free_balance(owed), owed=payoff.total)
    if not form.is_valid():
        return _loan_page(request, owed, now=now, form=form, status=422)
    try:
        repayments.record(
            owed,
            form.cleaned_data["amount"],
            key=f"portal:{owed.public_id}:{form.cleaned_data['token']}",
            received_at=now,
            now=now,
            actor=request.user,
        )
    except repayments.UnableToRepay as refusal:
        form.add_error("amount", str(refusal))
        return _loan_page(request, owed, now=now, form=form, status=422)
    messages.success(request, "Paid. The debt below already counts it.")
    return redirect("portal_loan", public_id=public_id)


@require_safe
@borrower_only
def notices(request: SignedIn) -> HttpResponse:
    """Show what the reader's clients were told, and what proves it."""
    mine = Notice.objects.filter(client__in=access.own_clients(request.user))
    found = mine.select_related("client").prefetch_related("deliveries").order_by("-created_at", "-pk")[:100]
    return render(request, "portal/notices.html", {"now": clock.now(), "page": "notices", "notices": found})
