"""What risk adds to pages that lending has for staff: where a loan's ladder stands, and its open calls."""

from datetime import datetime

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import access
from lending.models import Loan
from lending.staff import roles
from risk import margin_calls, positions


def staff_loan(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return where a loan stands, and what it owes, for staff who may know margin triggers; nothing for a trader."""
    if not roles(request) & access.SEES_EVERY_CLIENT and subject.client.relationship_manager_id != request.user.pk:
        return SafeString("")
    account = subject.margin_account
    standing = positions.standing(account, now=now)
    return render_to_string(
        "admin/standing.html",
        {
            "standing": standing,
            "payoff": next((payoff for loan, payoff in standing.debts if loan.pk == subject.pk), None),
            "asset": subject.asset.code,
            "calls": margin_calls.open_of(account.margin_calls),
            "now": now,
        },
        request=request,
    )
