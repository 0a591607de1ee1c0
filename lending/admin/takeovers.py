"""Live loans from another system: three files are tried, mended in place, and approved by a second person."""

import uuid
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_safe

from lending import csv_tables, staff, takeover_files, takeovers
from lending.admin.base import SEE_BOOKS
from lending.models import Approval, Takeover
from lending.papers.files import attachment
from lending.staff import Page, roles
from lending.takeover_files import BALANCES, LOANS, PLEDGES, Trial
from lending.typed import Instant

FILES = (LOANS, PLEDGES, BALANCES)
_SHOWN = 25
_NEEDED = {
    LOANS: takeover_files.LOAN_NEEDED,
    PLEDGES: takeover_files.PLEDGE_NEEDED,
    BALANCES: takeover_files.BALANCE_NEEDED,
}
_OF_ANY = (
    "What is left out is as its product has it; what it costs to pay late or early, and a step-up, is nothing unless "
    "said. annual_rate is without a step-up. to_come has the parts of a loan that is paid back in parts: "
    "2026-12-15 25000 | 2027-01-15 25000. next_due_date is when the period that runs ends: its interest is paid then, "
    "or becomes principal."
)
_BY_KIND = (
    "free is a client's, the others a loan's. Each loan says its interest, be it 0; a line with a fee on what is not "
    "drawn says as unused_fee what has accrued of it and was not charged yet: here it is charged day by day."
)
# What may be said besides: in which file, of what, by which columns, and what they say.
MORE = (
    (LOANS, "of any loan", takeover_files.LOAN_MORE, _OF_ANY),
    (LOANS, "without a fixed end", ("notice_days",),
     "Business days; maturity_date stays empty. One under notice is taken over as it runs, and recalled here anew."),
    (LOANS, "of a revolving line", takeover_files.LINE,
     "Its principal is what is drawn, 0 if nothing is; unused_fee is what a year costs of the rest."),
    (LOANS, "of a rate that floats", takeover_files.FLOATING,
     "annual_rate is what it bears at the cut-over: the fixing, which is always said, with the spread, floor and cap."),
    (LOANS, "of its margin", ("margin_account", *takeover_files.LADDER),
     "Loans that name the same account share what secures them."),
    (PLEDGES, "of a pledge", ("haircut",), "Else it is that of the loan's product."),
    (BALANCES, "by kind", takeover_files.KINDS, _BY_KIND),
)  # fmt: skip
_INSTANT = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]


class TakeoverForm(forms.Form):
    """Where the loans come from, since when they are kept here, and three files or the tables themselves."""

    source = forms.CharField(max_length=40, label="System that kept the loans")
    cut_over_at = Instant(
        label="Cut-over, UTC", input_formats=_INSTANT,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text=f"Balances and interest are as of this instant; it lies at most {takeovers.OLDEST.days} days back.",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in FILES:
            self.fields[f"{name}_file"] = forms.FileField(
                label=f"{name.capitalize()}, CSV file", required=False, allow_empty_file=True,
                help_text=f"Columns: {', '.join(_NEEDED[name])}. What may be said besides stands below.",
            )  # fmt: skip
            self.fields[name] = forms.CharField(
                label=f"Or the {name} themselves", required=False, strip=False, max_length=csv_tables.SIZE,
                widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
            )  # fmt: skip

    def clean_cut_over_at(self) -> datetime:
        """Return the instant in UTC, in which it was asked for."""
        at: datetime = self.cleaned_data["cut_over_at"]
        return at.replace(tzinfo=UTC)

    def clean(self) -> dict[str, Any]:
        """Return the tables, each from its file where one was chosen."""
        given: dict[str, Any] = super().clean() or {}
        for name in FILES:
            try:
                if given.get(f"{name}_file") is not None:
                    given[name] = csv_tables.text_of(given[f"{name}_file"].read(csv_tables.SIZE + 1))
                if name not in self.errors and not given.get(name, "").strip():
                    self.add_error(name, "Choose a file, or write the table down.")
            except csv_tables.UnableToRead as refusal:
                self.add_error(name, f"The file can not be read: {refusal}.")
        return given

    @property
    def said(self) -> dict[str, Any]:
        """Return what a valid form says, by the names that the verbs take."""
        return {name: self.cleaned_data[name] for name in (*FILES, "source", "cut_over_at")}

    def with_texts(self) -> "TakeoverForm":
        """Return the form with the files' texts in their place: a file can not be filled in again."""
        form = TakeoverForm({**self.said, "cut_over_at": f"{self.cleaned_data['cut_over_at']:%Y-%m-%dT%H:%M:%S}"})
        form.full_clean()
        return form


@require_http_methods(["GET", "HEAD", "POST"])
def take_over(request: HttpRequest) -> HttpResponse:
    """Show what was taken over; try three files, show every error and the totals, and ask for a second person."""
    may = bool(roles(request) & takeovers.MAKERS)
    form = TakeoverForm(request.POST, request.FILES) if request.method == "POST" else TakeoverForm()
    trial: Trial | None = None
    now = staff.now(request)
    if request.method == "POST":
        if not may:
            raise PermissionDenied
        if form.is_valid():
            form = form.with_texts()
            try:
                trial = takeovers.check(**form.said, now=now)
                if request.POST.get("act") == "ask":
                    maker: Any = request.user
                    approval = takeovers.ask(**form.said, maker=maker, now=now)
                    messages.success(request, "Asked: it waits for the head of the desk or of risk.")
                    done = approval.payload["takeover"]
                    return HttpResponseRedirect(reverse("admin:lending_takeover", args=[done]))
            except takeovers.UnableToTakeOver as refusal:
                form.add_error(None, f"Refused: {refusal}.")
    known = Takeover.objects.defer("loans_csv", "pledges_csv", "balances_csv").select_related("maker", "checker")
    frame = {
        **admin.site.each_context(request), "title": "Take loans over", "form": form, "trial": trial, "may": may,
        "totals": trial.totals if trial else (), "now": now,
        "takeovers": known.order_by("-pk")[:_SHOWN], "more": MORE,
    }  # fmt: skip
    bad = bool(form.errors or (trial and trial.problems))
    return TemplateResponse(request, "admin/takeovers.html", frame, status=422 if bad else 200)


@require_safe
def takeover(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    """Show what three files say together, who stands behind them and what became of them; or hand one out."""
    shown = get_object_or_404(Takeover.objects.select_related("maker", "checker"), public_id=public_id)
    if (wanted := request.GET.get("file")) is not None:
        if wanted not in FILES:
            raise Http404("no such file")
        return attachment(getattr(shown, f"{wanted}_csv"), f"{wanted}-{str(shown.public_id)[:8]}.csv")
    request_for = Approval.objects.filter(kind=takeovers.KIND, payload__takeover=str(shown.public_id)).first()
    origins = shown.origins.select_related("loan__asset", "client").order_by("pk")
    frame = {
        **admin.site.each_context(request), "title": f"{shown}", "takeover": shown, "origins": origins,
        "asked": request_for, "files": FILES, "now": staff.now(request),
    }  # fmt: skip
    return TemplateResponse(request, "admin/takeover.html", frame)


def about(request: HttpRequest, subject: Approval, *, now: datetime) -> SafeString:
    """Return what a request to take loans over adds up to, to be compared with the system that kept them."""
    if subject.kind != takeovers.KIND or not roles(request) & SEE_BOOKS:
        return SafeString("")
    row = Takeover.objects.defer("loans_csv", "pledges_csv", "balances_csv")
    shown = row.filter(public_id=subject.payload["takeover"]).first()
    return render_to_string("admin/takeover_totals.html", {"takeover": shown, "totals": shown and shown.totals})


_site: Any = admin.site
_site.add_page(Page("takeovers/", "lending_takeovers", take_over, SEE_BOOKS, "lending", title="Take loans over"))
_site.add_page(Page("takeovers/<uuid:public_id>/", "lending_takeover", takeover, SEE_BOOKS, "lending"))
