"""Many clients at once: a CSV file is tried, its errors are shown by row and mended in place, then it is taken on."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from lending import csv_tables, intake, staff
from lending.intake import Trial
from lending.models import Role
from lending.staff import Page
from lending.typed import TableForm

_SHOWN = 20
_SAMPLE = "name,kind,jurisdiction,time_zone,expected_size_usd\nDrydock Partners,entity,CH,Europe/Zurich,2500000"


class IntakeForm(TableForm):
    """A file, or the table itself: what was read from the file stands there to be mended."""

    file = forms.FileField(
        label="CSV file", required=False, allow_empty_file=True,
        help_text=f"UTF-8, at most {intake.MOST:,} clients. Its first row names the columns, name, kind and "
        "jurisdiction among them; also known are time_zone, source, geography, expected_size_usd and classification.",
    )  # fmt: skip
    table = forms.CharField(
        label="Or the table itself", required=False, strip=False, max_length=csv_tables.SIZE,
        widget=forms.Textarea(attrs={"rows": 12, "spellcheck": "false", "placeholder": _SAMPLE}),
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def bring_in(request: HttpRequest) -> HttpResponse:
    """Try a table of clients, show every error by its row, and take all of them on once there is none."""
    form = IntakeForm(request.POST, request.FILES) if request.method == "POST" else IntakeForm()
    trial: Trial | None = None
    if request.method == "POST" and form.is_valid():
        table = form.cleaned_data["table"]
        form = IntakeForm({"table": table})  # a file can not be filled in again: its text stands in its place
        form.full_clean()
        try:
            manager: Any = request.user
            trial = intake.check(table, manager=manager)
            if request.POST.get("act") == "take_on":
                made = intake.take_on(table, manager=manager, now=staff.now(request))
                messages.success(request, f"{len(made):,} clients are registered, and you look after them.")
                return HttpResponseRedirect(reverse("admin:lending_pipeline"))
        except (csv_tables.UnableToRead, intake.UnableToTakeOn) as refusal:
            form.add_error(None, f"Refused: {refusal}.")
    frame = {
        **admin.site.each_context(request), "title": "Take many clients on", "form": form, "trial": trial,
        "shown": trial.clients[:_SHOWN] if trial else (),
    }  # fmt: skip
    bad = bool(form.errors or (trial and trial.problems))
    return TemplateResponse(request, "admin/onboarding/intake.html", frame, status=422 if bad else 200)


_site: Any = admin.site
_may = frozenset({Role.RELATIONSHIP_MANAGER})
_site.add_page(Page("onboarding/import/", "lending_intake", bring_in, _may, "lending"))
