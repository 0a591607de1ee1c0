"""Disputing a figure that a margin call rests on: a page of its own, and a card on the call's page."""

import uuid
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access, authority
from lending.portal.doors import SignedIn, borrower_only, signs_for
from lending.templatetags.plimsoll import plain
from lending.typed import Figure
from risk import disputes
from risk.disputes import Input
from risk.models import Dispute, MarginCall
from risk.portal.views import own_call


class DisputeForm(forms.Form):
    """Which figure is wrong, what it should be, and why."""

    figure = forms.ChoiceField(label="What is wrong", error_messages={"required": "Choose the figure that is wrong."})
    claimed = Figure(
        label="What it should be",
        max_digits=38,
        decimal_places=18,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        help_text="In USD, or in units of the asset for a quantity.",
        error_messages={"required": "Say what it should be.", "invalid": "That is not a number, like 1250.50."},
    )
    statement = forms.CharField(
        label="Why",
        max_length=disputes.TEXT_LENGTH,
        widget=forms.Textarea(attrs={"rows": 4}),
        error_messages={"required": "Say why: the desk answers to it."},
    )

    def __init__(self, *args: Any, figures: list[Input], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._by_key = {_key(figure): figure for figure in figures}
        choices = [(key, f"{_words(figure)}: {_amount(figure)}") for key, figure in self._by_key.items()]
        self.fields["figure"].choices = choices  # type: ignore[attr-defined]

    def chosen(self) -> Input:
        """Return the figure of a form that is valid."""
        return self._by_key[self.cleaned_data["figure"]]


@require_safe
@borrower_only
def dispute(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show a call's dispute, or the form that opens one: alone, or as a card on the call's page."""
    call = own_call(request, public_id)
    about = _about(request, call)
    if request.headers.get("HX-Request"):
        return render(request, "portal/dispute_card.html", about)
    return _page(request, about, DisputeForm(figures=disputes.inputs(call)) if about["may"] else None)


@require_POST
@borrower_only
def open_dispute(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Dispute one figure; a form that can not be taken comes back as it was filled in."""
    call = own_call(request, public_id)
    access.require_signer(request.user, call.client)
    form = DisputeForm(request.POST, figures=disputes.inputs(call))
    if not (form.is_valid() and _opened(request, call, form)):
        return _page(request, _about(request, call), form, status=422)
    messages.success(request, "Disputed. The desk answers within two hours; what you do not dispute stays due.")
    return redirect("portal_call", public_id=public_id)


def _about(request: SignedIn, call: MarginCall) -> dict[str, Any]:
    now = request.reading.now
    row = Dispute.objects.filter(call=call).select_related("asset").first()
    refusal = "" if row else disputes.may_open(call, now=now)
    return {
        "call": call,
        "now": now,
        "dispute": row,
        "what": disputes.told(row) if row else "",
        "unit": unit(row) if row else "",
        "refusal": refusal,
        "may": signs_for(request, call.client) and not row and not refusal,
    }


def unit(row: Dispute) -> str:
    """Return in what the figures of a dispute are counted."""
    return row.asset.code if row.asset and row.part == Dispute.Part.QUANTITY else "USD"


def _opened(request: SignedIn, call: MarginCall, form: DisputeForm) -> bool:
    figure, said = form.chosen(), form.cleaned_data
    try:
        disputes.open_against(
            call,
            part=figure.part,
            asset=figure.asset,
            claimed=said["claimed"],
            statement=said["statement"],
            by=request.user,
            now=request.reading.now,
        )
    except (disputes.UnableToDispute, authority.UnableToSign) as refusal:
        form.add_error(None, f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
        return False
    return True


def _page(request: SignedIn, about: dict[str, Any], form: DisputeForm | None, *, status: int = 200) -> HttpResponse:
    return render(request, "portal/dispute.html", {**about, "form": form}, status=status)


def _key(figure: Input) -> str:
    return f"{figure.part}:{figure.asset.code}" if figure.asset else str(figure.part)


def _words(figure: Input) -> str:
    if figure.asset is None:
        return "Debt"
    return f"{'Price' if figure.part == Dispute.Part.PRICE else 'Quantity'} of {figure.asset.code}"


def _amount(figure: Input) -> str:
    ours: Decimal = figure.ours
    code = figure.asset.code if figure.asset and figure.part == Dispute.Part.QUANTITY else "USD"
    return f"{plain(ours, code)} {code}"
