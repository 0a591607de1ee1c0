"""What risk adds to pages that lending has for staff: where a loan's ladder stands, and its open calls."""

from datetime import datetime

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import access
from lending.models import Loan
from risk import margin_calls, positions
from risk.models import MarginStatus


def staff_loan(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return where a loan stands for staff who may know margin triggers; nothing for a desk trader."""
    if not access.clients_for(request.user).filter(pk=subject.client_id).exists():
        return SafeString("")
    account = subject.margin_account
    return render_to_string(
        "admin/standing.html",
        {
            "standing": positions.standing(account, now=now),
            "status": MarginStatus.objects.filter(margin_account=account).first(),
            "calls": margin_calls.open_of(account.margin_calls),
            "now": now,
        },
        request=request,
    )
