"""Giving other collateral for what one wants back: a page of its own, and a card on the loan's page."""

import uuid
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access, allow_list, approvals, authority, deposits
from lending.models import Asset, DepositAddress, Loan, Pledge, WithdrawalAddress
from lending.portal.doors import SignedIn, borrower_only, signs_for
from lending.portal.views import own_loan
from lending.typed import AddressChoice, Figure
from risk import prices, substitutions


class SubstitutionForm(forms.Form):
    """What is to come back, what is sent for it, and where the first goes."""

    out = forms.ChoiceField(label="I want back")
    quantity = Figure(
        label="How much of it",
        max_digits=38,
        decimal_places=18,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        error_messages={"required": "Say how much you want back.", "invalid": "That is not a number, like 1.25."},
    )
    other = forms.ChoiceField(label="I send for it")
    destination = AddressChoice(label="It goes to", help_text="An address of yours that two persons have allowed.")
    # The figure that the signer had in sight.
    in_quantity = forms.DecimalField(required=False, widget=forms.HiddenInput, max_digits=38, decimal_places=18)

    def __init__(
        self,
        *args: Any,
        pledged: list[Pledge],
        others: list[Asset],
        addresses: list[WithdrawalAddress],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.assets = {asset.code: asset for asset in (*others, *(row.asset for row in pledged))}
        offered = {
            "out": [(row.asset.code, f"{row.asset.code}, {row.quantity.normalize():,f} pledged") for row in pledged],
            "other": [(asset.code, asset.code) for asset in others],
        }
        for name, choices in offered.items():
            self.fields[name].choices = choices  # type: ignore[attr-defined]
        self.fields["destination"].offer(addresses)  # type: ignore[attr-defined]
        for name in (*offered, "destination"):
            self.fields[name].error_messages["required"] = "Choose one."


@require_safe
@borrower_only
def substitute(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show the exchange that is under way, or work one out; as a part of the loan's page, a card."""
    loan = own_loan(request, public_id)
    about = _about(request, loan)
    if request.headers.get("HX-Request"):
        return render(request, "portal/substitution_card.html", about)
    asked = "out" in request.GET
    form = _form(request, loan, request.GET if asked else None) if about["may"] else None
    takes = _takes(request, loan, form) if form and asked and form.is_valid() else None
    return _page(request, about, form, takes=takes, status=422 if form and form.errors else 200)


@require_POST
@borrower_only
def call_off(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Call the exchange that is under way off."""
    loan = own_loan(request, public_id)
    try:
        substitutions.call_off(loan.margin_account, by=request.user, now=request.reading.now)
    except (substitutions.UnableToSubstitute, approvals.UnableToApprove, authority.UnableToSign) as refusal:
        messages.error(request, f"Not called off: {refusal}.")
    else:
        messages.success(request, "Called off. What you have sent for it stays pledged.")
    return redirect("portal_substitute", public_id=public_id)


@require_POST
@borrower_only
def ask(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Ask for an exchange; a form that can not be taken comes back as it was filled in."""
    loan = own_loan(request, public_id)
    access.require_signer(request.user, loan.client)
    about = _about(request, loan)
    form = _form(request, loan, request.POST)
    if not form.is_valid():
        return _page(request, about, form, status=422)
    said = form.cleaned_data
    try:
        asked = substitutions.ask(
            loan.margin_account,
            form.assets[said["out"]],
            said["quantity"],
            form.assets[said["other"]],
            said["in_quantity"] or Decimal(0),
            destination=said["destination"],
            by=request.user,
            now=request.reading.now,
        )
    except (substitutions.UnableToSubstitute, authority.UnableToSign) as refusal:
        form.add_error(None, f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
        return _page(request, about, form, takes=_takes(request, loan, form), status=422)
    if asked is None:
        messages.success(request, "Signed by you. It is asked for once a second person of yours signs it too.")
        return redirect("portal_signatures")
    messages.success(request, "Asked. Send nothing yet: the desk agrees first, and tells you.")
    return redirect("portal_substitute", public_id=loan.public_id)


def _form(request: SignedIn, loan: Loan, data: Any) -> SubstitutionForm:
    now = request.reading.now
    account = loan.margin_account
    usable = [row for row in allow_list.standing(loan.client) if row.usable_at <= now]
    pledged, others = substitutions.pledged(account), substitutions.assets_in(account)
    other = next((asset.code for asset in others if pledged and asset != pledged[0].asset), "")
    return SubstitutionForm(data, pledged=pledged, others=others, addresses=usable, initial={"other": other})


def _takes(request: SignedIn, loan: Loan, form: SubstitutionForm) -> Decimal | None:
    """Return how much of the other asset an exchange takes, or None with an error on the form."""
    said = form.cleaned_data
    out, other = form.assets[said["out"]], form.assets[said["other"]]
    try:
        marks = prices.current(now=request.reading.now)
        return substitutions.worth(loan.margin_account, out, said["quantity"], other, marks=marks)
    except substitutions.UnableToSubstitute as refusal:
        form.add_error(None, f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
        return None


def _about(request: SignedIn, loan: Loan) -> dict[str, Any]:
    now = request.reading.now
    found = substitutions.of_account(loan.margin_account)
    open_one = found if found and found.is_open else None
    agreed = open_one is not None and open_one.approval.checker_id is not None
    signs = signs_for(request, loan.client)
    return {
        "loan": loan,
        "now": now,
        "found": found,
        "agreed": agreed,
        "held_up": substitutions.held_up(open_one, now=now) if open_one and agreed else "",
        "way": _way(loan, open_one, request) if open_one and agreed and open_one.missing else None,
        "signs": signs,
        "may": signs and open_one is None,
    }


def _way(loan: Loan, found: substitutions.Substitution, request: SignedIn) -> dict[str, Any]:
    where = deposits.addresses(loan.margin_account_id, now=request.reading.now)
    return {"address": where.get((DepositAddress.Purpose.COLLATERAL, found.in_asset.code)), "late": False}


def _page(
    request: SignedIn,
    about: dict[str, Any],
    form: SubstitutionForm | None,
    *,
    takes: Decimal | None = None,
    status: int = 200,
) -> HttpResponse:
    return render(request, "portal/substitution.html", {**about, "form": form, "takes": takes}, status=status)
