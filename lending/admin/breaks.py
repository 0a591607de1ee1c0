"""Where the ledger and the custodian differ, who works on it, and the comparisons that are kept."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib import messages as notes
from django.db.models import DateTimeField, QuerySet, Value
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from lending import access, breaks, clock, reconciliation, staff
from lending.admin import acts
from lending.admin.base import SEE_BOOKS, Lines, Table
from lending.models import CustodyBreak, CustodyReading, Reconciliation, ReconciliationLine
from lending.staff import roles
from lending.templatetags.plimsoll import amount, span

_SHOWN = 10
_REFUSALS = (breaks.UnableToWork,)


class ExplainForm(forms.Form):
    """How a break came about."""

    explanation = forms.CharField(
        max_length=400, widget=forms.Textarea(attrs={"rows": 3}), label="How it came about", strip=True
    )


@admin.register(CustodyBreak)
class CustodyBreakAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("words", "code", "difference", "found_at", "age", "worked_by", "closed_at", "closed_how")
    list_filter = ("kind", "code", ("closed_at", admin.EmptyFieldListFilter))
    ordering = ("-found_at", "-pk")
    list_before_template = "admin/reconcile.html"
    change_form_template = "admin/break.html"
    fields = (
        "kind", "ref", "custodian", "code", "ours", "theirs", "found_at", "seen_at",
        "explanation", "explained_by", "explained_at", "closed_at", "closed_how",
    )  # fmt: skip

    @admin.display(description="custodian less ledger")
    def difference(self, row: CustodyBreak) -> SafeString:
        return amount(breaks.difference(row), row.code)

    @admin.display(description="ledger quantity")
    def ours(self, row: CustodyBreak) -> SafeString:
        return amount(row.ledger_quantity, row.code)

    @admin.display(description="custodian quantity")
    def theirs(self, row: CustodyBreak) -> SafeString:
        return amount(row.custodian_quantity, row.code)

    @admin.display(description="age")
    def age(self, row: CustodyBreak) -> str:
        until: datetime = row.closed_at or row.read_at  # type: ignore[attr-defined]
        return span((until - row.found_at).total_seconds()).replace(" ", "\N{NO-BREAK SPACE}")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the breaks, each with the instant at which it is looked at."""
        return super().get_queryset(request).annotate(read_at=Value(staff.now(request), DateTimeField()))

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the buttons before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("reconcile/", guard(self.reconcile), name="lending_reconcile"),
            path("<int:pk>/take/", guard(self.take), name="lending_custodybreak_take"),
            path("<int:pk>/explain/", guard(self.explain), name="lending_custodybreak_explain"),
            path("<int:pk>/book/", guard(self.book), name="lending_custodybreak_book"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the breaks below when both books were last compared, and the button that compares them now."""
        return super().changelist_view(request, {**_compared(request), **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a break, what it blocks, and to whoever may work on it what can be done about it."""
        shown, extras = self.get_object(request, object_id), {}
        if shown is not None:
            now = staff.now(request)
            extras = {
                "broken": shown,
                "difference": abs(breaks.difference(shown)),
                "less": breaks.difference(shown) < 0,
                "now": now,
                "aged": breaks.is_aged(shown, now=now),
                "awaited": shown.closed_at is None and breaks.is_awaited(shown),
                "may": shown.closed_at is None and bool(roles(request) & breaks.WORKERS),
                "asked": breaks.waiting(shown, now=now) if shown.closed_at is None else None,
                "explain_form": ExplainForm(
                    (extra_context or {}).get("typed"), initial={"explanation": shown.explanation}
                ),
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def take(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Note that the reader works on a break."""
        return acts.perform(request, self.get_queryset(request), pk, _take, refusals=_REFUSALS)

    def explain(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Write down how a break came about."""
        again = acts.on_its_page(self.change_view)
        return acts.perform(request, self.get_queryset(request), pk, _explain, refusals=_REFUSALS, again=again)

    def book(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a second person to take a difference on the desk's books, or to set it aside."""
        return acts.perform(request, self.get_queryset(request), pk, _book, refusals=_REFUSALS)

    def reconcile(self, request: HttpRequest) -> HttpResponse:
        """Compare both books now."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        user: Any = request.user
        try:
            count = reconciliation.reconcile(now=clock.now(), by=user)
        except (reconciliation.UnableToReconcile, access.UnableToAccess) as refusal:
            notes.error(request, f"Nothing was compared: {refusal}.")
        else:
            notes.success(request, "Both books agree." if not count else f"{count} open: see below.")
        return HttpResponseRedirect(reverse("admin:lending_custodybreak_changelist"))


def _take(request: HttpRequest, row: CustodyBreak, now: datetime) -> str:
    user: Any = request.user
    breaks.take(row, by=user, now=now)
    return "It is yours now."


def _explain(request: HttpRequest, row: CustodyBreak, now: datetime) -> str:
    user: Any = request.user
    breaks.explain(row, request.POST.get("explanation", ""), by=user, now=now)
    return "Written down. The break stays open until both books agree or its difference is booked."


def _book(request: HttpRequest, row: CustodyBreak, now: datetime) -> str:
    user: Any = request.user
    breaks.ask(row, maker=user, now=now)
    return "Asked: it waits on the page Approvals for a second person of risk."


class ComparedLines(Lines):
    seen_by = SEE_BOOKS
    model = ReconciliationLine
    fields = readonly_fields = (
        "asset", "ledger_quantity", "custodian_quantity", "under_way", "in_breaks", "unexplained"
    )  # fmt: skip


@admin.register(Reconciliation)
class ReconciliationAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("made_at", "custodian", "day", "asked_by", "checked", "breaks")
    list_filter = (("day", admin.EmptyFieldListFilter),)
    ordering = ("-made_at", "-pk")
    date_hierarchy = "made_at"
    list_before_template = "admin/reconcile.html"
    inlines = (ComparedLines,)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the kept comparisons below the button that makes one now."""
        return super().changelist_view(request, {**_compared(request), **(extra_context or {})})


def _compared(request: HttpRequest) -> dict[str, Any]:
    """Return when both books were last compared, for the part above a list."""
    return {
        "readings": list(CustodyReading.objects.order_by("custodian")),
        "open_breaks": breaks.standing().count(),
        "may_reconcile": bool(roles(request) & reconciliation.ASKERS),
        "now": staff.now(request),
    }


def home(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return the open breaks on the home page of who works on them; nothing while both books agree."""
    if not roles(request) & breaks.WORKERS:
        return SafeString("")
    rows = list(breaks.standing().select_related("worked_by")[:_SHOWN])
    readings = list(CustodyReading.objects.order_by("custodian"))
    if not rows and not readings:
        return SafeString("")
    aged = now - breaks.AGED
    context = {"rows": rows, "readings": readings, "now": now, "aged_since": aged}
    return render_to_string("admin/home/breaks.html", context, request=request)
