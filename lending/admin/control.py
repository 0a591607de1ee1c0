"""Two pairs of eyes, and the trail: requests to decide, and who did what."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from lending import approvals, panels, staff
from lending.admin import acts
from lending.admin.base import SEE_BOOKS, Table
from lending.admin.home import decider
from lending.models import Approval, AuditRecord

# What the page says by its title, its reason, and the parts about the account or the ladder.
_SAID = ("reason", "margin_account", "call", "client", "figures")


@admin.register(Approval)
class ApprovalAdmin(Table):
    client_path = "client"
    change_form_template = "admin/approval.html"
    list_display = ("kind", "client", "state", "maker", "checker", "requested_at", "expires_at")
    list_filter = ("state", "kind")
    ordering = ("-requested_at", "-pk")
    fields = ("public_id", "kind", "state", "executed_at")

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the buttons before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("<int:pk>/approve/", guard(self.approve), name="lending_approval_approve"),
            path("<int:pk>/reject/", guard(self.reject), name="lending_approval_reject"),
            path("<int:pk>/withdraw/", guard(self.withdraw), name="lending_approval_withdraw"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show in words what is asked for, what it is about, and, to whoever may decide, the two buttons."""
        shown: Approval | None = self.get_object(request, object_id)
        extras: dict[str, Any] = {}
        if shown:
            now = staff.now(request)
            who, yours = decider(request, shown)
            extras = {
                "wanted": settings.LENDING_APPROVAL_WORDS.get(shown.kind, shown.kind.replace("_", " ")),
                "asked": [(name, value) for name, value in shown.payload.items() if name not in _SAID],
                "open": shown.state == Approval.State.REQUESTED and now < shown.expires_at,
                "decider": who,
                "yours": yours,
                "own": shown.maker_id == request.user.pk and shown.state in approvals.OPEN and now < shown.expires_at,
                "about": panels.render("admin.approval", request, shown, now=now),
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def approve(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve a request as the second person."""
        return self._decide(request, pk, approve=True)

    def reject(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Reject a request as the second person."""
        return self._decide(request, pk, approve=False)

    def withdraw(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Take back a request as the person who made it."""

        def take_back(request: HttpRequest, row: Approval, now: datetime) -> str:
            by: Any = request.user
            if row.maker_id != by.pk:
                raise approvals.UnableToApprove("only who has asked can take it back")
            approvals.withdraw(row, by=by, now=now)
            return "Taken back."

        rows = self.get_queryset(request)
        return acts.perform(request, rows, pk, take_back, refusals=(approvals.UnableToApprove,))

    def _decide(self, request: HttpRequest, pk: int, *, approve: bool) -> HttpResponse:
        def decide(request: HttpRequest, row: Approval, now: datetime) -> str:
            reason = request.POST.get("reason", "")
            checker: Any = request.user
            approvals.decide(row, checker=checker, approve=approve, reason=reason, now=now)
            return "Approved by you, as the second person." if approve else "Rejected by you."

        rows, again = self.get_queryset(request), acts.on_its_page(self.change_view)
        return acts.perform(request, rows, pk, decide, refusals=(approvals.UnableToApprove,), again=again)


@admin.register(AuditRecord)
class AuditRecordAdmin(Table):
    seen_by = SEE_BOOKS
    client_path = "client"
    list_display = ("happened_at", "action", "actor", "object_kind", "object_id", "reason")
    list_filter = ("action", "object_kind")
    search_fields = ("object_id",)
    ordering = ("-happened_at", "-pk")
    fields = (
        "happened_at", "action", "actor", "object_kind", "object_id", "client", "before", "after", "reason", "address",
    )  # fmt: skip
