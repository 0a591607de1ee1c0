"""Draws of a revolving line: proposed by the client's manager, checked at the marks of now and paid by operations."""

from datetime import datetime
from typing import Any

from django import forms
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import access, draws, loans, withdrawals
from lending.admin.loan_parts import LoanPart
from lending.models import Draw, Loan, Role
from lending.permits import UnableToVerify
from lending.staff import roles
from lending.typed import Figure, first_error
from risk import permits

_SHOWN = 20
_MAY = draws.ASKERS | {Role.OPERATIONS}
_REFUSALS = (
    draws.UnableToDraw,
    loans.UnableToMove,
    permits.UnableToPermit,
    UnableToVerify,
    withdrawals.UnableToWithdraw,
)


class DrawForm(forms.Form):
    """How much of a line is to be paid out."""

    amount = Figure(max_digits=38, decimal_places=18)


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the place of a line's draws on its loan's page, which fetches them by itself; nothing for others."""
    if not subject.is_line or subject.start_at is None or not roles(request) & _MAY:
        return SafeString("")
    return render_to_string("admin/draws_part.html", {"loan": subject}, request=request)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    rows = list(loan.draws.select_related("asked_by", "signed_by").order_by("-pk")[:_SHOWN])
    held = roles(request)
    return {
        "asset": loan.asset.code,
        "available": draws.available(loan),
        "rows": rows,
        "waits": next((row for row in rows if row.state in (Draw.State.PROPOSED, Draw.State.REQUESTED)), None),
        "asks": bool(held & draws.ASKERS),
        "pays": Role.OPERATIONS in held,
    }


def _act(request: HttpRequest, loan: Loan, now: datetime) -> str:
    actor: Any = request.user
    act = request.POST.get("act", "ask")
    if act == "ask":
        access.require_role(actor, *draws.ASKERS)
        form = DrawForm(request.POST)
        if not form.is_valid():
            raise draws.UnableToDraw(first_error(form))
        draws.ask(loan, form.cleaned_data["amount"], by=actor, now=now)
        return "Proposed: once the client has signed it, operations check the collateral and pay it out."
    if act == "drop":
        draws.drop_waiting(loan, by=actor, now=now)
        return "Dropped."
    access.require_role(actor, Role.OPERATIONS)
    waits = draws.signed(loan)
    permit = permits.issue_draw(loan.margin_account, loan.asset, waits.amount, now=now)
    draws.pay_out(waits, permit=permit, actor=actor, now=now)
    where = "is on its way to the client's address" if loan.payout_address else "lies in the client's free balance"
    return f"Paid out: the collateral holds at the marks of now, and the money {where}."


LoanPart(
    title="Draws",
    template="admin/draws.html",
    facts=_facts,
    act=_act,
    refusals=_REFUSALS,
    reads=("margin_account",),
).at("draws", "risk_draws", _MAY, "risk")
