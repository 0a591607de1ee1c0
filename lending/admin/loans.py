"""Loans: offered by a relationship manager, approved by somebody else, and everything that happened since."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from lending import access, clock, interest, loans, panels, staff
from lending.admin import acts
from lending.admin.base import Lines, Table
from lending.engine import money
from lending.models import (
    Client,
    LadderTerms,
    Loan,
    LoanEvent,
    LoanState,
    MarginAccount,
    Pledge,
    PledgeMovement,
    Product,
    Repayment,
    Role,
)
from lending.staff import roles

_REFUSALS = (loans.UnableToMove, loans.UnableToFund)


class OfferForm(forms.Form):
    """The terms of an offer."""

    client = forms.ModelChoiceField(
        queryset=Client.objects.none(), error_messages={"required": "Choose one of your clients."}
    )
    product = forms.ModelChoiceField(queryset=Product.objects.select_related("asset", "terms").order_by("code"))
    principal = forms.DecimalField(max_digits=38, decimal_places=18, help_text="in the product's asset")
    rate = forms.DecimalField(
        label="Rate a year, %", min_value=Decimal(0), max_value=Decimal("99.99"), max_digits=8, decimal_places=4
    )
    maturity_date = forms.DateField(widget=forms.DateInput(attrs={"type": "date"}))
    hours = forms.IntegerField(label="Offer stands for, hours", min_value=1, max_value=24 * 30, initial=24)
    payout_address = forms.CharField(required=False, max_length=120, help_text="empty: it stays in the free balance")

    def __init__(self, *args: Any, clients: QuerySet[Client], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["client"]
        choice.queryset = clients.order_by("name")

    def clean(self) -> dict[str, Any]:
        """Say beside its field what the verb would refuse about the amount."""
        asked: dict[str, Any] = super().clean() or {}
        product, principal = asked.get("product"), asked.get("principal")
        if product is not None and principal is not None:
            asset = product.asset
            if principal <= 0 or principal != money.quantize_down(principal, asset.decimals):
                words = f"Not offered: an amount of {asset.code} is above 0 and has at most {asset.decimals} decimals."
                self.add_error("principal", words)
        return asked


class Repayments(Lines):
    units = dict.fromkeys(("amount", "fees", "interest", "principal", "surplus"), "loan__asset")
    model = Repayment
    fields = readonly_fields = ("received_at", "kind", "amount", "fees", "interest", "principal", "surplus", "entry")


class Events(Lines):
    model = LoanEvent
    fields = readonly_fields = ("happened_at", "from_state", "to_state", "actor", "cause")
    verbose_name_plural = "history"


@admin.register(Loan)
class LoanAdmin(Table):
    client_path = "client"
    change_form_template = "admin/loan.html"
    list_display = ("__str__", "client", "state", "principal_outstanding", "annual_rate", "maturity_date", "product")
    list_filter = ("state", "product", "asset")
    search_fields = ("client__name", "public_id")
    list_select_related = ("client", "product", "asset")
    ordering = ("-pk",)
    inlines = (Repayments, Events)
    fields = (
        "public_id", "client", "product", "margin_account", "asset", "principal", "annual_rate", "default_rate",
        "day_count", "origination_fee", "start_at", "maturity_date", "state", "principal_outstanding", "interest_due",
        "fees_due", "accrued_at", "quoted_until", "payout_address", "made_by", "accepted_by",
        "approved_by",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return Role.RELATIONSHIP_MANAGER in roles(request)

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the buttons before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("<int:pk>/approve/", guard(self.approve), name="lending_loan_approve"),
            path("<int:pk>/ask-collateral/", guard(self.ask_collateral), name="lending_loan_ask_collateral"),
            path("<int:pk>/cancel/", guard(self.cancel), name="lending_loan_cancel"),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Offer a loan."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = OfferForm(request.POST or None, clients=staff.clients(request))
        if request.method == "POST" and form.is_valid() and (made := offer(request, form)):
            messages.success(request, "Offered. The client sees it in the portal and accepts it there.")
            return HttpResponseRedirect(reverse("admin:lending_loan_change", args=[made.pk]))
        asked = {"title": "Offer a loan", "form": form, "opts": self.opts, "button": "Offer it"}
        context = {**self.admin_site.each_context(request), **asked}
        return TemplateResponse(request, "admin/ask.html", context, status=422 if form.errors else 200)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a loan with what it costs to pay, its buttons, and what higher apps know about it."""
        shown = self.get_object(request, object_id)
        extras = self._extras(request, shown) if shown else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def _extras(self, request: HttpRequest, shown: Loan) -> dict[str, Any]:
        now = clock.now()
        return {
            "loan": shown,
            "now": now,
            "payoff": interest.payoff(shown, now=now) if shown.start_at else None,
            "buttons": _buttons(shown),
            "panels": panels.render("admin.loan", request, shown, now=now),
        }

    def approve(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve an accepted loan as the second person."""
        return acts.perform(request, self.get_queryset(request), pk, _approve, refusals=_REFUSALS)

    def ask_collateral(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have addresses opened for an approved loan's collateral."""
        return acts.perform(request, self.get_queryset(request), pk, _ask_collateral, refusals=_REFUSALS)

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Drop a loan that was not funded."""
        return acts.perform(request, self.get_queryset(request), pk, _cancel, refusals=_REFUSALS)


def offer(request: HttpRequest, form: OfferForm) -> Loan | None:
    """Offer a loan on the terms of a valid form; a refusal becomes the form's own error, and None comes back."""
    asked, now, maker = form.cleaned_data, clock.now(), request.user
    try:
        return loans.quote(
            client=asked["client"],
            product=asked["product"],
            principal=asked["principal"],
            annual_rate=asked["rate"] / 100,
            maturity_date=asked["maturity_date"],
            quoted_until=now + timedelta(hours=asked["hours"]),
            payout_address=asked["payout_address"],
            made_by=maker,  # type: ignore[arg-type]
            now=now,
        )
    except (loans.UnableToQuote, access.UnableToAccess) as refusal:
        form.add_error(None, f"Not offered: {refusal}.")
        return None


_WORDS = {"approve": "Approve", "ask_collateral": "Ask for the collateral", "cancel": "Cancel it"}
_OFFERED = {
    LoanState.QUOTED: ("cancel",),
    LoanState.ACCEPTED: ("approve", "cancel"),
    LoanState.APPROVED: ("ask_collateral", "cancel"),
    LoanState.COLLATERAL_PENDING: ("cancel",),
}


def _buttons(loan: Loan) -> list[tuple[str, str]]:
    """Return the buttons that a loan's state allows; whether the reader's role does, its verb decides and says."""
    names = _OFFERED.get(LoanState(loan.state), ())
    return [(reverse(f"admin:lending_loan_{name}", args=[loan.pk]), _WORDS[name]) for name in names]


def _approve(request: HttpRequest, loan: Loan, now: datetime) -> str:
    loans.approve(loan, by=request.user, now=now)  # type: ignore[arg-type]
    return "Approved by you, as the second person."


def _ask_collateral(request: HttpRequest, loan: Loan, now: datetime) -> str:
    access.require_role(request.user, Role.OPERATIONS)
    loans.collateral_pending(loan, actor=request.user, now=now)  # type: ignore[arg-type]
    return "The custodian opens addresses; the client sees them in the portal."


def _cancel(request: HttpRequest, loan: Loan, now: datetime) -> str:
    access.require_role(request.user, Role.RELATIONSHIP_MANAGER, Role.RISK_HEAD, Role.OPERATIONS)
    loans.cancel(loan, actor=request.user, cause="cancelled in the admin", now=now)  # type: ignore[arg-type]
    return "Cancelled."


@admin.register(Product)
class ProductAdmin(Table):
    list_display = ("code", "name", "asset", "day_count", "terms", "origination_fee", "book")
    list_select_related = ("asset", "terms", "book")


@admin.register(LadderTerms)
class LadderTermsAdmin(Table):
    units = dict.fromkeys(("minimum_transfer", "call_rounding"), "=USD")
    list_display = (
        "name",
        "initial_ltv",
        "margin_call_ltv",
        "liquidation_ltv",
        "cure_to",
        "cure_period_s",
        "is_preset",
    )
    list_filter = ("is_preset",)


class Pledges(Lines):
    model = Pledge
    fields = readonly_fields = ("asset", "quantity", "held_quantity", "haircut")


class Movements(Lines):
    model = PledgeMovement
    fields = readonly_fields = ("effective_at", "kind", "asset", "quantity", "entry")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("asset", "entry").order_by("-effective_at", "-pk")


class AccountLoans(Lines):
    hide_title = False
    model = Loan
    fields = readonly_fields = ("product", "principal", "principal_outstanding", "state", "maturity_date")


@admin.register(MarginAccount)
class MarginAccountAdmin(Table):
    client_path = "client"
    list_display = ("public_id", "client", "kind", "terms", "version", "frozen", "created_at")
    list_filter = ("kind", "frozen")
    search_fields = ("client__name", "public_id")
    list_select_related = ("client", "terms")
    inlines = (AccountLoans, Pledges, Movements)
