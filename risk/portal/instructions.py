"""Reserving a cure in advance: a page of its own, and a card on the loan's page."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access, authority
from lending.models import Loan
from lending.portal.doors import SignedIn, borrower_only, signs_for
from lending.portal.views import own_loan
from lending.typed import Figure
from risk import cures, instructions, margin_calls
from risk.instructions import Choice
from risk.models import MarginCall


class InstructionForm(forms.Form):
    """Up to how much of what is used when the loan is called."""

    asset = forms.ChoiceField(label="Use", error_messages={"required": "Choose what to use."})
    quantity = Figure(
        label="Up to, in all",
        max_digits=38,
        decimal_places=18,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        error_messages={"required": "Say up to how much.", "invalid": "That is not a number, like 1.25."},
    )

    def __init__(self, *args: Any, found: list[Choice], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.assets = {row.asset.code: row.asset for row in found}
        self.fields["asset"].choices = [  # type: ignore[attr-defined]
            (
                row.asset.code,
                f"{row.asset.code} {'to repay' if row.cash else 'as collateral'}, up to {row.most.normalize():,f}",
            )
            for row in found
        ]


@require_safe
@borrower_only
def reserved(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show what is set aside for a loan's calls, and the form that changes it; as a part of the loan's page, a card."""
    loan = own_loan(request, public_id)
    if request.headers.get("HX-Request"):
        rows = instructions.of_account(loan.margin_account)
        context = {"loan": loan, "rows": rows, "cash": cures.asked_in(loan.margin_account_id) if rows else None}
        context["signs"] = signs_for(request, loan.client)
        return render(request, "portal/instructions_card.html", context)
    return _page(request, loan)


@require_POST
@borrower_only
def give(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Give an instruction, or change it; a form that can not be taken comes back as it was filled in."""
    loan = own_loan(request, public_id)
    access.require_signer(request.user, loan.client)
    rows = instructions.of_account(loan.margin_account)
    form = InstructionForm(request.POST, found=instructions.choices(loan, rows))
    if not form.is_valid():
        return _page(request, loan, form, status=422)
    said = form.cleaned_data
    try:
        instructions.give(loan, form.assets[said["asset"]], said["quantity"], by=request.user, now=request.reading.now)
    except (instructions.UnableToInstruct, authority.UnableToSign) as refusal:
        form.add_error(None, f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
        return _page(request, loan, form, status=422)
    messages.success(request, "Set aside. It is used as soon as this loan is called, and for nothing else.")
    return redirect("portal_reserved", public_id=public_id)


@require_POST
@borrower_only
def take_back(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Take an instruction back."""
    loan = own_loan(request, public_id)
    access.require_signer(request.user, loan.client)
    try:
        instructions.take_back(loan, request.POST.get("instruction", ""), by=request.user, now=request.reading.now)
    except (instructions.UnableToInstruct, authority.UnableToSign) as refusal:
        messages.error(request, f"Not taken back: {refusal}.")
    else:
        messages.success(request, "Taken back. What was set aside is free again.")
    return redirect("portal_reserved", public_id=public_id)


def _page(request: SignedIn, loan: Loan, form: InstructionForm | None = None, *, status: int = 200) -> HttpResponse:
    rows = instructions.of_account(loan.margin_account)
    found = instructions.choices(loan, rows)
    context = {
        "now": request.reading.now,
        "loan": loan,
        "rows": rows,
        "cash": next((choice.asset for choice in found if choice.cash), None),
        "signs": signs_for(request, loan.client),
        "calls": margin_calls.open_of(MarginCall.objects.filter(margin_account=loan.margin_account_id)),
        "form": form or InstructionForm(found=found),
    }
    return render(request, "portal/instructions.html", context, status=status)
