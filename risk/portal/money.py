"""What a client has free, and sending it to an address of theirs."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import allow_list, approvals, authority, reserves
from lending.portal.doors import SignedIn, borrower_only, clients_of, signs_for
from lending.typed import AddressChoice, Figure
from risk import payouts
from risk.payouts import Free

_NEWEST = 20


class PayoutForm(forms.Form):
    """What is to be sent, and where; with several clients the first choice says whose it is."""

    what = forms.ChoiceField(label="What", error_messages={"required": "Choose what to send."})
    quantity = Figure(
        label="How much",
        max_digits=38,
        decimal_places=18,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        error_messages={"required": "Say how much.", "invalid": "That is not a number, like 1250.50."},
    )
    destination = AddressChoice(
        label="To",
        help_text="An address or account of yours that two persons have allowed.",
        error_messages={"required": "Choose where it goes."},
    )

    def __init__(self, *args: Any, rows: list[Free], addresses: list[Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._by_key = {f"{row.client.public_id}:{row.asset.code}": row for row in rows}
        several = len({row.client.pk for row in rows}) > 1
        self.fields["what"].choices = [  # type: ignore[attr-defined]
            (key, f"{row.asset.code}, {row.left.normalize():,f} free{f', {row.client}' if several else ''}")
            for key, row in self._by_key.items()
        ]
        self.fields["destination"].offer(addresses)  # type: ignore[attr-defined]

    def chosen(self) -> Free:
        """Return what was chosen in a form that is valid."""
        return self._by_key[self.cleaned_data["what"]]


@require_safe
@borrower_only
def overview(request: SignedIn) -> HttpResponse:
    """Show what is free, what was asked for, what is on its way, and the form that asks."""
    return _page(request)


@require_POST
@borrower_only
def ask(request: SignedIn) -> HttpResponse:
    """Ask for a payout; a form that can not be taken comes back as it was filled in."""
    form = _form(request, request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    row, said = form.chosen(), form.cleaned_data
    try:
        asked = payouts.ask(
            row.client,
            row.asset,
            said["quantity"],
            destination=said["destination"],
            by=request.user,
            now=request.reading.now,
        )
    except (payouts.UnableToPay, authority.UnableToSign) as refusal:
        form.add_error(None, f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
        return _page(request, form, status=422)
    if asked is None:
        messages.success(request, "Signed by you. It is asked for once a second person of yours signs it too.")
        return redirect("portal_signatures")
    messages.success(request, "Asked. It is sent as soon as a second person at the desk has agreed.")
    return redirect("portal_money")


@require_POST
@borrower_only
def take_back(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Take a request back."""
    try:
        payouts.take_back(str(public_id), clients_of(request), by=request.user, now=request.reading.now)
    except (payouts.UnableToPay, approvals.UnableToApprove) as refusal:
        messages.error(request, f"Not taken back: {refusal}.")
    else:
        messages.success(request, "Taken back. Nothing is sent.")
    return redirect("portal_money")


def _form(request: SignedIn, data: Any = None, free: list[Free] | None = None) -> PayoutForm:
    signed = [client for client in clients_of(request) if signs_for(request, client)]
    rows = [row for row in (payouts.free(signed) if free is None else free) if row.left and row.client in signed]
    now = request.reading.now
    addresses = [row for client in signed for row in allow_list.standing(client) if row.usable_at <= now]
    return PayoutForm(data, rows=rows, addresses=addresses)


def _page(request: SignedIn, form: PayoutForm | None = None, *, status: int = 200) -> HttpResponse:
    clients = clients_of(request)
    signs = any(signs_for(request, client) for client in clients)
    free = payouts.free(clients)
    context = {
        "now": request.reading.now,
        "page": "money",
        "several": len(clients) > 1,
        "clients": clients,
        "free": free,
        "set_aside": reserves.of_clients(clients),
        "waiting": payouts.waiting(clients),
        "sent": payouts.on_their_way(clients, limit=_NEWEST),
        "signs": signs,
        "contact": clients[0].relationship_manager,
        "form": form or (_form(request, free=free) if signs else None),
    }
    return render(request, "portal/money.html", context, status=status)
