"""How a loan without a fixed end is ended from the desk: one person asks for the notice, another gives it."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import recalls
from lending.admin.loan_parts import LoanPart
from lending.models import Loan, LoanState
from lending.staff import roles

_TEMPLATE = "admin/recall.html"
_ASKED = "Asked: it waits on the page Approvals for a second person."


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return how a running loan ends that has no fixed end, with the form that asks for it; nothing for others."""
    if subject.has_fixed_end or subject.state not in (LoanState.ACTIVE, LoanState.RECALLED):
        return SafeString("")
    return render_to_string(_TEMPLATE, {"loan": subject, **_facts(request, subject, now)}, request=request)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    asked = recalls.waiting(loan, now=now)
    runs = not loan.has_fixed_end and loan.state == LoanState.ACTIVE
    given = loan.events.filter(to_state=LoanState.RECALLED).select_related("actor").order_by("-pk")
    return {
        "now": now,
        "asked": asked,
        "runs": runs,
        "would_end_on": recalls.end_date(loan, now=now) if runs else None,
        "step": given.first() if loan.ends_on else None,
        "may": asked is None and bool(roles(request) & recalls.ASKERS),
    }


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    ask = recalls.ask_to_keep if request.POST.get("act") == "keep" else recalls.ask
    ask(loan, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return _ASKED


LoanPart(title="How it ends", template=_TEMPLATE, facts=_facts, act=_ask, refusals=(recalls.UnableToRecall,)).at(
    "recalls", "lending_recall", recalls.ASKERS, "lending"
)
