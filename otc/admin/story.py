"""How a loan's collateral was sold, for the loan's page: every fill with what it cost against the mark."""

from datetime import datetime

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending.admin.base import SEE_CLIENTS, SEE_DESK
from lending.models import Loan
from lending.staff import roles
from otc.models import Allocation

_ROWS = 50


def fills(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the fills of a loan's margin account, for who may know both whose coins they were and who bought them."""
    if not roles(request) & SEE_CLIENTS & SEE_DESK:
        return SafeString("")
    mine = Allocation.objects.filter(part__order__margin_account=subject.margin_account_id)
    rows = mine.select_related("fill__dealer", "fill__block__asset").order_by("-fill__executed_at", "-pk")
    return render_to_string("admin/fills.html", {"rows": rows[:_ROWS], "now": now}, request=request)
