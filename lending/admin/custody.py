"""Where coins and cash came in and went out; and what clients were told."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from lending import breaks, clock, matching, objections, reasons, staff
from lending.admin import acts
from lending.admin.base import SEE_BOOKS, Lines, Table
from lending.models import CustodianWebhook, Deposit, Loan, Notice, NoticeDelivery, Withdrawal
from lending.staff import roles


class MatchForm(forms.Form):
    """The loan that a deposit belongs to, and how that is known."""

    loan = forms.ModelChoiceField(queryset=Loan.objects.none())
    reason = forms.CharField(max_length=400, label="How it is known")

    def __init__(self, *args: Any, deposit: Deposit, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["loan"]
        choice.queryset = matching.candidates(deposit)
        choice.label_from_instance = lambda loan: f"{loan.client}: {loan}"


@admin.register(Deposit)
class DepositAdmin(Table):
    client_path = "client"
    kept_from_managers = Q(state=Deposit.State.HELD)
    list_display = ("custodian_ref", "client", "asset", "quantity", "confirmations", "state", "seen_at", "credited_at")
    list_filter = ("state", "asset")
    search_fields = ("custodian_ref", "address__address")
    ordering = ("-seen_at", "-pk")
    change_form_template = "admin/deposit.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the address of the button before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("<int:pk>/match/", guard(self.match), name="lending_deposit_match"),
            path("<int:pk>/taken-over/", guard(self.taken_over), name="lending_deposit_taken_over"),
            path("<int:pk>/let-in/", guard(self.let_in), name="lending_deposit_let_in"),
            path("<int:pk>/book-out/", guard(self.book_out), name="lending_deposit_book_out"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a deposit, and the forms that give it to a loan, or let it in or out, while it waits for a person."""
        shown, extras = self.get_object(request, object_id), {}
        typed = (extra_context or {}).get("typed")
        if shown is not None and shown.state == Deposit.State.UNMATCHED:
            now = clock.now()
            asked = matching.waiting(shown, now=now)
            may = asked is None and bool(roles(request) & matching.MATCHERS)
            extras = {"deposit": shown, "asked": asked, "match_form": MatchForm(typed, deposit=shown) if may else None}
            extras["to_come"] = breaks.to_come(shown.asset, shown.custodian) if may else 0
        elif shown is not None and shown.state == Deposit.State.HELD:
            asked = objections.waiting(shown, now=clock.now())
            may = asked is None and bool(roles(request) & objections.ASKERS)
            extras = {"held": shown, "asked": asked}
            if may:
                out = bool(typed and "went" in typed)
                extras["let_in_form"] = LetInForm(None if out else typed)
                extras["book_out_form"] = BookOutForm(typed if out else None)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def match(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a second person to give a deposit to a loan."""
        again = acts.on_its_page(self.change_view)
        refusals = (matching.UnableToMatch,)
        return acts.perform(request, self.get_queryset(request), pk, _match, refusals=refusals, again=again)

    def taken_over(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a second person to agree that a deposit brings what stands on the books since a takeover."""
        again = acts.on_its_page(self.change_view)
        refusals = (matching.UnableToMatch,)
        return acts.perform(request, self.get_queryset(request), pk, _taken_over, refusals=refusals, again=again)

    def let_in(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a second person to let a transfer in whose sender the custodian objects to."""
        again = acts.on_its_page(self.change_view)
        refusals = (objections.UnableToLetIn,)
        return acts.perform(request, self.get_queryset(request), pk, _let_in, refusals=refusals, again=again)

    def book_out(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a second person to book a transfer out that the custodian has given back, or had to give away."""
        again = acts.on_its_page(self.change_view)
        refusals = (objections.UnableToLetIn,)
        return acts.perform(request, self.get_queryset(request), pk, _book_out, refusals=refusals, again=again)


class LetInForm(forms.Form):
    """Why a transfer is let in although the custodian objects to its sender."""

    reason = forms.CharField(max_length=reasons.LENGTH, label="What is known of its sender")


class BookOutForm(forms.Form):
    """Where a transfer went that was kept apart, and how that is known."""

    went = forms.ChoiceField(
        choices=[(row.name.lower(), row.value.capitalize()) for row in objections.Went], label="It was"
    )
    why = forms.CharField(max_length=reasons.LENGTH, label="How it is known")


def _taken_over(request: HttpRequest, deposit: Deposit, now: datetime) -> str:
    maker: Any = request.user
    matching.ask_taken_over(deposit, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person of risk."


def _let_in(request: HttpRequest, deposit: Deposit, now: datetime) -> str:
    maker: Any = request.user
    objections.ask(deposit, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person of compliance."


def _book_out(request: HttpRequest, deposit: Deposit, now: datetime) -> str:
    form = BookOutForm(request.POST)
    if not form.is_valid():
        raise objections.UnableToLetIn("say where it went, and how that is known")
    maker: Any = request.user
    went, why = objections.Went[form.cleaned_data["went"].upper()], form.cleaned_data["why"]
    objections.ask_out(deposit, went, reason=why, maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person of compliance."


def _match(request: HttpRequest, deposit: Deposit, now: datetime) -> str:
    form = MatchForm(request.POST, deposit=deposit)
    if not form.is_valid():
        raise matching.UnableToMatch("choose a loan, and say how it is known whose it is")
    maker: Any = request.user
    matching.ask(deposit, form.cleaned_data["loan"], reason=form.cleaned_data["reason"], maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person of risk."


@admin.register(Withdrawal)
class WithdrawalAdmin(Table):
    client_path = "client"
    list_display = ("key", "client", "asset", "quantity", "purpose", "state", "maker", "checker", "requested_at")
    list_filter = ("state", "purpose", "asset")
    ordering = ("-requested_at", "-pk")
    change_form_template = "admin/withdrawal.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a withdrawal, and why it is held back if it is."""
        shown: Withdrawal | None = self.get_object(request, object_id)
        held = ""
        if shown is not None and shown.state == Withdrawal.State.REQUESTED:
            held = breaks.blocks_withdrawals(shown.asset, shown.client_id, now=staff.now(request))
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "held": held})


@admin.register(CustodianWebhook)
class CustodianWebhookAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("heard_at", "custodian", "kind", "subject", "times")
    list_filter = ("kind",)
    search_fields = ("subject", "message_id")
    ordering = ("-heard_at", "-pk")


class Deliveries(Lines):
    model = NoticeDelivery
    verbose_name_plural = "deliveries"
    fields = readonly_fields = ("channel", "address", "attempts", "delivered_at", "evidence")


@admin.register(Notice)
class NoticeAdmin(Table):
    client_path = "client"
    list_display = ("subject", "client", "kind", "created_at", "deemed_received_at")
    list_filter = ("kind",)
    search_fields = ("subject",)
    ordering = ("-created_at", "-pk")
    inlines = (Deliveries,)
