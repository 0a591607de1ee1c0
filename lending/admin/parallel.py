"""The parallel run: what a system that loans came from says of each day, where it differs from ours, and why."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_POST

from lending import access, csv_tables, parallel, staff
from lending.admin.base import SEE_BOOKS
from lending.models import ParallelDifference, ParallelRun
from lending.papers.files import attachment
from lending.parallel import Report
from lending.staff import Page, roles
from lending.typed import Day, Figure, TableForm

_DAYS = 31
_SHOWN = 8
_SAMPLE = "loan,principal,interest,fees,ltv\nLB-1,500000.00,2375.35,120.00,0.6125"


class DayForm(TableForm):
    """What another system says of its loans at the end of a day, and from when on it differs."""

    source = forms.ChoiceField(label="System")
    day = Day(label="End of the day (UTC)", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    tolerance = Figure(label="Tolerance of an amount", min_value=Decimal(0), max_digits=38, decimal_places=18)
    ltv_tolerance = Figure(
        label="Tolerance of an LTV", min_value=Decimal(0), max_value=Decimal(1), decimal_places=6,
        help_text="As a ratio: 0.005 is half a percent.",
    )  # fmt: skip
    file = forms.FileField(
        label="CSV file", required=False, allow_empty_file=True,
        help_text=f"Columns: {', '.join(parallel.NEEDED)}. May be left out: ltv, annual_rate, and of lines unused_fee, "
        "accrued there and not yet charged: here it is part of its fees. What becomes principal, or is reset, at "
        "midnight counts in the day that begins. Loans are named as they were there.",
    )  # fmt: skip
    table = forms.CharField(
        label="Or the table itself", required=False, strip=False, max_length=csv_tables.SIZE,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "placeholder": _SAMPLE}),
    )  # fmt: skip

    def __init__(self, *args: Any, sources: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sources = sources
        self.fields["source"].choices = [(name, name) for name in sources]  # type: ignore[attr-defined]

    def with_text(self) -> "DayForm":
        """Return the form with the file's text in its place: a file can not be filled in again."""
        form = DayForm({**self.data.dict(), "table": self.cleaned_data["table"]}, sources=self.sources)  # type: ignore[attr-defined]
        form.full_clean()
        return form


@require_http_methods(["GET", "HEAD", "POST"])
def parallel_page(request: HttpRequest) -> HttpResponse:
    """Show where a day differs, since when and why, and the days before; and compare the next one."""
    may = bool(roles(request) & parallel.WORKERS)
    now = staff.now(request)
    known = parallel.sources()
    source = request.GET.get("source") or request.POST.get("source") or (known[0] if known else "")
    days = parallel.days(source)[:_DAYS]
    problems: Any = ()
    if request.method == "POST":
        if not may:
            raise PermissionDenied
        form = DayForm(request.POST, request.FILES, sources=known)
        if form.is_valid():
            form = form.with_text()
            try:
                return _compared(request, form, now)
            except parallel.UnableToUse as refusal:
                problems = refusal.problems
                form.add_error(None, f"Refused: {refusal}.")
            except parallel.UnableToCompare as refusal:
                form.add_error(None, f"Refused: {refusal}.")
    else:
        form = DayForm(initial=_usual(source, days, now), sources=known)
    shown = parallel.report(source, day=_day(request))
    if shown and request.GET.get("format") == "csv":
        return attachment(parallel.as_csv(shown), f"parallel-run-{shown.run.day}.csv")
    frame = {
        **admin.site.each_context(request), "title": "Parallel run", "form": form, "may": may, "problems": problems,
        "report": shown, "days": days, "sources": known, "source": source, "now": now, "worked": _worked(shown),
    }  # fmt: skip
    return TemplateResponse(request, "admin/parallel.html", frame, status=422 if form.errors else 200)


@require_POST
def note(request: HttpRequest, pk: int) -> HttpResponse:
    """Keep what somebody found out about a difference."""
    row = get_object_or_404(ParallelDifference.objects.select_related("run"), pk=pk)
    by: Any = request.user
    try:
        parallel.note(row, request.POST.get("text", ""), by=by, now=staff.now(request))
    except parallel.UnableToCompare as refusal:
        messages.error(request, f"Refused: {refusal}.")
    return HttpResponseRedirect(f"{_address(row.run)}#d{row.pk}")


def home(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return how the newest day of each source stands, to whoever works its differences."""
    if not roles(request) & parallel.WORKERS:
        return SafeString("")
    newest = ParallelRun.objects.order_by("source", "-day", "-pk").distinct("source").defer("content")
    open_runs = [run for run in newest if run.agreeing < run.compared][:_SHOWN]
    if not open_runs:
        return SafeString("")
    return render_to_string("admin/home/parallel.html", {"runs": open_runs, "now": now}, request=request)


def _compared(request: HttpRequest, form: DayForm, now: datetime) -> HttpResponse:
    said, by = form.cleaned_data, request.user
    run = parallel.compare(
        said["table"], source=said["source"], day=said["day"], tolerance=said["tolerance"],
        ltv_tolerance=said["ltv_tolerance"], by=by, now=now,  # type: ignore[arg-type]
    )  # fmt: skip
    messages.success(request, f"{run}: {run.agreeing:,} of {run.compared:,} agree.")
    return HttpResponseRedirect(_address(run))


def _address(run: ParallelRun) -> str:
    return f"{reverse('admin:lending_parallel')}?{urlencode({'source': run.source, 'day': run.day.isoformat()})}"


def _usual(source: str, days: list[ParallelRun], now: datetime) -> dict[str, Any]:
    """Return what a reader most likely wants next: the last day that is over, with the tolerances of before."""
    last = days[0] if days else None
    return {
        "source": source,
        "day": now.date() - timedelta(days=1),
        "tolerance": last.tolerance.normalize() if last else Decimal("0.01"),
        "ltv_tolerance": last.ltv_tolerance.normalize() if last else Decimal("0.001"),
    }


def _day(request: HttpRequest) -> date | None:
    return csv_tables.day(request.GET.get("day", ""))


def _worked(shown: Report | None) -> int:
    return sum(1 for row in shown.rows if row.notes) if shown else 0


_site: Any = admin.site
_site.add_page(Page("parallel/", "lending_parallel", parallel_page, SEE_BOOKS, "lending", title="Parallel run"))
_site.add_page(Page("parallel/<int:pk>/note/", "lending_parallel_note", note, parallel.WORKERS, "lending"))
