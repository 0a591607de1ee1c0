"""The desk's general ledger: what a month moves under which code, its journal as a file, and the codes."""

from datetime import date
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from lending import clock, closing, general_ledger, staff
from lending.admin.base import SEE_BOOKS
from lending.engine.chart import AccountKind
from lending.general_ledger import UnableToExport
from lending.models import Asset, PeriodState
from lending.papers.files import attachment
from lending.staff import Page, roles
from lending.typed import Day

_KINDS = [(kind.value, kind.value.replace("_", " ")) for kind in AccountKind]


class MonthForm(forms.Form):
    """Which month, up to which seal."""

    month = Day(
        input_formats=["%Y-%m"], widget=forms.DateInput(attrs={"type": "month"}, format="%Y-%m"),
        error_messages={"invalid": "A month looks like 2021-05.", "required": "Which month?"},
    )  # fmt: skip
    seal = forms.IntegerField(
        min_value=0, max_value=2**63 - 1, required=False, label="Up to seal",
        widget=forms.NumberInput(attrs={"placeholder": "the newest"}),
    )  # fmt: skip


class CodeForm(forms.Form):
    """The code of a kind of account, for all assets or for one."""

    kind = forms.ChoiceField(choices=_KINDS, label="Account")
    asset = forms.ModelChoiceField(
        queryset=Asset.objects.order_by("code"), required=False, to_field_name="code", empty_label="every asset"
    )
    code = forms.CharField(max_length=20, label="GL code")
    name = forms.CharField(max_length=80, label="Called")


@require_http_methods(["GET", "HEAD", "POST"])
def general_ledger_page(request: HttpRequest) -> HttpResponse:
    """Show what a month moves and the codes, hand its journal out, and set a code."""
    may_set = bool(roles(request) & general_ledger.MAKERS)
    now = staff.now(request)
    code_form = CodeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        if not may_set:
            raise PermissionDenied
        if code_form.is_valid() and _set(request, code_form):
            return HttpResponseRedirect(f"{reverse('admin:lending_general_ledger')}#codes")
    months = closing.months(now=now)
    usual = next((row for row in months if row.state == PeriodState.LOCKED), months[0]).start_date
    form = MonthForm(request.GET if "month" in request.GET else {"month": f"{usual:%Y-%m}"})
    month, upto = usual, general_ledger.last_seal()
    if understood := form.is_valid():
        month = form.cleaned_data["month"]
        upto = upto if form.cleaned_data["seal"] is None else min(upto, form.cleaned_data["seal"])
        if request.GET.get("format") == "csv" and (paper := _file(form, month, upto)):
            return paper
    context = {
        **admin.site.each_context(request),
        "title": "General ledger",
        "form": form,
        "understood": understood,
        "month": month,
        "upto": upto,
        "totals": general_ledger.totals(month, upto=upto) if understood else [],
        "codes": general_ledger.codes(),
        "code_form": code_form if may_set else None,
        "locked": any(row.start_date == month and row.state == PeriodState.LOCKED for row in months),
        "now": now,
    }
    bad = bool(form.errors) or bool(code_form.errors)
    return TemplateResponse(request, "admin/general_ledger.html", context, status=422 if bad else 200)


def _file(form: MonthForm, month: date, upto: int) -> HttpResponse | None:
    """Return the journal as a file; a refusal becomes the form's own error."""
    try:
        return attachment(general_ledger.to_csv(month, upto=upto), f"journal-{month:%Y-%m}-seal-{upto}.csv")
    except UnableToExport as refused:
        form.add_error(None, f"Not written: {refused}.")
        return None


def _set(request: HttpRequest, form: CodeForm) -> bool:
    said = form.cleaned_data
    by: Any = request.user
    try:
        row = general_ledger.set_code(
            said["kind"], said["asset"], code=said["code"], name=said["name"], by=by, now=clock.now()
        )
    except UnableToExport as refused:
        form.add_error(None, f"Not set: {refused}.")
        return False
    messages.success(request, f"{row.get_kind_display().replace('_', ' ')} goes into the general ledger as {row}.")
    return True


_site: Any = admin.site
_site.add_page(
    Page("general-ledger/", "lending_general_ledger", general_ledger_page, SEE_BOOKS, "lending", title="General ledger")
)
