"""Collateral back: what a client's signers ask the desk for, signed as its matrix says."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from lending import access, allow_list, authority, obligations
from lending.models import Approval, Loan, Pledge, WithdrawalAddress
from lending.portal.doors import SignedIn, borrower_only, signs_for
from lending.portal.views import own_loan
from lending.typed import AddressChoice, Figure
from risk import releases, substitutions

_REFUSALS = (releases.UnableToAsk, authority.UnableToSign)


class BackForm(forms.Form):
    """How much of which collateral goes back, and where to."""

    asset = forms.ChoiceField(label="I want back", error_messages={"required": "Choose one."})
    quantity = Figure(
        label="How much of it", max_digits=38, decimal_places=18,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        error_messages={"required": "Say how much you want back.", "invalid": "That is not a number, like 1.25."},
    )  # fmt: skip
    destination = AddressChoice(label="It goes to", error_messages={"required": "Choose an address."})

    def __init__(self, *args: Any, pledged: list[Pledge], usable: list[WithdrawalAddress], **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "back_%s", **kwargs})
        self.assets = {row.asset.code: row.asset for row in pledged}
        held = [(row.asset.code, f"{row.asset.code}, {row.quantity.normalize():,f} pledged") for row in pledged]
        self.fields["asset"].choices = held  # type: ignore[attr-defined]
        self.fields["destination"].offer(usable)  # type: ignore[attr-defined]


@require_http_methods(["GET", "HEAD", "POST"])
@borrower_only
def going_back(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show what may go back and where to, and ask for some of it."""
    loan, now = own_loan(request, public_id), request.reading.now
    wanted = request.method == "POST"
    if wanted:
        access.require_signer(request.user, loan.client)
    pledged = substitutions.pledged(loan.margin_account)
    addresses = list(allow_list.standing(loan.client))
    usable = [row for row in addresses if row.usable_at <= now]
    back = BackForm(request.POST if wanted else None, pledged=pledged, usable=usable)
    if wanted and back.is_valid():
        try:
            asked = _asked(request, loan, back)
        except _REFUSALS as refusal:
            back.add_error(None, f"Not asked: {refusal}.")
        else:
            return _answered(request, loan, asked)
    held_back = obligations.holds_back(loan.client, pledged_to=loan.margin_account) if pledged else ""
    context = {
        "now": now, "loan": loan, "pledged": pledged, "addresses": addresses, "usable": usable, "back": back,
        "signs": signs_for(request, loan.client), "waiting": releases.waiting(loan.margin_account),
        "named": allow_list.waiting(loan.client, now=now), "held_back": held_back,
    }  # fmt: skip
    return render(request, "portal/back.html", context, status=422 if wanted else 200)


def _asked(request: SignedIn, loan: Loan, form: BackForm) -> Approval | None:
    said = form.cleaned_data
    return releases.ask_as_client(
        loan.margin_account, form.assets[said["asset"]], said["quantity"], destination=said["destination"],
        by=request.user, now=request.reading.now,
    )  # fmt: skip


def _answered(request: SignedIn, loan: Loan, asked: Approval | None) -> HttpResponse:
    if asked is None:
        messages.success(request, "Signed by you. It is asked for once a second person of yours signs it too.")
        return redirect("portal_signatures")
    messages.success(request, "Asked. A person at the desk decides it; this page shows what became of it.")
    return redirect("portal_back", public_id=loan.public_id)
