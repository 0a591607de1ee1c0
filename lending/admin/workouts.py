"""What a sale left unpaid of a loan: what came back, and the request to give the rest up."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import workouts
from lending.admin.loan_parts import LoanPart
from lending.models import LOSS_OPEN, LOSS_TAKEN, Loan
from lending.staff import roles

_TEMPLATE = "admin/workout.html"


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return what is unpaid of a loan after a loss, with the form that asks to give it up; nothing for others."""
    if subject.state not in LOSS_TAKEN:
        return SafeString("")
    return render_to_string(_TEMPLATE, {"loan": subject, **_facts(request, subject, now)}, request=request)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    asked = workouts.waiting(loan, now=now)
    return {
        "now": now,
        "asset": loan.asset.code,
        "loss": workouts.loss_of(loan),
        "recoveries": workouts.recoveries(loan),
        "asked": asked,
        "open": loan.state in LOSS_OPEN,
        "may": asked is None and loan.state in LOSS_OPEN and bool(roles(request) & workouts.ASKERS),
    }


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    closes = request.POST.get("act") == "close"
    workouts.ask(loan, closes=closes, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for the head of the desk or of risk."


LoanPart(
    title="What a sale left unpaid", template=_TEMPLATE, facts=_facts, act=_ask, refusals=(workouts.UnableToWriteOff,)
).at("workouts", "lending_workout", workouts.ASKERS, "lending")
