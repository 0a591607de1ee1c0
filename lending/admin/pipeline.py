"""The pipeline: every client on its way to a first loan, by stage, with what is missing next."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from lending import kyc, onboarding, staff
from lending.admin.base import SEE_CLIENTS
from lending.admin.onboarding import address
from lending.models import Approval, Client, Role, SigningRule
from lending.staff import Page, roles

_SHOWN = 100
_STAGES = (Client.Stage.PROSPECT, Client.Stage.ONBOARDING, Client.Stage.ACTIVE)


@require_safe
def pipeline(request: HttpRequest) -> HttpResponse:
    """Show the clients that have no funded loan yet, stage by stage, those that wait longest first."""
    now = staff.now(request)
    rows = staff.clients(request).filter(stage__in=_STAGES).exclude(loans__start_at__isnull=False)
    found = onboarding.paths(rows.order_by("stage_at", "created_at", "pk")[:_SHOWN], now=now)
    columns = [
        (stage, [(path, _link(request, path)) for path in found if path.client.stage == stage]) for stage in _STAGES
    ]
    frame = {
        **admin.site.each_context(request), "title": "Pipeline", "columns": columns, "now": now,
        "full": len(found) == _SHOWN, "may_add": Role.RELATIONSHIP_MANAGER in roles(request),
    }  # fmt: skip
    return TemplateResponse(request, "admin/onboarding/pipeline.html", frame)


def _link(request: HttpRequest, path: onboarding.Path) -> str:
    """Return where what is missing next is done."""
    return address(request, path, path.next.page) if path.next else ""


def case_part(request: HttpRequest, subject: Approval, *, now: Any) -> SafeString:
    """Return all that a case holds, on the page of the request that puts it in force."""
    if subject.kind != kyc.KIND or subject.client is None:
        return SafeString("")
    path = onboarding.path(subject.client, now=now)
    rules = SigningRule.objects.filter(case=path.case).select_related("asset").order_by("action", "up_to", "pk")
    names: dict[UUID | None, str] = {party.person: party.name for party in path.checklist.parties}
    context = {
        "path": path,
        "client": path.client,
        "rules": [(rule, names.get(rule.person, "everybody who signs")) for rule in rules],
    }
    return render_to_string("admin/onboarding/case.html", context, request=request)


_site: Any = admin.site
_site.add_page(Page("pipeline/", "lending_pipeline", pipeline, SEE_CLIENTS, "lending", title="Pipeline"))
