"""The borrower's pages: what do I owe, how safe am I, what must I do."""

import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, Window
from django.db.models.functions import RowNumber
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import (
    access,
    amendments,
    authority,
    deposits,
    draws,
    interest,
    lapses,
    ledger,
    loans,
    obligations,
    offers,
    outlook,
    panels,
    prepayments,
    recalls,
    repayments,
    resets,
    schedules,
    term_sheets,
    workouts,
)
from lending.engine import money
from lending.engine.chart import AccountKind
from lending.engine.entries import AccountKey
from lending.models import (
    LOSS_OPEN,
    Client,
    DepositAddress,
    Loan,
    LoanState,
    MarginAccount,
    Notice,
    Pledge,
    SigningRule,
)
from lending.papers import files
from lending.portal.doors import SignedIn, borrower_only, clients_of, signs_for
from lending.portal.forms import DeclineForm, RepaymentForm

QUOTE_GOOD = timedelta(hours=1)
_NOTICES = 5
_DUE = 50
_NEXT = 3  # of a client
_INSTANTS = ("expires_at", "from_at")  # of a change


@require_safe
@borrower_only
def home(request: SignedIn) -> HttpResponse:
    """Show every client of the reader: debts, safety, duties."""
    now = request.reading.now
    clients = clients_of(request)
    # An offer that came to nothing is gone from here, unless it alone leads to the collateral that was sent for it.
    pledged = Pledge.objects.filter(margin_account=OuterRef("margin_account"), quantity__gt=0)
    leads_there = ~Q(state=LoanState.CANCELLED) | Q(pk__gt=OuterRef("pk"))
    others = Loan.objects.filter(leads_there, margin_account=OuterRef("margin_account")).exclude(pk=OuterRef("pk"))
    kept = ~Q(state=LoanState.CANCELLED) | Exists(pledged) & ~Exists(others)
    rows = Loan.objects.filter(kept, client__in=clients)
    whole = rows.select_related("asset", "product", "margin_account__terms", "margin_account__client")
    shown = list(draws.beside(workouts.beside(amendments.beside(whole))).order_by(loans.END, "pk"))
    payoffs = interest.payoffs([loan for loan in shown if _owes(loan)], now=now)
    subjects = [
        panels.Indebted(
            client,
            [(loan, payoffs[loan.pk]) for loan in shown if loan.client_id == client.pk and _owes(loan)],
            awaited=[loan for loan in shown if loan.client_id == client.pk and _awaited(loan, now)],
        )
        for client in clients
    ]
    margins = panels.render_each("portal.home", request, subjects, now=now)
    told = _newest_notices(clients)
    due = list(obligations.ahead(clients)[:_DUE])
    parts = [
        _summary(subject, [loan for loan in shown if loan.client_id == subject.client.pk], now=now)
        | {
            "margin": margin,
            "notices": [notice for notice in told if notice.client_id == subject.client.pk],
            "due": [row for row in due if row.client_id == subject.client.pk][:_NEXT],
        }
        for subject, margin in zip(subjects, margins, strict=True)
    ]
    context = {"now": now, "page": "home", "clients": parts, "unsigned": _unsigned(request, now)}
    return render(request, "portal/home.html", context)


def _unsigned(request: SignedIn, now: datetime) -> list[dict[str, Any]]:
    """Return what waits for a second signature of the reader's clients, as the door has read it."""
    found: list[dict[str, Any]] = [told for row in request.acts_for for told in row.unsigned]  # type: ignore[attr-defined]
    read = [
        {**told, **{name: datetime.fromisoformat(told[name]) for name in ("first_at", "expires_at")}} for told in found
    ]
    return [told for told in read if told["expires_at"] > now]


def _awaited(loan: Loan, now: datetime) -> bool:
    """Return whether a loan waits for its borrower: an offer to decide, collateral to send, or a draw to sign."""
    offered = loan.state == LoanState.QUOTED and loan.quoted_until > now
    proposed = loan.proposed is not None  # type: ignore[attr-defined]
    return offered or proposed or loan.state == LoanState.COLLATERAL_PENDING


def _owes(loan: Loan) -> bool:
    return loan.principal_outstanding + loan.interest_due + loan.fees_due > 0


def _newest_notices(clients: list[Client]) -> list[Notice]:
    """Return the newest notices of each client, in one query however many clients there are."""
    place = Window(RowNumber(), partition_by="client", order_by=("-created_at", "-pk"))
    found = Notice.objects.filter(client__in=clients).alias(place=place).filter(place__lte=_NOTICES)
    return list(found.order_by("-created_at", "-pk"))


def _summary(subject: panels.Indebted, shown: list[Loan], *, now: datetime) -> dict[str, Any]:
    """Return what a client owes, what is offered, and the rest of their loans; `shown` by maturity."""
    owed: dict[str, Decimal] = {}
    with money.exact():
        for loan, payoff in subject.debts:
            owed[loan.asset.code] = owed.get(loan.asset.code, money.ZERO) + payoff.total
    return {
        "client": subject.client,
        "owed": sorted(owed.items()),
        "changes": _changes(shown),
        "broken": [loan for loan in shown if loan.unpaid],  # type: ignore[attr-defined]
        "others": [loan for loan in shown if not _owes(loan)],
    }


def _changes(shown: list[Loan]) -> list[dict[str, Any]]:
    """Return the changes of some loans that wait for a signature, or for their day, the first to end on top."""
    known = [(loan, loan.amendment or {}) for loan in shown]  # type: ignore[attr-defined]
    found = [
        {**told, "loan": loan, **{name: told[name] and datetime.fromisoformat(told[name]) for name in _INSTANTS}}
        for loan, told in known
        if told.get("state") in amendments.SHOWN
    ]
    return sorted(found, key=lambda told: told["expires_at"])


def own_loan(request: SignedIn, public_id: uuid.UUID) -> Loan:
    """Return a loan of the reader's clients; anybody else's does not exist."""
    mine = Loan.objects.filter(client__in=clients_of(request))
    whole = mine.select_related(
        "client__relationship_manager", "asset", "product", "margin_account__terms", "margin_account__client",
        "margin_account__pledge_terms",
        "accepted_by", "origin",
    )  # fmt: skip
    return get_object_or_404(amendments.beside(term_sheets.beside(whole)), public_id=public_id)


@require_safe
@borrower_only
def loan(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show one loan; a page that refreshes itself and was made for another state of it (`as`) is read anew."""
    shown = own_loan(request, public_id)
    answer = _loan_page(request, shown)
    if request.headers.get("HX-Request") and request.GET.get("as", shown.state) != shown.state:
        answer["HX-Refresh"] = "true"
    return answer


def free_balance(loan: Loan) -> Decimal:
    """Return what a loan's client has in its asset that is owed to nobody."""
    return -ledger.balance(AccountKey(AccountKind.CLIENT_FREE, loan.asset.code, client_id=loan.client_id))


def _loan_page(
    request: SignedIn,
    shown: Loan,
    *,
    form: RepaymentForm | None = None,
    decline: DeclineForm | None = None,
    status: int = 200,
) -> HttpResponse:
    now = request.reading.now
    unpaid = workouts.loss_of(shown).unpaid if shown.state in LOSS_OPEN else Decimal(0)
    owing = _in_debt_with(shown)
    payoffs, quotes = interest.payoffs_at(owing, now, now + QUOTE_GOOD)
    payoff = payoffs.get(shown.pk)
    subject = panels.Indebted(shown.client, [(loan, payoffs[loan.pk]) for loan in owing], shown)
    signer = signs_for(request, shown.client)
    owed = payoff.total if payoff else unpaid
    free = free_balance(shown) if owed and signer else Decimal(0)
    if form is None and owed and signer and free > 0:
        form = RepaymentForm(loan=shown, free=free, owed=owed)
    addresses = DepositAddress.objects.filter(deposits.SHOWN, margin_account=shown.margin_account)
    waits = shown.state == LoanState.COLLATERAL_PENDING
    offered = shown.state == LoanState.QUOTED and shown.quoted_until > now
    unsigned = authority.waiting([shown.client], now=now).filter(loan=shown).first() if offered else None
    return render(
        request,
        "portal/loan.html",
        {
            "now": now,
            "loan": shown,
            "payoff": payoff,
            "unpaid": unpaid,
            "quote": quotes.get(shown.pk),
            # Of a loan that was paid out it is rows, and fetched by itself.
            "schedule": _schedule(shown, now) if shown.start_at is None else None,
            "free": free,
            "form": form,
            "decline": decline or DeclineForm(),
            "may_sign": signer,
            "would_end_on": recalls.end_date(shown, now=now) if _runs_on(shown) else None,
            "open": offered,
            "unsigned": unsigned,
            "ends_at": lapses.ends_at(shown),
            "may_accept": signer
            and offered
            and authority.may(
                request.user, shown.client, SigningRule.Action.ACCEPT, asset=shown.asset, amount=shown.principal
            ),
            "margin": panels.render("portal.loan", request, subject, now=now) if payoff or waits else "",
            "pledged": "" if payoff or waits else panels.render("portal.loan.pledged", request, shown, now=now),
            "addresses": addresses.select_related("asset").order_by("purpose", "asset__code"),
        },
        status=status,
    )


def _in_debt_with(loan: Loan) -> list[Loan]:
    """Return what is owed on a loan's margin account: of an account of its own, the loan."""
    if loan.margin_account.kind == MarginAccount.Kind.POOL:
        return interest.in_debt(loan.margin_account.loans.all())
    return [loan] if _owes(loan) else []


def _runs_on(loan: Loan) -> bool:
    return loan.state == LoanState.ACTIVE and not loan.has_fixed_end


@require_safe
@borrower_only
def payments(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show what a loan is to pay and when: the part of its page that is fetched by itself, or a page of its own."""
    shown, now = own_loan(request, public_id), request.reading.now
    context = {"now": now, "loan": shown, "schedule": _schedule(shown, now), "obligations": obligations.near(shown)}
    part = request.headers.get("HX-Request")
    return render(request, "portal/schedule.html" if part else "portal/schedule_page.html", context)


@require_safe
@borrower_only
def rate(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show how a loan comes by its rate, and what is still to be paid: the part of its page or a page of its own."""
    shown, now = own_loan(request, public_id), request.reading.now
    runs = shown.floats and shown.start_at is not None and shown.state in interest.ACCRUING
    context = {
        "now": now, "loan": shown, "asset": shown.asset.code, "steps": resets.history(shown),
        "ahead": outlook.ahead(shown, now=now) if runs else [],
    }  # fmt: skip
    part = request.headers.get("HX-Request")
    return render(request, "components/rate.html" if part else "portal/rate_page.html", context)


def _schedule(shown: Loan, now: datetime) -> schedules.Schedule | None:
    """Return what falls due when, as signed; None for an offer whose maturity has passed."""
    try:
        return schedules.of_loan(shown, now=now)
    except schedules.UnableToSchedule:
        return None


@require_POST
@borrower_only
def accept(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Accept a quoted loan for the client."""
    quoted = own_loan(request, public_id)
    try:
        accepted = offers.accept(quoted, by=request.user, read=request.POST.get("sheet", ""), now=request.reading.now)
    except (loans.UnableToMove, PermissionDenied) as refusal:
        messages.error(request, f"Not accepted: {refusal}.")
    else:
        if accepted.state == LoanState.QUOTED:
            messages.success(request, "Signed by you. It is accepted once a second person of yours signs it too.")
            return redirect("portal_loan", public_id=public_id)
        messages.success(request, "Accepted. The desk now checks it and tells you where to send the collateral.")
    return redirect("portal_loan", public_id=public_id)


@require_safe
@borrower_only
def term_sheet(request: SignedIn, public_id: uuid.UUID, version: int) -> HttpResponse:
    """Hand out a version of a loan's term sheet as a PDF."""
    sheets = term_sheets.known_to_client(own_loan(request, public_id))
    return files.of_term_sheet(get_object_or_404(sheets, version=version))


@require_POST
@borrower_only
def decline(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Turn an offer down for the client."""
    offered = own_loan(request, public_id)
    form = DeclineForm(request.POST)
    if not form.is_valid():
        return _loan_page(request, offered, decline=form, status=422)
    try:
        offers.decline(offered, by=request.user, reason=form.cleaned_data["reason"], now=request.reading.now)
    except (loans.UnableToMove, PermissionDenied) as refusal:
        messages.error(request, f"Not declined: {refusal}.")
    else:
        messages.success(request, "Declined. Your relationship manager sees it; nothing is owed.")
    return redirect("portal_loan", public_id=public_id)


@require_POST
@borrower_only
def repay(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Repay out of the client's free balance; the form's token makes it happen once."""
    now = request.reading.now
    owed = own_loan(request, public_id)
    access.require_signer(request.user, owed.client)
    broken = owed.state in LOSS_OPEN
    total = workouts.loss_of(owed).unpaid if broken else _payoff(owed, now)
    form = RepaymentForm(request.POST, loan=owed, free=free_balance(owed), owed=total)
    if not form.is_valid():
        return _loan_page(request, owed, form=form, status=422)
    amount = form.cleaned_data["amount"]
    try:
        authority.require(request.user, owed.client, SigningRule.Action.REPAY, asset=owed.asset, amount=amount)
        key = f"portal:{owed.public_id}:{form.cleaned_data['token']}"
        if broken:
            workouts.recover(owed, amount, key=key, now=now, actor=request.user)
        else:
            repayments.record(owed, amount, key=key, received_at=now, now=now, actor=request.user)
    except (repayments.UnableToRepay, authority.UnableToSign) as refusal:
        form.add_error("amount", str(refusal))
        return _loan_page(request, owed, form=form, status=422)
    messages.success(request, "Paid. The debt below already counts it.")
    return redirect("portal_loan", public_id=public_id)


def _payoff(owed: Loan, now: datetime) -> Decimal:
    return prepayments.paid_off(owed, interest.payoff(owed, now=now))[0].total


@require_POST
@borrower_only
def give_notice(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """End a loan without a fixed end for the client, with the notice of its terms."""
    running = own_loan(request, public_id)
    try:
        ended = recalls.give_notice(running, by=request.user, now=request.reading.now)
    except (recalls.UnableToRecall, PermissionDenied) as refusal:
        messages.error(request, f"No notice given: {refusal}.")
    else:
        messages.success(request, f"Notice given: the loan ends on {ended.ends_on:%d %b %Y}.")
    return redirect("portal_loan", public_id=public_id)


@require_safe
@borrower_only
def notices(request: SignedIn) -> HttpResponse:
    """Show what the reader's clients were told, and what proves it."""
    mine = Notice.objects.filter(client__in=clients_of(request))
    found = mine.select_related("client").prefetch_related("deliveries", "margin_account__loans")
    found = found.order_by("-created_at", "-pk")[:100]
    return render(request, "portal/notices.html", {"now": request.reading.now, "page": "notices", "notices": found})
