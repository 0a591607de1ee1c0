"""The ladders that products stand on and loans were signed with: read by many, offered by two persons."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from lending import ladder_presets, reasons, staff
from lending.admin import acts
from lending.admin.base import Table
from lending.admin.products import per_cent
from lending.engine import money, terms
from lending.engine.terms import Term, Unit
from lending.ladder_presets import UnableToOffer
from lending.models import Approval, LadderTerms
from lending.staff import roles
from lending.templatetags.plimsoll import amount, percent, span
from lending.typed import Figure, key_of

_MINUTE_S = 60
_ASKED = "Asked: it waits on the page Approvals for the head of the desk or of risk."


class LadderForm(forms.Form):
    """A ladder that products are to stand on: its levels in per cent, its clocks in minutes, its amounts, and why."""

    name = forms.CharField(label="Called", max_length=60)

    def __init__(self, data: Any = None, *, like: LadderTerms | None = None) -> None:
        super().__init__(data)
        figures = like or LadderTerms()
        for term in terms.of_part("ladder"):
            self.fields[term.name] = _field(term)
            column: Any = LadderTerms._meta.get_field(term.name)
            if like is not None or column.has_default():
                self.initial[term.name] = _typed(term, column.to_python(getattr(figures, term.name)))
        self.fields["reason"] = forms.CharField(
            label="Why", max_length=reasons.LENGTH, help_text="The second person reads it."
        )

    @property
    def figures(self) -> dict[str, Any]:
        """Return the figures of a valid form, by name."""
        with money.exact():
            return {term.name: _figure(term, self.cleaned_data[term.name]) for term in terms.of_part("ladder")}


def _field(term: Term) -> forms.Field:
    if term.unit is Unit.RATIO:
        return per_cent(term.label)
    if term.unit is Unit.SPAN:
        most = ladder_presets.LONGEST_S // _MINUTE_S
        return forms.IntegerField(
            label=f"{term.label}, minutes", min_value=0, max_value=most,
            widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
        )  # fmt: skip
    return Figure(
        label=f"{term.label}, USD", min_value=0, max_digits=20, decimal_places=2,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )  # fmt: skip


def _typed(term: Term, value: Any) -> Any:
    """Return a figure as it would be typed."""
    if term.unit is Unit.SPAN:
        return value // _MINUTE_S
    return money.text(value * 100 if term.unit is Unit.RATIO else value)


def _figure(term: Term, typed: Any) -> Any:
    """Return the figure that was typed, as its column holds it."""
    if term.unit is Unit.SPAN:
        return typed * _MINUTE_S
    return typed / 100 if term.unit is Unit.RATIO else typed


def _shown(term: Term, value: Any) -> str:
    if term.unit is Unit.SPAN:
        return span(value)
    return percent(value) if term.unit is Unit.RATIO else amount(value, "USD")


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
    ordering = ("-is_preset", "name", "pk")
    change_list_template = "admin/ladders.html"
    change_form_template = "admin/ladder.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the forms before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("take-on/", guard(self.take_on), name="lending_ladder_take_on"),
            path("<int:pk>/offer-no-more/", guard(self.offer_no_more), name="lending_ladder_offer_no_more"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the ladders, what waits for a second person, and to whoever may ask the way to a new one."""
        extras = {"may_ask": _may(request), "waiting": ladder_presets.waiting(now=staff.now(request))}
        return super().changelist_view(request, {**(extra_context or {}), **extras})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a ladder, and to whoever may ask the ways to another like it and to offer it no more."""
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "may_ask": _may(request)})

    def take_on(self, request: HttpRequest) -> HttpResponse:
        """Ask for a ladder that products can stand on; `like` names the one whose figures the form begins with."""
        if not _may(request):
            raise PermissionDenied
        like = LadderTerms.objects.filter(pk=key_of(request.GET.get("like", ""))).first()
        form = LadderForm(request.POST if request.method == "POST" else None, like=like)
        if form.is_valid() and _asked(request, form):
            messages.success(request, _ASKED)
            return HttpResponseRedirect(reverse("admin:lending_ladderterms_changelist"))
        context = {**admin.site.each_context(request), "title": "Take on a ladder", "form": form}
        return TemplateResponse(request, "admin/ladder_take_on.html", context, status=422 if form.errors else 200)

    def offer_no_more(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask to offer a ladder to products no more."""
        if not _may(request):
            raise PermissionDenied

        def ask(request: HttpRequest, row: LadderTerms, now: datetime) -> str:
            maker: Any = request.user
            ladder_presets.ask_end(row, reason=request.POST.get("reason", ""), maker=maker, now=now)
            return _ASKED

        rows, again = self.get_queryset(request), acts.on_its_page(self.change_view)
        return acts.perform(request, rows, pk, ask, refusals=(UnableToOffer,), again=again)


def _may(request: HttpRequest) -> bool:
    return bool(roles(request) & ladder_presets.MAKERS)


def _asked(request: HttpRequest, form: LadderForm) -> bool:
    """Ask for what a valid form says; a refusal becomes the form's own error."""
    said, maker = form.cleaned_data, request.user
    try:
        ladder_presets.ask(
            said["name"], form.figures, reason=said["reason"], maker=maker, now=staff.now(request)  # type: ignore[arg-type]
        )  # fmt: skip
    except UnableToOffer as refusal:
        form.add_error(None, f"Not asked: {refusal}.")
        return False
    return True


def about(request: HttpRequest, subject: Approval, *, now: datetime) -> SafeString:
    """Return, beside a request for a ladder, its figures in the order of a term sheet."""
    if subject.kind != ladder_presets.KIND:
        return SafeString("")
    figures = ladder_presets.figures_of(subject.payload)
    rows = [(term.label, _shown(term, figures[term.name])) for term in terms.of_part("ladder")]
    return render_to_string("admin/ladder_figures.html", {"rows": rows}, request=request)
