"""A change of a loan, as its borrower reads, signs or declines it."""

import uuid
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import amendment_letters, amendments, authority, other_terms, panels, term_sheets
from lending.models import Amendment, SigningRule
from lending.other_terms import UnableToAmend
from lending.portal.doors import SignedIn, borrower_only, clients_of, signs_for
from lending.portal.forms import DeclineForm


@require_safe
@borrower_only
def amendment(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show what a change of a loan says: each term now and then, what is left to pay, and the hash that is signed."""
    return _page(request, _own(request, public_id))


@require_POST
@borrower_only
def sign(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Sign a change of a loan for the client."""
    offered = _own(request, public_id)
    try:
        signed = amendments.sign(offered, by=request.user, read=request.POST.get("sheet", ""), now=request.reading.now)
    except (UnableToAmend, PermissionDenied) as refusal:
        messages.error(request, f"Not signed: {refusal}.")
    else:
        if signed.state == Amendment.State.APPROVED:
            messages.success(request, "Signed by you. It holds once a second person of yours signs it too.")
            return redirect("portal_signatures")
        messages.success(request, "Signed. The loan runs by the new version of its term sheet.")
    return redirect("portal_amendment", public_id=public_id)


@require_POST
@borrower_only
def decline(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Turn a change of a loan down for the client."""
    offered = _own(request, public_id)
    form = DeclineForm(request.POST)
    if not form.is_valid():
        return _page(request, offered, decline=form, status=422)
    try:
        amendments.decline(offered, by=request.user, reason=form.cleaned_data["reason"], now=request.reading.now)
    except (UnableToAmend, PermissionDenied) as refusal:
        messages.error(request, f"Not declined: {refusal}.")
    else:
        messages.success(request, "Declined. The loan runs on as before, and your relationship manager sees it.")
    return redirect("portal_amendment", public_id=public_id)


def _own(request: SignedIn, public_id: uuid.UUID) -> Amendment:
    """Return an amendment of the reader's clients that the desk has approved; any other does not exist."""
    loan = ("loan__asset", "loan__product", "loan__margin_account__terms", "loan__margin_account__client")
    named = (*loan, "sheet", "signer", "ended_by", "client__relationship_manager")
    return get_object_or_404(amendments.shown_to(clients_of(request)).select_related(*named), public_id=public_id)


def _page(
    request: SignedIn, shown: Amendment, *, decline: DeclineForm | None = None, status: int = 200
) -> HttpResponse:
    now = request.reading.now
    open_now = shown.state == Amendment.State.APPROVED and now < shown.expires_at
    context: dict[str, Any] = {
        "now": now,
        "row": shown,
        "loan": shown.loan,
        "asset": shown.loan.asset.code,
        "changes": amendment_letters.changes(shown),
        "when": amendment_letters.from_when(shown),
        "schedule": term_sheets.schedule_of(term_sheets.of(shown.sheet)),
        "open": open_now,
        "panels": panels.ladders(request, shown.loan, term_sheets.of(shown.sheet), now=now) if open_now else "",
        "secures": other_terms.named_in(shown.sheet),
        "may_sign": signs_for(request, shown.client),
        "unsigned": amendments.signed_first(shown, now=now) if open_now else None,
        "may_accept": open_now
        and authority.may(
            request.user,
            shown.client,
            SigningRule.Action.ACCEPT,
            asset=shown.loan.asset,
            amount=shown.loan.principal,
        ),
        "decline": decline or DeclineForm(),
    }
    return render(request, "portal/amendment.html", context, status=status)
