"""What a case must hold of whom: the lines with their dates, what they come to, and the forms that change them."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from lending import checklists, staff
from lending.admin.asking import Asking
from lending.admin.base import SEE_CLIENTS
from lending.dated_rules import MOST, UnableToRule
from lending.models import ChecklistItem, Client, KycCase
from lending.staff import Page
from lending.typed import Country, Day

_SHORT = "In small letters, with hyphens: tax-residence. Papers that are there under it count."


class WhomForm(forms.Form):
    """Of which clients something is asked; empty means any."""

    client_kind = forms.ChoiceField(label="Clients", choices=Client.Kind.choices)
    jurisdiction = Country(label="Country", required=False, help_text="Its name, or its ISO 3166 code; empty: any.")
    rating = forms.ChoiceField(label="Risk rating", required=False, choices=[("", "any"), *KycCase.Rating.choices])


class ItemForm(WhomForm):
    """A line: of whom, a paper or an answer, about whom, what it is called, from when on, why, and instead of which."""

    kind = forms.ChoiceField(label="Asks for", choices=[("document", "a document"), ("fact", "an answer")])
    about = forms.ChoiceField(label="About", choices=ChecklistItem.About.choices)
    code = forms.SlugField(label="Code", max_length=40, help_text=_SHORT)
    label = forms.CharField(label="Called", max_length=120)
    help = forms.CharField(label="Hint", required=False, max_length=240, help_text="Stands under it in every case.")
    expires = forms.BooleanField(label="A document that is good until a day", required=False)
    start_date = Day(label="From")
    instead_of = forms.ModelChoiceField(
        label="Instead of", required=False, empty_label="nothing: it is new",
        queryset=ChecklistItem.objects.filter(end_date=None).order_by("client_kind", "jurisdiction", "label", "pk"),
        help_text="A line that ends on the day on which this one begins.",
    )  # fmt: skip
    reason = forms.CharField(label="Why", max_length=MOST, help_text="The second person reads it.")


class TryForm(WhomForm):
    """One case: a kind of client, a country and a rating."""

    jurisdiction = Country(label="Country")
    rating = forms.ChoiceField(label="Risk rating", choices=KycCase.Rating.choices)


class EndForm(forms.Form):
    """Which line ends, when, and why."""

    rule = forms.ModelChoiceField(
        label="Line",
        queryset=ChecklistItem.objects.filter(end_date=None).order_by("client_kind", "jurisdiction", "label", "pk"),
    )
    end_date = Day(label="From this day on it is no longer asked for")
    reason = forms.CharField(label="Why", max_length=MOST)


@require_http_methods(["GET", "HEAD", "POST"])
def checklists_page(request: HttpRequest) -> HttpResponse:
    """Show the lines, say what is asked of one kind of client, and ask for one to begin, change or end."""
    now = staff.now(request)
    initial = {"start_date": now.date(), "client_kind": Client.Kind.ENTITY}
    asking = Asking(request, "item", ItemForm, EndForm, makers=checklists.RULES.makers, initial=initial)
    if asking.done(_ask, _ask_end, refusal=UnableToRule):
        return HttpResponseRedirect(reverse("admin:lending_checklists"))
    tried = TryForm(request.GET if "client_kind" in request.GET else None, auto_id="try_%s")
    rows = ChecklistItem.objects.select_related("maker", "checker", "end_maker", "end_checker")
    frame = {
        **admin.site.each_context(request), "title": "Checklists", "today": now.date(),
        "rows": rows.order_by("client_kind", "jurisdiction", "rating", "kind", "label", "-start_date", "pk"),
        "waiting": checklists.RULES.waiting(now=now), "item_form": asking.begin, "end_form": asking.end,
        "try_form": tried, "asked": _asked(tried, now) if tried.is_valid() else None,
    }  # fmt: skip
    wrong = asking.act or tried.errors
    return TemplateResponse(request, "admin/checklists.html", frame, status=422 if wrong else 200)


def _ask(said: dict[str, Any], maker: Any, now: datetime) -> object:
    instead_of, reason = said.pop("instead_of"), said.pop("reason")
    return checklists.ask(ChecklistItem(**said), instead_of=instead_of, reason=reason, maker=maker, now=now)


def _ask_end(said: dict[str, Any], maker: Any, now: datetime) -> object:
    return checklists.RULES.ask_end(said["rule"], on=said["end_date"], reason=said["reason"], maker=maker, now=now)


def _asked(form: forms.Form, now: datetime) -> list[ChecklistItem]:
    """Return what is asked today of a kind of client in a country, with a rating."""
    said = form.cleaned_data
    return checklists.asked(said["client_kind"], said["jurisdiction"], said["rating"], on=now.date())


_site: Any = admin.site
_site.add_page(Page("checklists/", "lending_checklists", checklists_page, SEE_CLIENTS, "lending", title="Checklists"))
