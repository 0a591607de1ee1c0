"""What a payment of one's own choice would be for, and what it costs to pay early, before anything is paid."""

import uuid
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from lending import interest, prepayments
from lending.models import Loan
from lending.portal.doors import SignedIn, borrower_only
from lending.portal.views import QUOTE_GOOD, own_loan
from lending.typed import Figure


class EarlyForm(forms.Form):
    """A payment that somebody thinks of; sent by GET."""

    amount = Figure(
        max_digits=38, decimal_places=18, widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        error_messages={"required": "Say how much you would pay.", "invalid": "That is not a number, like 1250.50."},
    )  # fmt: skip

    def __init__(self, *args: Any, loan: Loan, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loan = loan
        self.fields["amount"].label = f"Amount in {loan.asset.code}"

    def clean_amount(self) -> Any:
        """Refuse what could not be paid."""
        amount, places = self.cleaned_data["amount"], self._loan.asset.decimals
        if amount <= 0:
            raise forms.ValidationError("The amount must be more than zero.")
        if amount != round(amount, places):
            raise forms.ValidationError(f"{self._loan.asset.code} has at most {places} decimal places.")
        return amount


@require_safe
@borrower_only
def prepayment(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show what pays a loan off early, as a part of its page, and on a page of its own what another amount pays."""
    shown, now = own_loan(request, public_id), request.reading.now
    owed, later = (found[shown.pk] for found in interest.payoffs_at([shown], now, now + QUOTE_GOOD))
    closing, quote = prepayments.paid_off(shown, owed, later)
    context = {
        "now": now, "loan": shown, "asset": shown.asset.code, "closing": closing, "quote": quote,
        # What a prepayment costs may fall by then, or go: good is what is enough at any instant between.
        "enough": max(closing.total, quote.total),
        "part": bool(request.headers.get("HX-Request")),
    }  # fmt: skip
    if not owed.total:
        return render(request, "portal/prepayment.html", context | {"closing": None})
    if context["part"]:
        return render(request, "portal/paid_off.html", context)
    form = EarlyForm(request.GET or None, loan=shown)
    split = prepayments.foreseen(shown, form.cleaned_data["amount"], closing) if form.is_valid() else None
    context |= {"form": form, "split": split}
    return render(request, "portal/prepayment.html", context, status=422 if form.errors else 200)
