"""Where a client's money and coins may go: its addresses, named by its signers and struck off by them at once."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from lending import access, allow_list, authority
from lending.models import Asset, Client
from lending.portal.doors import SignedIn, borrower_only, clients_of, signs_for
from lending.typed import key_of


class AddressForm(forms.Form):
    """An address of the client, and the asset that goes there."""

    asset = forms.ChoiceField(label="Asset", error_messages={"required": "Choose one."})
    address = forms.CharField(
        label="Address or account", max_length=allow_list.LONGEST, error_messages={"required": "Which address?"}
    )

    def __init__(self, *args: Any, assets: list[Asset], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.assets = {asset.code: asset for asset in assets}
        self.fields["asset"].choices = [(code, code) for code in self.assets]  # type: ignore[attr-defined]


@require_http_methods(["GET", "HEAD", "POST"])
@borrower_only
def addresses(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show where what a client has may go, and name another address."""
    client, now = _own(request, public_id), request.reading.now
    asked = request.method == "POST"
    if asked:
        access.require_signer(request.user, client)
    form = AddressForm(request.POST if asked else None, assets=allow_list.assets(client))
    if asked and form.is_valid():
        said = form.cleaned_data
        try:
            whole = allow_list.ask_as_client(
                client, form.assets[said["asset"]], said["address"], by=request.user, now=now
            )
        except (allow_list.UnableToAllow, authority.UnableToSign) as refusal:
            form.add_error(None, f"Not asked: {refusal}.")
        else:
            return _answered(request, client, whole=whole is not None)
    context = {
        "now": now, "page": "money", "client": client, "form": form, "signs": signs_for(request, client),
        "addresses": list(allow_list.standing(client)), "named": allow_list.waiting(client, now=now),
    }  # fmt: skip
    return render(request, "portal/addresses_of.html", context, status=422 if asked else 200)


def _answered(request: SignedIn, client: Client, *, whole: bool) -> HttpResponse:
    if not whole:
        messages.success(request, "Signed by you. It is asked for once a second person of yours signs it too.")
        return redirect("portal_signatures")
    messages.success(request, "Asked. A person at the desk decides it; this page shows what became of it.")
    return redirect("portal_addresses", public_id=client.public_id)


@require_POST
@borrower_only
def strike_off(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Strike an address of a client off, at once."""
    client = _own(request, public_id)
    access.require_signer(request.user, client)
    row = allow_list.standing(client).filter(pk=key_of(request.POST.get("row", ""))).first()
    if row is None:
        messages.error(request, "Not struck off: it is not on the list.")
    else:
        allow_list.revoke(row, by=request.user, now=request.reading.now)
        messages.success(request, "Struck off: nothing is sent there any more, but what has left already.")
    return redirect("portal_addresses", public_id=client.public_id)


def _own(request: SignedIn, public_id: uuid.UUID) -> Client:
    mine = Client.objects.filter(pk__in=[client.pk for client in clients_of(request)])
    return get_object_or_404(mine.select_related("relationship_manager"), public_id=public_id)
