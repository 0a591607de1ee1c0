"""What risk adds to pages that lending has for staff: where a loan's ladder stands, and its open calls."""

import contextlib
from datetime import datetime

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lending import access, corrections
from lending.models import Approval, Loan
from lending.panels import OtherLadder
from lending.staff import roles
from risk import margin_calls, positions, reserved_cures


def staff_loan(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return where a loan stands, and what it owes, for staff who may know margin triggers; nothing for a trader."""
    if not roles(request) & access.SEES_EVERY_CLIENT and subject.client.relationship_manager_id != request.user.pk:
        return SafeString("")
    account = subject.margin_account
    standing = positions.standing(account, now=now)
    return render_to_string(
        "admin/standing.html",
        {
            "standing": standing,
            # Without a debt there is no LTV to judge: an offer is neither healthy nor anything else.
            "lent": subject.start_at is not None or bool(standing.debts),
            "loan": subject,
            "payoff": next((payoff for loan, payoff in standing.debts if loan.pk == subject.pk), None),
            "asset": subject.asset.code,
            "calls": margin_calls.open_of(reserved_cures.beside(account.margin_calls)),
            "now": now,
        },
        request=request,
    )


def other_ladder(request: HttpRequest, subject: OtherLadder, *, now: datetime) -> SafeString:
    """Return at which prices each level of a ladder is met, of the one that holds and of one that is wanted."""
    standing = positions.standing(subject.account, now=now)
    known = standing.prices
    after = (
        [rung.prices for rung in positions.rungs_of(subject.wanted, standing.facts.position, known)] if known else []
    )
    levels = zip(standing.rungs, subject.wanted.levels, after or [()] * len(standing.rungs), strict=True)
    assets = [holding.asset for holding in standing.holdings if holding.quantity]
    rows = [(rung, wanted, list(zip(rung.prices, prices, strict=False))) for rung, (_, wanted), prices in levels]
    context = {"standing": standing, "rows": rows, "assets": assets, "now": now}
    return render_to_string("components/other_ladder.html", context, request=request)


def approval(request: HttpRequest, subject: Approval, *, now: datetime) -> SafeString:
    """
    Return where the account stands that a request is about: its call, its loans, its LTV; nothing without one.

    An open correction shows what it would change instead, and leads to the loan.
    """
    if subject.kind in corrections.KINDS and subject.state == Approval.State.REQUESTED:
        return SafeString("")
    about = {
        "margin_account": "margin_account__public_id",
        "call": "margin_account__margin_calls__public_id",
        "loan": "public_id",
    }
    named = {about[name]: value for name, value in subject.payload.items() if name in about}
    found: Loan | None = None
    if named:
        with contextlib.suppress(ValidationError):  # what it names is none of ours
            loans = Loan.objects.filter(**named).select_related(
                "client", "asset", "margin_account__terms", "margin_account__client"
            )
            found = loans.order_by("pk").first()
    if found is None:
        return SafeString("")
    title = format_html(
        '<p class="plimsoll"><a href="{}">Loan of {}</a>, where it stands now:</p>',
        reverse("admin:lending_loan_change", args=[found.pk]),
        found.client,
    )
    return title + staff_loan(request, found, now=now)
