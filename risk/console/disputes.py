"""A call's dispute with both figures side by side, its answer, and the waiver: by risk, and by two of them."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access
from lending.portal.doors import SignedIn
from lending.typed import Figure
from risk import disputes, margin_calls, waivers
from risk.console.doors import frame, risk_only
from risk.models import Dispute, MarginCall

_ASKED = "Asked: it waits for another person, the head of risk."
_LONGEST_H = waivers.LONGEST // timedelta(hours=1)


class AnswerForm(forms.Form):
    """What the desk answers to a dispute."""

    outcome = forms.ChoiceField(label="The call", choices=[
        (Dispute.Outcome.CALL_STANDS, "stands as it is"),
        (Dispute.Outcome.AMENDED, "is amended to a figure in between: two persons"),
        (Dispute.Outcome.WITHDRAWN, "is withdrawn: two persons"),
    ])  # fmt: skip
    agreed = Figure(
        label="Agreed figure", required=False, max_digits=38, decimal_places=18,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        help_text="For an amended call: between ours and the borrower's.",
        error_messages={"invalid": "That is not a number, like 1250.50."},
    )  # fmt: skip
    answer = forms.CharField(
        label="Answer, which the borrower reads",
        max_length=disputes.TEXT_LENGTH,
        widget=forms.Textarea(attrs={"rows": 4}),
        error_messages={"required": "Say why: the borrower reads it."},
    )

    def __init__(self, *args: Any, running: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not running:  # in sale: there is nothing left to give in to, but the borrower is owed an answer
            outcome: Any = self.fields["outcome"]
            outcome.choices = outcome.choices[:1]

    def clean(self) -> dict[str, Any]:
        """Refuse an amendment without its figure."""
        said: dict[str, Any] = super().clean() or {}
        if (
            said.get("outcome") == Dispute.Outcome.AMENDED
            and said.get("agreed") is None
            and "agreed" not in self.errors
        ):
            self.add_error("agreed", "Say on which figure the amended call rests.")
        return said


class WaiveForm(forms.Form):
    """For how long a call is given up, and why."""

    hours = forms.IntegerField(
        label="For how many hours", min_value=1, max_value=_LONGEST_H, initial=4,
        error_messages={"required": "Say for how many hours.", "invalid": "That is not a whole number of hours."},
    )  # fmt: skip
    reason = forms.CharField(
        label="Why", max_length=waivers.REASON_LENGTH, widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": "Say why: it stands in the register of waivers."},
    )  # fmt: skip


@require_safe
@risk_only
def dispute(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show what people have said about a call: alone with the form that answers, or as a card on the call's page."""
    call = _call(public_id)
    about = _about(call, _dispute_of(call), request)
    if request.headers.get("HX-Request"):
        return render(request, "console/verdicts.html", about)
    form = AnswerForm(running=about["running"]) if about["may_answer"] else None
    return render(request, "console/dispute.html", {**frame(request, "queue"), **about, "form": form})


@require_POST
@risk_only
def answer(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Answer a call's dispute; a form that can not be taken comes back as it was filled in."""
    call = _call(public_id)
    row, form = _dispute_of(call), AnswerForm(request.POST, running=call.state in margin_calls.RUNNING)
    if row is None:
        form.add_error(None, "Nobody disputes this call.")
    elif form.is_valid() and (said := _tried(form, lambda: _answer(row, form.cleaned_data, request))):
        messages.success(request, said)
        return redirect("console_call", public_id=public_id)
    context = {**frame(request, "queue"), **_about(call, row, request), "form": form}
    return render(request, "console/dispute.html", context, status=422)


@require_safe
@risk_only
def waiver(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show the form that asks to give a call up for a while."""
    return _waive_page(request, _call(public_id), WaiveForm())


@require_POST
@risk_only
def waive(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Ask the head of risk to give a call up for a while."""
    call, now, form = _call(public_id), request.reading.now, WaiveForm(request.POST)

    def ask() -> str:
        until = now + timedelta(hours=form.cleaned_data["hours"])
        waivers.ask(call, until=until, reason=form.cleaned_data["reason"], maker=request.user, now=now)
        return _ASKED

    if form.is_valid() and (said := _tried(form, ask)):
        messages.success(request, said)
        return redirect("console_call", public_id=public_id)
    return _waive_page(request, call, form, status=422)


def _waive_page(request: SignedIn, call: MarginCall, form: WaiveForm, *, status: int = 200) -> HttpResponse:
    running = call.state in margin_calls.RUNNING
    context = {**frame(request, "queue"), "call": call, "form": form, "running": running}
    return render(request, "console/waive.html", context, status=status)


def _dispute_of(call: MarginCall) -> Dispute | None:
    return Dispute.objects.filter(call=call).select_related("asset", "opened_by", "maker", "checker").first()


def _call(public_id: uuid.UUID) -> MarginCall:
    wanted = MarginCall.objects.select_related("client", "margin_account__terms", "margin_account__client", "snapshot")
    return get_object_or_404(wanted, public_id=public_id)


def _about(call: MarginCall, row: Dispute | None, request: SignedIn) -> dict[str, Any]:
    now, running = request.reading.now, call.state in margin_calls.RUNNING
    is_open = row is not None and not row.outcome and call.closed_at is None
    asked = disputes.asked(row, now=now) if row and is_open else None
    quantity = row is not None and row.asset is not None and row.part == Dispute.Part.QUANTITY
    return {
        "call": call,
        "now": now,
        "dispute": row,
        "what": disputes.told(row) if row else "",
        "unit": row.asset.code if row and row.asset and quantity else "USD",
        "asked_to_give_in": asked,
        "may_answer": is_open and asked is None,
        "late": row is not None and is_open and now >= row.answer_due_at,
        "waivers": call.waivers.select_related("maker", "checker").order_by("granted_at"),
        "asked_to_waive": waivers.asked(call, now=now) if running else None,
        "running": running,
    }


def _answer(row: Dispute, said: dict[str, Any], request: SignedIn) -> str:
    user, now, answer = request.user, request.reading.now, said["answer"]
    if said["outcome"] == Dispute.Outcome.CALL_STANDS:
        disputes.stand(row, answer=answer, by=user, now=now)
        return "Answered: the call stands, and its clock goes on."
    if said["outcome"] == Dispute.Outcome.AMENDED:
        disputes.ask_to_amend(row, agreed=said["agreed"], answer=answer, maker=user, now=now)
    else:
        disputes.ask_to_withdraw(row, answer=answer, maker=user, now=now)
    return _ASKED


def _tried(form: forms.Form, act: Callable[[], str]) -> str:
    """Do what a form asks for and return what came of it; a refusal stands on the form, which keeps what was said."""
    try:
        return act()
    except (disputes.UnableToDispute, waivers.UnableToWaive, access.UnableToAccess) as refusal:
        form.add_error(None, f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.")
        return ""
