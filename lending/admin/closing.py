"""The end of a month: what is open, who asks to close it or to open it again, and how every month came to be locked."""

from datetime import date
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from lending import clock, closing, staff
from lending.admin.base import SEE_BOOKS, Lines, Table
from lending.models import Period, PeriodStep
from lending.staff import Page, roles
from lending.typed import Day, first_error

# Where somebody goes on with what is open.
_WORKED_AT = {
    "bank_lines": "lending_bank",
    "statements": "lending_bank",
    "deposits": "lending_deposit_changelist",
    "breaks": "lending_custodybreak_changelist",
    "withdrawals": "lending_withdrawal_changelist",
    "approvals": "lending_approval_changelist",
}
_MONTHS = 24


class CloseForm(forms.Form):
    """Which month to close or to open again, and why."""

    what = forms.ChoiceField(choices=[("close", "close"), ("reopen", "reopen")])
    month = Day()
    reason = forms.CharField(max_length=400, required=False, label="Why")


@require_http_methods(["GET", "HEAD", "POST"])
def close(request: HttpRequest) -> HttpResponse:
    """Show the months, what is open of the next to close, and the requests; and ask for one."""
    may_ask = bool(roles(request) & closing.MAKERS)
    problem, typed = "", {}
    if request.method == "POST":
        if not may_ask:
            raise PermissionDenied
        typed = request.POST.dict()
        problem = _ask(request)
        if not problem:
            messages.success(request, "Asked: it waits on the page Approvals for the head of the desk or of risk.")
            return HttpResponseRedirect(reverse("admin:lending_close"))
    now = staff.now(request)
    months = closing.months(now=now)
    following = next(row for row in reversed(months) if row.state == "open")
    looked = closing.checks(following.start_date, now=now)
    context = {
        **admin.site.each_context(request),
        "title": "Month-end close",
        "months": months[:_MONTHS],
        "following": following,
        "checks": [(check, _WORKED_AT.get(check.code, "")) for check in looked],
        "stopped": any(check.stops for check in looked),
        "left": any(check.open for check in looked),
        "last": next((row for row in months if row.state == "locked"), None),
        "close_asked": closing.waiting(closing.CLOSE, now=now),
        "reopen_asked": closing.waiting(closing.REOPEN, now=now),
        "may_ask": may_ask,
        "problem": problem,
        "typed": typed,
        "now": now,
    }
    return TemplateResponse(request, "admin/close.html", context, status=422 if problem else 200)


def _ask(request: HttpRequest) -> str:
    """Ask for what was sent, and return why not."""
    form = CloseForm(request.POST)
    if not form.is_valid():
        return f"Refused: {first_error(form)}."
    said = form.cleaned_data
    month: date = said["month"]
    maker: Any = request.user
    ask = closing.ask_close if said["what"] == "close" else closing.ask_reopen
    try:
        ask(month, reason=said["reason"], maker=maker, now=clock.now())
    except closing.UnableToClose as refused:
        return f"Refused: {refused}."
    return ""


class Steps(Lines):
    seen_by = SEE_BOOKS
    model = PeriodStep
    fields = readonly_fields = ("happened_at", "state", "maker", "checker", "reason")
    verbose_name_plural = "locked and opened again"


@admin.register(Period)
class PeriodAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("start_date", "state", "maker", "checker", "changed_at", "reason")
    list_filter = ("state",)
    ordering = ("-start_date",)
    fields = ("start_date", "end_at", "state", "maker", "checker", "reason", "changed_at", "looked_at")
    readonly_fields = ("looked_at",)
    inlines = (Steps,)

    @admin.display(description="what was open when it was locked")
    def looked_at(self, row: Period) -> str:
        return "; ".join(f"{check['words']}: {check['open']}" for check in row.checks if check["open"]) or "nothing"


_site: Any = admin.site
_site.add_page(Page("close/", "lending_close", close, SEE_BOOKS, "lending", title="Month-end close"))
