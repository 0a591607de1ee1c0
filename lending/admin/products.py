"""What relationship managers can offer: read by everybody who sees loans, changed by two persons."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lending import clock, products
from lending.admin.base import Table
from lending.engine import money
from lending.models import Asset, Benchmark, Book, LadderTerms, PledgeTerms, Prepayment, Product
from lending.products import UnableToChange, Wanted
from lending.staff import roles
from lending.templatetags.plimsoll import percent
from lending.typed import Figure

_LESS_THAN_ALL = Decimal("99.9999999999")
_NUMBER = {"inputmode": "decimal", "autocomplete": "off"}


def per_cent(label: str, **options: Any) -> Figure:
    """Return a field for a share, in per cent."""
    return Figure(
        label=f"{label}, %", min_value=0, max_value=_LESS_THAN_ALL, max_digits=12, decimal_places=10,
        widget=forms.TextInput(attrs=_NUMBER), **options,
    )  # fmt: skip


class ProductForm(forms.ModelForm):
    """What a product is to offer, each share in per cent, and why."""

    _OFF = "haircut_"
    _SHARES = {"over": "spread", "floor": "rate_floor", "cap": "rate_cap"}

    fee = per_cent("Origination fee")
    benchmark = forms.ModelChoiceField(
        queryset=Benchmark.objects.order_by("code"), to_field_name="code", required=False, label="Rate follows",
        empty_label="no benchmark: it is fixed",
    )  # fmt: skip
    over = per_cent("Spread over the benchmark", required=False, help_text="Of a rate that follows one, as the rest.")
    floor = per_cent("Rate at least", required=False)
    cap = per_cent("Rate at most", required=False, help_text="Empty: no cap.")
    unused = per_cent("Fee a year on what is not drawn", required=False, help_text="Of a revolving line; else 0.")
    late = per_cent("Late fee", required=False, help_text="Once, of interest or a part unpaid after its grace.")
    early = per_cent(
        "That share, or what a year earns elsewhere", required=False, help_text="Of what is paid early; else 0."
    )
    reason = forms.CharField(max_length=400, label="Why", help_text="The second person reads it.")

    class Meta:
        model = Product
        fields = (
            "code", "name", "asset", "book", "day_count", "tenor", "notice_days", "schedule_kind", "frequency_months",
            "calendar", "grace_days", "reset_months", "fixing_lag_days", "prepayment", "terms", "pledge_terms",
        )  # fmt: skip
        labels = {
            "tenor": "Runs for",
            "terms": "Ladder",
            "pledge_terms": "Collateral is given by",
            "schedule_kind": "Paid back",
            "frequency_months": "Pays",
            "reset_months": "Rate is reset",
            "fixing_lag_days": "Business days from fixing to reset",
            "day_count": "Days",
            "prepayment": "Principal paid before its time costs",
        }

    def __init__(self, data: Any = None, *, instance: Product | None = None) -> None:
        standing = products.haircuts(instance) if instance else {}
        super().__init__(data, instance=instance)
        if instance is not None:
            for name in ("code", "asset", "book"):
                del self.fields[name]
            self.initial["fee"] = money.text(instance.origination_fee * 100)
            self.initial["unused"] = money.text(instance.unused_fee * 100)
            self.initial["late"] = money.text(instance.late_fee * 100)
            self.initial["early"] = money.text(instance.prepayment_rate * 100)
            self.initial["benchmark"] = instance.benchmark
            for name, column in self._SHARES.items():
                self.initial[name] = money.text(getattr(instance, column) * 100)
        given: Any = self.fields["pledge_terms"]
        given.queryset, given.empty_label = PledgeTerms.objects.order_by("pk"), None
        given.choices = [(row.pk, str(row)) for row in given.queryset]
        ladder: Any = self.fields["terms"]
        ladder.help_text = "Others are taken on under Set-up, Ladders."
        ladder.queryset = LadderTerms.objects.filter(is_preset=True).order_by("name")
        self.assets = products.taken()
        for asset in self.assets:
            off = standing.get(asset.code, money.ZERO)
            self.fields[f"{self._OFF}{asset.code}"] = per_cent(
                asset.code, required=False, initial=money.text(off * 100)
            )
        choice: Any = self.fields["prepayment"]
        choice.choices = Prepayment.choices
        last = ("late", "prepayment", "early", "reason")
        self.order_fields([*(name for name in self.fields if name not in last), *last])

    @property
    def offered(self) -> list[forms.BoundField]:
        """Return the fields that are neither a haircut nor the reason."""
        return [row for row in self if not row.name.startswith(self._OFF) and row.name != "reason"]

    @property
    def haircuts(self) -> list[forms.BoundField]:
        """Return the fields of the haircuts."""
        return [self[f"{self._OFF}{asset.code}"] for asset in self.assets]

    def wanted(self, code: str) -> Wanted:
        """Return what is asked for, of a form that is valid."""
        said = self.cleaned_data
        asset: Asset | None = said.get("asset")
        book: Book | None = said.get("book")
        with money.exact():
            off = {row.code: (said[f"{self._OFF}{row.code}"] or money.ZERO) / 100 for row in self.assets}
            columns = {name: said[name] for name in ("name", "terms", "pledge_terms", *products.TERMS) if name in said}
            columns["origination_fee"] = said["fee"] / 100
            columns["unused_fee"] = (said["unused"] or money.ZERO) / 100
            columns["late_fee"] = (said["late"] or money.ZERO) / 100
            columns["prepayment_rate"] = (said["early"] or money.ZERO) / 100
            columns |= {column: (said[name] or money.ZERO) / 100 for name, column in self._SHARES.items()}
            columns["benchmark"] = said["benchmark"].code if said["benchmark"] else ""
            columns |= {name: said[name] or 0 for name in ("reset_months", "fixing_lag_days")}
        return Wanted(code=code, columns=columns, haircuts=off, asset=asset, book=book)


@admin.register(Product)
class ProductAdmin(Table):
    list_display = (
        "code",
        "name",
        "asset",
        "tenor",
        "schedule_kind",
        "day_count",
        "terms",
        "pledge_terms",
        "origination_fee",
        "off",
        "book",
    )
    change_form_template = "admin/product.html"
    change_list_template = "admin/products.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return products with their haircuts, which stand in a column."""
        return super().get_queryset(request).prefetch_related("haircuts__asset")

    @admin.display(description="haircuts")
    def off(self, row: Product) -> SafeString | str:
        said = ", ".join(
            f"{code} {percent(value, 1)}" for code, value in sorted(products.haircuts(row).items()) if value
        )
        return format_html("{}", said) if said else "none"

    def get_urls(self) -> list[URLPattern]:
        """Return the address of a new product before those of the table."""
        guard = self.admin_site.admin_view
        return [path("take-on/", guard(self.take_on), name="lending_product_take_on"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the products, and to whoever may ask for one the way to a new one."""
        may = bool(roles(request) & products.MAKERS)
        return super().changelist_view(request, {**(extra_context or {}), "may_ask": may})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show what a product offers, and to whoever may ask for a change the form for it."""
        shown: Product | None = self.get_object(request, object_id)
        if shown is None:
            return super().change_view(request, object_id, form_url, extra_context)
        return self._page(request, shown, {"title": str(shown), "original": shown})

    def take_on(self, request: HttpRequest) -> HttpResponse:
        """Ask for a new product."""
        if not roles(request) & products.MAKERS:
            raise PermissionDenied
        return self._page(request, None, {"title": "Take on a product"})

    def _page(self, request: HttpRequest, shown: Product | None, context: dict[str, Any]) -> HttpResponse:
        may = bool(roles(request) & products.MAKERS)
        if request.method == "POST" and not may:
            raise PermissionDenied
        now = clock.now()
        asked = products.waiting(shown.code, now=now) if shown else None
        form = ProductForm(request.POST or None, instance=shown)
        if request.method == "POST" and form.is_valid() and self._asked(request, shown, form):
            messages.success(request, "Asked: it waits on the page Approvals for the head of the desk or of risk.")
            return HttpResponseRedirect(reverse("admin:lending_product_changelist"))
        if shown is not None and form.is_bound:
            shown.refresh_from_db()  # a form of a row writes into it what was typed
        context |= {
            **admin.site.each_context(request),
            "product": shown,
            "off": products.haircuts(shown) if shown else {},
            "form": form if may and asked is None else None,
            "asked": asked,
            "now": now,
        }
        return TemplateResponse(request, "admin/product.html", context, status=422 if form.errors else 200)

    def _asked(self, request: HttpRequest, shown: Product | None, form: ProductForm) -> bool:
        """Ask for what a valid form says; a refusal becomes the form's own error."""
        code = shown.code if shown else form.cleaned_data["code"]
        maker: Any = request.user
        try:
            products.ask(form.wanted(code), reason=form.cleaned_data["reason"], maker=maker, now=clock.now())
        except UnableToChange as refused:
            form.add_error(None, f"Not asked: {refused}.")
            return False
        return True
