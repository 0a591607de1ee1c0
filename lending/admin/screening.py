"""Matches with sanctions lists: the queue, one match side by side, and the decision of compliance."""

from datetime import date, datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, Window
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from lending import access, matches, objections, sanctions, staff
from lending.admin import acts
from lending.admin.base import Table
from lending.admin.sanctions import SEE_SCREENING
from lending.engine import countries
from lending.models import ScreeningMatch
from lending.staff import roles

_ROWS = 12


@admin.register(ScreeningMatch)
class ScreeningMatchAdmin(Table):
    seen_by = SEE_SCREENING
    client_path = "client"
    list_display = ("subject_name", "client", "entry", "score", "state", "found_at")
    list_filter = ("state", "entry__watchlist")
    search_fields = ("subject_name", "client__name", "entry__name")
    ordering = ("ended_at", "-score", "-pk")
    change_form_template = "admin/screening_match.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the buttons before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("<int:pk>/decide/", guard(self.decide), name="lending_screeningmatch_decide"),
            path("<int:pk>/clear/", guard(self.clear), name="lending_screeningmatch_clear"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the client's facts and the list's entry side by side, why they match, and what can be decided."""
        shown, extras = self.get_object(request, object_id), {}
        if shown is not None:
            extras = _side_by_side(request, shown)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def decide(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Say whether an open match means the client."""
        again = acts.on_its_page(self.change_view)
        refusals = (matches.UnableToDecide,)
        return acts.perform(request, self.get_queryset(request), pk, _decide, refusals=refusals, again=again)

    def clear(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a second person to clear a confirmed match."""
        again = acts.on_its_page(self.change_view)
        refusals = (matches.UnableToDecide,)
        return acts.perform(request, self.get_queryset(request), pk, _clear, refusals=refusals, again=again)


def _side_by_side(request: HttpRequest, shown: ScreeningMatch) -> dict[str, Any]:
    reads = ("entry__watchlist", "entry__opened_by", "screening__rule")
    row = ScreeningMatch.objects.select_related(*reads).get(pk=shown.pk)
    entry, facts = row.entry, row.screening.facts
    subject: dict[str, Any] = next((fact for fact in facts if fact["who"] == shown.subject), {})
    return {
        "entry": entry,
        "rule": row.screening.rule,
        "aliases": [alias.name for alias in entry.aliases.order_by("pk")],
        "entry_countries": [countries.NAMES.get(code, code) for code in entry.countries],
        "entry_births": [text for text, _first, _last in entry.births],
        "subject": subject,
        "subject_born": date.fromisoformat(subject["born"]) if subject.get("born") else None,
        "subject_countries": [countries.NAMES.get(code, code) for code in subject.get("countries", ())],
        "pairs": shown.why["pairs"],
        "asked": matches.waiting(shown, now=staff.now(request)),
        "may": bool(roles(request) & matches.DECIDERS),
    }


def _decide(request: HttpRequest, row: ScreeningMatch, now: datetime) -> str:
    by: Any = request.user
    verdict = request.POST.get("verdict")
    if verdict not in ("true", "false"):
        raise matches.UnableToDecide("say whether it is them")
    matches.decide(row, is_true=verdict == "true", reason=request.POST.get("reason", ""), by=by, now=now)
    if verdict == "true":
        return "Confirmed: nothing new is agreed with the client and nothing goes out. What comes in is taken."
    return "Decided: it is somebody else. It stays decided while both sides say who they said they were."


def _clear(request: HttpRequest, row: ScreeningMatch, now: datetime) -> str:
    maker: Any = request.user
    matches.ask_to_clear(row, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person of compliance."


def panel(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return what waits for compliance: open and confirmed matches, transfers kept apart, and which lists stand."""
    if not roles(request) & matches.DECIDERS:
        return SafeString("")
    waits = (ScreeningMatch.State.OPEN, ScreeningMatch.State.TRUE_MATCH)
    rows = ScreeningMatch.objects.filter(ended_at=None, state__in=waits).select_related("client", "entry__watchlist")
    found = list(rows.annotate(count=Window(Count("pk"))).order_by("state", "-score", "pk")[:_ROWS])
    context = {
        "rows": found,
        "count": found[0].count if found else 0,
        "held": objections.standing(limit=_ROWS),
        "versions": sanctions.current_versions(),
        "now": now,
    }
    return render_to_string("admin/home/screening.html", context, request=request)
