"""Loans: offered by a relationship manager, approved by somebody else, and everything that happened since."""

from datetime import date, datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from lending import (
    access,
    amendments,
    interest,
    lapses,
    loans,
    obligations,
    offers,
    panels,
    prepayments,
    replays,
    schedules,
    staff,
    term_sheets,
)
from lending.admin import acts
from lending.admin.base import SEE_BOOKS, Lines, Table
from lending.admin.steps import next_step, signers_of, waits_for_a_signature
from lending.models import (
    Correction,
    Loan,
    LoanEvent,
    LoanState,
    MarginAccount,
    Notice,
    Pledge,
    PledgeMovement,
    Role,
)
from lending.papers import files
from lending.staff import roles
from lending.typed import key_of

_NOTICES = 25
_REFUSALS = (loans.UnableToMove, loans.UnableToFund)


@admin.register(Loan)
class LoanAdmin(Table):
    client_path = "client"
    list_display = ("__str__", "client", "state", "principal_outstanding", "annual_rate", "ends", "product")
    list_filter = ("state", "product", "asset")
    search_fields = ("client__name", "public_id", "origin__reference")
    ordering = ("-pk",)
    change_list_template = "admin/guided.html"

    @admin.display(description="ends", ordering="maturity_date", empty_value="by notice")
    def ends(self, row: Loan) -> date | None:
        """Return on which day a loan ends."""
        return row.end_date

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Loan | None:
        """Return a loan with all that its page names."""
        named = ("client__relationship_manager", "product", "asset", "made_by", "accepted_by", "approved_by", "book")
        account = (
            "margin_account__terms",
            "margin_account__pledge_terms",
            "margin_account__client",
            "origin__takeover",
        )
        rows = self.get_queryset(request).select_related(*named, *account)
        found = amendments.beside(term_sheets.beside(rows))
        return found.filter(pk=key_of(object_id)).first()

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the buttons before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("<int:pk>/approve/", guard(self.approve), name="lending_loan_approve"),
            path("<int:pk>/ask-collateral/", guard(self.ask_collateral), name="lending_loan_ask_collateral"),
            path("<int:pk>/term-sheet/<int:version>/", guard(self.term_sheet), name="lending_loan_term_sheet"),
            path("<int:pk>/story/", guard(self.story), name="lending_loan_story"),
            path("<int:pk>/payments/", guard(self.payments), name="lending_loan_payments"),
            path("<int:pk>/cancel/", guard(self.cancel), name="lending_loan_cancel"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the loans; who may offer one finds the way to it there."""
        words = (
            {"guided": "Offer a loan", "way": "admin:risk_book"} if Role.RELATIONSHIP_MANAGER in roles(request) else {}
        )
        return super().changelist_view(request, {**(extra_context or {}), **words})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show everything about a loan in one place: its next step, margin, money, people, and its trail."""
        shown = self.get_object(request, object_id)
        if shown is None or request.method == "POST":
            return super().change_view(request, object_id, form_url, extra_context)
        if not self.has_view_permission(request, shown):
            raise PermissionDenied
        frame = {**self.admin_site.each_context(request), "title": f"Loan {shown}", "opts": self.opts}
        return TemplateResponse(request, "admin/loan.html", {**frame, **_whole(request, shown)})

    def story(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what happened to a loan: the part of its page that is fetched by itself, or a page of its own."""
        shown = self._shown(request, pk)
        return self._part(request, "story", f"What happened to {shown}", _story(request, shown))

    def payments(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what a loan is to pay and when: the part of its page that is fetched by itself, or a page of its own."""
        shown = self._shown(request, pk)
        return self._part(request, "payments", f"What {shown} is to pay", _payments(request, shown))

    def _shown(self, request: HttpRequest, pk: int) -> Loan:
        shown = self.get_object(request, str(pk))
        if shown is None:
            raise Http404("no such loan")
        if not self.has_view_permission(request, shown):
            raise PermissionDenied
        return shown

    def _part(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> HttpResponse:
        if request.headers.get("HX-Request"):
            return TemplateResponse(request, f"admin/loan_{name}.html", context)
        frame = {**self.admin_site.each_context(request), "title": title, "opts": self.opts}
        part = f"admin/loan_{name}.html"
        return TemplateResponse(request, "admin/loan_part_page.html", {**frame, **context, "part": part})

    def term_sheet(self, request: HttpRequest, pk: int, version: int) -> HttpResponse:
        """Hand out a version of a loan's term sheet as a PDF."""
        shown = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, shown):
            raise PermissionDenied
        return files.of_term_sheet(get_object_or_404(term_sheets.versions(shown), version=version))

    def approve(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve an accepted loan as the second person."""
        return acts.perform(request, self.get_queryset(request), pk, _approve, refusals=_REFUSALS)

    def ask_collateral(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have addresses opened for an approved loan's collateral."""
        return acts.perform(request, self.get_queryset(request), pk, _ask_collateral, refusals=_REFUSALS)

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Drop a loan that was not funded."""
        return acts.perform(request, self.get_queryset(request), pk, _cancel, refusals=_REFUSALS)


def _whole(request: HttpRequest, shown: Loan) -> dict[str, Any]:
    """Return what a loan is and needs now, with what higher apps add."""
    now = staff.now(request)
    signers = signers_of([shown.client]) if waits_for_a_signature(shown) else {}
    return {
        "loan": shown,
        "now": now,
        "step": next_step(shown, signers=signers, held=roles(request), reader_id=request.user.pk or 0, now=now),
        # Of a loan that was funded it is rows, and fetched by itself.
        "schedule": _schedule(shown, now) if shown.start_at is None else None,
        "asset": shown.asset.code,
        "reads_books": bool(roles(request) & SEE_BOOKS),
        "buttons": _buttons(request, shown),
        "panels": panels.render("admin.loan", request, shown, now=now),
    }


def _story(request: HttpRequest, shown: Loan) -> dict[str, Any]:
    """Return what happened to a loan, the newest first, with what higher apps add."""
    now = staff.now(request)
    notices = Notice.objects.filter(margin_account=shown.margin_account_id).order_by("-created_at", "-pk")
    paid = replays.as_they_stand(shown)
    return {
        "loan": shown,
        "now": now,
        "asset": shown.asset.code,
        "story": panels.render("admin.loan.story", request, shown, now=now),
        "repayments": paid,
        "trail": _trail(shown, corrected=any(row.corrected for row, _, _ in paid)),  # type: ignore[attr-defined]
        "notices": notices[:_NOTICES],
        "reads_books": bool(roles(request) & SEE_BOOKS),
    }


def _payments(request: HttpRequest, shown: Loan) -> dict[str, Any]:
    """Return what a loan is to pay, as it was agreed."""
    now = staff.now(request)
    owed = interest.payoff(shown, now=now) if shown.prepayment and shown.start_at else None
    return {
        "loan": shown,
        "now": now,
        "asset": shown.asset.code,
        "schedule": _schedule(shown, now),
        "obligations": obligations.near(shown),
        "closing": prepayments.paid_off(shown, owed)[0] if owed and owed.total else None,
    }


def _trail(shown: Loan, *, corrected: bool) -> list[tuple[datetime, LoanEvent | None, Correction | None]]:
    """Return a loan's steps and the corrections of its past, the newest first."""
    steps = [(row.happened_at, row, None) for row in shown.events.select_related("actor").order_by("-pk")]
    made = shown.corrections.select_related("maker", "checker", "repayment").order_by("-pk") if corrected else ()
    return sorted([*steps, *((row.recorded_at, None, row) for row in made)], key=lambda row: row[0], reverse=True)


def _schedule(shown: Loan, now: datetime) -> schedules.Schedule | None:
    """Return what was agreed, from the funding or, before it, from now; nothing for an offer whose maturity is over."""
    try:
        return schedules.of_loan(shown, now=now)
    except schedules.UnableToSchedule:
        return None


_WORDS = {
    "approve": ("Approve", ""),
    "ask_collateral": ("Ask for the collateral", ""),
    "cancel": ("Cancel it", "quiet"),
}
_OFFERED = {
    LoanState.QUOTED: ("cancel",),
    LoanState.ACCEPTED: ("approve", "cancel"),
    LoanState.APPROVED: ("ask_collateral", "cancel"),
    LoanState.COLLATERAL_PENDING: ("cancel",),
}


_PRESSED_BY = {
    "approve": access.APPROVERS,
    "ask_collateral": frozenset({Role.OPERATIONS}),
    "cancel": frozenset({Role.RELATIONSHIP_MANAGER, Role.RISK_HEAD, Role.OPERATIONS}),
}


def _buttons(request: HttpRequest, loan: Loan) -> list[tuple[str, str, str]]:
    """Return address, words and look of the buttons that a loan's state allows, and its reader may press."""
    offered = _OFFERED.get(LoanState(loan.state), ())
    names = [name for name in offered if not _PRESSED_BY[name].isdisjoint(roles(request))]
    if request.user.pk in (loan.made_by_id, loan.client.relationship_manager_id):
        names = [name for name in names if name != "approve"]
    return [(reverse(f"admin:lending_loan_{name}", args=[loan.pk]), *_WORDS[name]) for name in names]


def _approve(request: HttpRequest, loan: Loan, now: datetime) -> str:
    offers.approve(loan, by=request.user, now=now)  # type: ignore[arg-type]
    return "Approved by you, as the second person."


def _ask_collateral(request: HttpRequest, loan: Loan, now: datetime) -> str:
    access.require_role(request.user, *_PRESSED_BY["ask_collateral"])
    offers.collateral_pending(loan, actor=request.user, now=now)  # type: ignore[arg-type]
    return "The custodian opens addresses; the client sees them in the portal."


def _cancel(request: HttpRequest, loan: Loan, now: datetime) -> str:
    access.require_role(request.user, *_PRESSED_BY["cancel"])
    lapses.cancel(loan, actor=request.user, cause="cancelled in the admin", now=now)  # type: ignore[arg-type]
    return "Cancelled."


class Pledges(Lines):
    model = Pledge
    fields = readonly_fields = ("asset", "quantity", "held_quantity", "haircut")


class Movements(Lines):
    model = PledgeMovement
    fields = readonly_fields = ("effective_at", "kind", "asset", "quantity", "entry")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).order_by("-effective_at", "-pk")


class AccountLoans(Lines):
    hide_title = False
    model = Loan
    fields = readonly_fields = ("product", "principal", "principal_outstanding", "state", "maturity_date", "ends_on")


@admin.register(MarginAccount)
class MarginAccountAdmin(Table):
    client_path = "client"
    list_display = ("public_id", "client", "kind", "terms", "version", "frozen", "created_at")
    list_filter = ("kind", "frozen")
    search_fields = ("client__name", "public_id")
    inlines = (AccountLoans, Pledges, Movements)
