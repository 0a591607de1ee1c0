"""What waits for a second signature of a client: read, signed or taken back by somebody who may sign for it."""

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access, amendments, authority
from lending.models import JointSignature
from lending.portal.doors import SignedIn, borrower_only, clients_of, signs_for


@require_safe
@borrower_only
def signatures(request: SignedIn) -> HttpResponse:
    """Show all that one person of the reader's clients has signed and a second has to sign too."""
    now = request.reading.now
    clients = clients_of(request)
    waiting = list(authority.waiting(clients, now=now))
    changes = {row.sheet.fingerprint: row for row in amendments.open_to(clients)} if waiting else {}
    rows = [
        (row, signs_for(request, row.client), row.first_id == request.user.pk, changes.get(row.content.get("sheet")))
        for row in waiting
    ]
    return render(request, "portal/signatures.html", {"now": now, "rows": rows, "page": "signatures"})


@require_POST
@borrower_only
def sign(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Sign as the second person, which does at once what was signed."""
    row = _own(request, public_id)
    try:
        authority.complete(row, by=request.user, now=request.reading.now)
    except access.UnableToAccess as refusal:
        messages.error(request, f"Not signed: {refusal}.")
        return redirect("portal_signatures")
    messages.success(request, f"Signed by both: {row.words}.")
    return redirect("portal_loan", public_id=row.loan.public_id) if row.loan else redirect("portal_signatures")


@require_POST
@borrower_only
def withdraw(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Take a first signature back, or refuse to be the second."""
    row = _own(request, public_id)
    try:
        authority.withdraw(row, by=request.user, now=request.reading.now)
    except access.UnableToAccess as refusal:
        messages.error(request, f"Not taken back: {refusal}.")
    else:
        messages.success(request, f"Taken back: {row.words}.")
    return redirect("portal_signatures")


def _own(request: SignedIn, public_id: uuid.UUID) -> JointSignature:
    rows = JointSignature.objects.filter(client__in=clients_of(request)).select_related("client", "loan")
    return get_object_or_404(rows, public_id=public_id)
