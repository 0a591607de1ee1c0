"""Amendments in the admin: proposed with a preview, approved by a second person, followed until they are in force."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from lending import access, amendment_letters, amendments, other_terms, panels, reasons, staff, term_sheets
from lending.admin import acts
from lending.admin.base import Table
from lending.engine import money, terms
from lending.models import Amendment, Loan, Role
from lending.other_terms import Preview, UnableToAmend, Wanted
from lending.staff import Page, roles
from lending.typed import Day, Figure, Instant, key_of

_PROPOSES = frozenset({Role.RELATIONSHIP_MANAGER})
_NUMBER = {"inputmode": "decimal", "autocomplete": "off"}
_INSTANTS = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M")
_State = Amendment.State


def _rate(label: str, **options: Any) -> Figure:
    return Figure(
        **options, label=label, min_value=0, max_value=Decimal("99.99"), max_digits=12, decimal_places=10,
        widget=forms.TextInput(attrs=_NUMBER),
    )  # fmt: skip


def _per_cent(ratio: Decimal) -> Decimal:
    """Return a ratio in per cent, without the zeros that its column has behind it."""
    return Decimal(money.text(ratio * 100))


class TermsForm(forms.Form):
    """Other terms for a loan that runs, each as it is until it is changed."""

    annual_rate = _rate("Rate a year, %")
    default_rate = _rate("Rate a year in default, %")
    spread = _rate("Spread, %")
    maturity_date = Day(label="Matures")
    from_at = Instant(
        label="Rates count from (UTC)", required=False, input_formats=_INSTANTS,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Empty: from the client's signature on. A later instant is for rates alone.",
    )  # fmt: skip
    hours = forms.IntegerField(
        label="The client may sign for, hours", min_value=1, max_value=24 * 30, initial=48,
        help_text="Approved by a second person first.",
    )  # fmt: skip
    PERCENTS = ("initial_ltv", "clear_ltv", "warning_ltv", "margin_call_ltv", "accelerated_ltv", "liquidation_ltv",
                "cure_to", "liquidate_to")  # fmt: skip
    CLOCKS = ("cure_period_s", "accelerated_cure_period_s")

    reason = forms.CharField(label="Why", max_length=reasons.LENGTH, help_text="The client reads it too.")

    def __init__(self, data: Any = None, *, loan: Loan) -> None:
        super().__init__(data)
        for name in ("annual_rate", "default_rate", "spread"):
            self.initial[name] = _per_cent(getattr(loan, name))
        self.initial["maturity_date"] = loan.maturity_date
        for name in ("annual_rate", "default_rate", "from_at") if loan.floats else ("spread",):
            del self.fields[name]
        if loan.floats:
            self.fields["spread"].label = f"Spread over {loan.benchmark}, %"
            self.fields["spread"].help_text = "Counts from the next reset of the rate on."
        if not loan.has_fixed_end:
            del self.fields["maturity_date"]
        held = loan.margin_account.terms
        labels = {term.name: term.label for term in terms.of_part("ladder")}
        for name in self.PERCENTS:
            self.fields[name] = _rate(f"{labels[name]}, %", required=False)
            self.initial[name] = _per_cent(getattr(held, name))
        for name in self.CLOCKS:
            self.fields[name] = forms.IntegerField(
                required=False, label=f"{labels[name]}, minutes", min_value=0, max_value=60 * 24 * 60,
                widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
            )  # fmt: skip
            self.initial[name] = getattr(held, name) // 60
        self.held = held

    @property
    def about_loan(self) -> list[forms.BoundField]:
        """Return the fields about the loan itself."""
        return [row for row in self if row.name not in (*self.PERCENTS, *self.CLOCKS)]

    @property
    def about_ladder(self) -> list[forms.BoundField]:
        """Return the fields of the ladder."""
        return [self[name] for name in (*self.PERCENTS, *self.CLOCKS)]

    @property
    def ladder_changes(self) -> bool:
        """Return whether something was typed about the ladder that is not as it is."""
        return self.is_bound and any(name in self.changed_data for name in (*self.PERCENTS, *self.CLOCKS))

    def _ladder(self) -> dict[str, Any]:
        """Return the figures of the ladder that were typed; a clock that was left alone keeps its seconds."""
        typed = {name: value for name, value in self.cleaned_data.items() if value is not None}
        levels = {name: typed[name] / 100 for name in self.PERCENTS if name in typed}
        clocks = {name: typed[name] * 60 for name in self.CLOCKS if name in typed}
        return levels | {name: at for name, at in clocks.items() if at // 60 != getattr(self.held, name) // 60}

    @property
    def wanted(self) -> Wanted:
        """Return what a valid form asks for."""
        asked = self.cleaned_data
        from_at: datetime | None = asked.get("from_at")
        rates = {name: asked[name] / 100 for name in ("annual_rate", "default_rate", "spread") if name in asked}
        return Wanted(
            **rates,
            maturity_date=asked.get("maturity_date"),
            from_at=from_at and from_at.replace(tzinfo=UTC),
            ladder=self._ladder(),
        )


@require_http_methods(["GET", "HEAD", "POST"])
def propose(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for other terms of a loan, show what they would come to, and propose them; nothing typed is lost between."""
    seen = Loan.objects.filter(client__in=staff.clients(request))
    named = ("client", "asset", "product", "margin_account__terms")
    loan = get_object_or_404(seen.select_related(*named), pk=pk)
    form, now = TermsForm(request.POST if request.method == "POST" else None, loan=loan), staff.now(request)
    found: Preview | None = None
    if form.is_valid():
        until = now + timedelta(hours=form.cleaned_data["hours"])
        try:
            if request.POST.get("act") == "propose":
                maker: Any = request.user
                reason = form.cleaned_data["reason"]
                made = amendments.propose(loan, form.wanted, reason=reason, expires_at=until, maker=maker, now=now)
                messages.success(request, "Proposed. A second person approves it, then the client is asked to sign.")
                return HttpResponseRedirect(reverse("admin:lending_amendment_change", args=[made.pk]))
            found = other_terms.preview(loan, form.wanted, expires_at=until, now=now)
        except (UnableToAmend, access.UnableToAccess) as refusal:
            form.add_error(None, f"Not proposed: {refusal}.")
    context = {
        **admin.site.each_context(request),
        "title": f"Other terms for {loan}",
        "loan": loan,
        "asset": loan.asset.code,
        "form": form,
        "open": amendments.open_of(loan),
        "others": [row for row in other_terms.secured_by(loan.margin_account) if row.pk != loan.pk],
        "runs": loan.state in other_terms.RUNNING,
        "preview": found,
        "panels": panels.ladders(request, loan, found.drawn, now=now) if found else "",
        "changes": term_sheets.changes(found.drawn) if found else [],
        "now": now,
    }
    return TemplateResponse(request, "admin/amend.html", context, status=422 if form.errors else 200)


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return what was proposed about a loan last, and to whoever may propose more the way to it."""
    newest: dict[str, Any] | None = subject.amendment  # type: ignore[attr-defined]
    waits = newest is not None and newest["state"] in amendments.OPEN
    may = subject.state in other_terms.RUNNING and bool(roles(request) & _PROPOSES) and not waits
    if newest is None and not may:
        return SafeString("")
    context = {"loan": subject, "row": newest, "state": newest and _State(newest["state"]), "may": may, "waits": waits}
    return render_to_string("admin/loan_amendments.html", context, request=request)


def _yours(request: HttpRequest, row: Amendment) -> bool:
    """Return whether the reader may be the second person for a proposal."""
    managed = row.client.relationship_manager_id == request.user.pk
    held = bool(roles(request) & access.APPROVERS)
    return row.state == _State.PROPOSED and held and not managed and row.maker_id != request.user.pk


@admin.register(Amendment)
class AmendmentAdmin(Table):
    client_path = "client"
    list_display = ("public_id", "client", "loan", "state", "expires_at", "maker", "proposed_at")
    list_filter = ("state",)
    list_reads = ("loan__asset",)
    search_fields = ("client__name", "loan__public_id")
    ordering = ("-pk",)

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the buttons before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("<int:pk>/approve/", guard(self.approve), name="lending_amendment_approve"),
            path("<int:pk>/reject/", guard(self.reject), name="lending_amendment_reject"),
            path("<int:pk>/withdraw/", guard(self.withdraw), name="lending_amendment_withdraw"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show what an amendment changes, what is left to pay then, who agreed, and the next step to its people."""
        rows = self.get_queryset(request).select_related(
            "loan__asset", "loan__margin_account__terms", "loan__margin_account__client", "sheet", "maker", "checker",
            "signer", "ended_by",
            "client__relationship_manager",
        )  # fmt: skip
        shown: Amendment | None = rows.filter(pk=key_of(object_id)).first()
        if shown is None or request.method == "POST":
            return super().change_view(request, object_id, form_url, extra_context)
        if not self.has_view_permission(request, shown):
            raise PermissionDenied
        now = staff.now(request)
        context = {
            **self.admin_site.each_context(request),
            **(extra_context or {}),
            "title": f"Amendment: {shown}",
            "opts": self.opts,
            "row": shown,
            "loan": shown.loan,
            "asset": shown.loan.asset.code,
            "changes": amendment_letters.changes(shown),
            "when": amendment_letters.from_when(shown),
            "schedule": term_sheets.schedule_of(term_sheets.of(shown.sheet)),
            "unsigned": amendments.signed_first(shown, now=now) if shown.state == _State.APPROVED else None,
            "decides": _yours(request, shown),
            "withdraws": shown.state in amendments.UNSIGNED and bool(roles(request) & amendments.ENDED_BY_DESK),
            "panels": panels.ladders(request, shown.loan, term_sheets.of(shown.sheet), now=now),
            "secures": other_terms.named_in(shown.sheet),
            "now": now,
        }
        return TemplateResponse(request, "admin/amendment.html", context)

    def approve(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve a proposal as the second person."""
        return self._perform(request, pk, _approve)

    def reject(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Reject a proposal as the second person."""
        return self._perform(request, pk, _reject)

    def withdraw(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Take a proposal back."""
        return self._perform(request, pk, _withdraw)

    def _perform(self, request: HttpRequest, pk: int, act: acts.Act) -> HttpResponse:
        rows: QuerySet[Amendment] = self.get_queryset(request)
        again = acts.on_its_page(self.change_view)
        return acts.perform(request, rows.select_related("loan"), pk, act, refusals=(UnableToAmend,), again=again)


def _approve(request: HttpRequest, row: Amendment, now: datetime) -> str:
    amendments.approve(row, by=request.user, now=now)  # type: ignore[arg-type]
    return "Approved by you, as the second person. The client is asked to sign."


def _reject(request: HttpRequest, row: Amendment, now: datetime) -> str:
    amendments.reject(row, by=request.user, reason=request.POST.get("reason", ""), now=now)  # type: ignore[arg-type]
    return "Rejected. The loan runs on as before."


def _withdraw(request: HttpRequest, row: Amendment, now: datetime) -> str:
    amendments.withdraw(row, by=request.user, reason=request.POST.get("reason", ""), now=now)  # type: ignore[arg-type]
    return "Withdrawn. The loan runs on as before."


_site: Any = admin.site
_site.add_page(Page("amend/<int:pk>/", "lending_amend", propose, _PROPOSES, "lending"))
