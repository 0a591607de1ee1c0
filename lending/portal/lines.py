"""A revolving line as its borrower has it: what is drawn, what is available, and a draw to be asked for."""

import uuid
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from lending import authority, draws
from lending.models import Draw, Loan
from lending.portal.doors import SignedIn, borrower_only, signs_for
from lending.portal.views import own_loan
from lending.typed import Figure

_SHOWN = 20


class DrawForm(forms.Form):
    """How much of a line its client wants."""

    amount = Figure(
        max_digits=38, decimal_places=18, widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        error_messages={"required": "Say how much you want.", "invalid": "That is not a number, like 25000."},
    )  # fmt: skip

    def __init__(self, *args: Any, asset: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].label = f"Amount in {asset}"


@require_http_methods(["GET", "HEAD", "POST"])
@borrower_only
def line(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show a line, as a part of its loan's page or a page of its own; ask for a draw."""
    shown = own_loan(request, public_id)
    asked = request.method == "POST"
    form = DrawForm(request.POST if asked else None, asset=shown.asset.code)
    if asked and form.is_valid():
        amount: Decimal = form.cleaned_data["amount"]
        try:
            row = draws.ask(shown, amount, by=request.user, now=request.reading.now)
        except (draws.UnableToDraw, authority.UnableToSign) as refusal:
            form.add_error("amount", f"Not asked: {refusal}.")
        else:
            return _answered(request, shown, whole=row is not None)
    return _shown(request, shown, form)


def _answered(request: SignedIn, shown: Loan, *, whole: bool) -> HttpResponse:
    if not whole:
        messages.success(request, "Signed by you. It is asked for once a second person of yours signs it too.")
        return redirect("portal_signatures")
    messages.success(request, "Asked: the desk checks the collateral at the marks of the moment, and pays it out.")
    return redirect("portal_loan", public_id=shown.public_id)


@require_POST
@borrower_only
def sign(request: SignedIn, public_id: uuid.UUID, draw: uuid.UUID) -> HttpResponse:
    """Sign the draw that the client's manager has proposed."""
    shown = own_loan(request, public_id)
    row = get_object_or_404(shown.draws, public_id=draw)
    try:
        row = draws.agree(row, by=request.user, now=request.reading.now)
    except (draws.UnableToDraw, PermissionDenied) as refusal:
        messages.error(request, f"Not signed: {refusal}.")
        return redirect("portal_loan", public_id=public_id)
    return _answered(request, shown, whole=row.state == Draw.State.REQUESTED)


@require_POST
@borrower_only
def drop(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Drop the draw that waits."""
    try:
        draws.drop_waiting(own_loan(request, public_id), by=request.user, now=request.reading.now)
    except (draws.UnableToDraw, PermissionDenied) as refusal:
        messages.error(request, f"Not dropped: {refusal}.")
    else:
        messages.success(request, "Dropped: it is not paid out.")
    return redirect("portal_loan", public_id=public_id)


def _shown(request: SignedIn, shown: Loan, form: DrawForm) -> HttpResponse:
    now = request.reading.now
    rows = list(shown.draws.select_related("asked_by", "signed_by").order_by("-pk")[:_SHOWN])
    context = {
        "now": now,
        "loan": shown,
        "available": draws.available(shown),
        "rows": rows,
        "waits": next((row for row in rows if row.state in (Draw.State.PROPOSED, Draw.State.REQUESTED)), None),
        "unsigned": draws.signed_first(shown, now=now),
        "form": form,
        "may_sign": signs_for(request, shown.client),
    }
    part = request.headers.get("HX-Request")
    status = 422 if form.errors else 200
    return render(request, "portal/line.html" if part else "portal/line_page.html", context, status=status)
