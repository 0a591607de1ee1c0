"""
Versions of the master agreement: published and ended by compliance.

What an end does is read beforehand, and what is ended is what was read: another day or version is foreseen anew.
"""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from lending import agreements, staff
from lending.admin.base import SEE_CLIENTS
from lending.admin.onboarding import FORM
from lending.admin.onboarding_forms import EndVersionForm, VersionForm
from lending.documents import UnableToStore
from lending.models import AgreementVersion
from lending.staff import Page, roles

_ENDS = frozenset({"foresee", "end"})


@FORM
def versions(request: HttpRequest) -> HttpResponse:
    """Show the versions of the master agreement; publish another or end one, as compliance."""
    now, publishes = staff.now(request), bool(roles(request) & agreements.PUBLISHERS)
    act = request.POST.get("act", "publish") if request.method == "POST" else ""
    if act and not publishes:
        raise PermissionDenied
    form = VersionForm(*((request.POST, request.FILES) if act == "publish" else (None, None)), today=now.date())
    end_form = EndVersionForm(request.POST if act in _ENDS else None, auto_id="end_%s")
    foreseen, end_it = None, None
    if (act == "publish" and form.is_valid() and _published(request, form)) or (
        act == "end" and end_form.is_valid() and _ended(request, end_form)
    ):
        return HttpResponseRedirect(reverse("admin:lending_agreements"))
    if act == "foresee" and end_form.is_valid():
        asked = end_form.cleaned_data
        try:
            foreseen = agreements.foreseen(asked["version"], on=asked["end_date"], now=now)
        except agreements.UnableToPublish as refusal:
            end_form.add_error(None, f"Not ended: {refusal}.")
        else:
            end_it = EndVersionForm(request.POST, auto_id="end_it_%s")
    frame = {
        **admin.site.each_context(request), "title": "Master agreement", "form": form, "today": now.date(),
        "rows": agreements.with_signed().order_by("-start_date", "-pk"), "publishes": publishes,
        "end_form": end_form, "foreseen": foreseen, "end_it": end_it,
        "asked": end_form.cleaned_data if foreseen else None,
    }  # fmt: skip
    wrong = form.errors or end_form.errors
    return TemplateResponse(request, "admin/onboarding/versions.html", frame, status=422 if wrong else 200)


def _published(request: HttpRequest, form: VersionForm) -> AgreementVersion | None:
    asked, by = form.cleaned_data, request.user
    try:
        row = agreements.publish(
            asked["code"], asked["title"], asked["paper"], start_date=asked["start_date"], by=by,  # type: ignore[arg-type]
            now=staff.now(request),
        )  # fmt: skip
    except (agreements.UnableToPublish, UnableToStore) as refusal:
        form.add_error(None, f"Not published: {refusal}.")
        return None
    messages.success(request, f"{row} is published.")
    return row


def _ended(request: HttpRequest, form: EndVersionForm) -> bool:
    asked, by = form.cleaned_data, request.user
    try:
        agreements.end(
            asked["version"], on=asked["end_date"], reason=asked["reason"], by=by, now=staff.now(request),  # type: ignore[arg-type]
        )  # fmt: skip
    except agreements.UnableToPublish as refusal:
        form.add_error(None, f"Not ended: {refusal}.")
        return False
    messages.success(request, f"{asked['version']} ends on {asked['end_date']:%d %b %Y}.")
    return True


_site: Any = admin.site
_site.add_page(Page("agreements/", "lending_agreements", versions, SEE_CLIENTS, "lending", title="Master agreement"))
