"""Clients, the people who act for them, and the people of the desk."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from lending import departures, prospects, staff
from lending.admin import acts
from lending.admin.base import Lines, Table
from lending.models import Client, ClientUser, Loan, Role, RoleGrant, User
from lending.staff import roles

_REFUSALS = (departures.UnableToLeave, prospects.UnableToClose)


class ClientPeople(Lines):
    model = ClientUser
    fields = readonly_fields = ("user", "role", "created_at")
    verbose_name_plural = "people who sign in"


class ClientLoans(Lines):
    hide_title = False
    model = Loan
    fields = readonly_fields = ("product", "asset", "principal", "state", "maturity_date")


@admin.register(Client)
class ClientAdmin(Table):
    client_path = "pk"
    list_display = ("name", "kind", "jurisdiction", "stage", "relationship_manager", "created_at")
    list_filter = ("stage", "kind")
    search_fields = ("name",)
    change_list_template = "admin/guided.html"
    change_form_template = "admin/client.html"
    inlines = (ClientPeople, ClientLoans)
    fields = (
        "name",
        "kind",
        "jurisdiction",
        "time_zone",
        "stage",
        "stage_at",
        "source",
        "geography",
        "expected_size_usd",
        "classification",
        "relationship_manager",
        "created_at",
        "public_id",
    )
    units = {"expected_size_usd": "=USD"}

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the buttons before those of the table."""
        guard = self.admin_site.admin_view
        buttons = {"hand-over": _hand_over, "remove": _remove, "close": _close, "reopen": _reopen}
        return [
            *(
                path(f"<int:pk>/{name}/", guard(self._button(act)), name=f"lending_client_{name.replace('-', '_')}")
                for name, act in buttons.items()
            ),
            *super().get_urls(),
        ]

    def _button(self, act: acts.Act) -> Any:
        def press(request: HttpRequest, pk: int) -> HttpResponse:
            again = acts.on_its_page(self.change_view)
            return acts.perform(request, self.get_queryset(request), pk, act, refusals=_REFUSALS, again=again)

        return press

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a client, with what can be done about who acts for it and who looks after it."""
        shown, held = self.get_object(request, object_id), roles(request)
        extras: dict[str, Any] = {}
        if shown is not None:
            closed = shown.stage == Client.Stage.CLOSED
            hands, removes = bool(held & departures.HANDERS) and not closed, bool(held & departures.REMOVERS)
            waits = departures.waiting(shown, now=staff.now(request)) if hands or removes else {}
            extras = {
                "hands": hands,
                "asked": waits.get(departures.HAND_OVER) if hands else None,
                "leaving": waits.get(departures.LAST_SIGNER),
                "managers": [user for user in departures.managers() if user.pk != shown.relationship_manager_id]
                if hands
                else [],
                "acting": list(shown.client_users.select_related("user").order_by("user__name")) if removes else [],
                "closes": bool(held & prospects.CLOSERS),
                "closed": closed,
                "reopening": prospects.waiting(shown, now=staff.now(request)) if closed else None,
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the clients; who may take one on finds the way to it there."""
        manages = Role.RELATIONSHIP_MANAGER in roles(request)
        words = {"guided": "Take a client on", "way": "admin:lending_onboard"} if manages else {}
        return super().changelist_view(request, {**(extra_context or {}), **words})


def _hand_over(request: HttpRequest, client: Client, now: datetime) -> str:
    maker: Any = request.user
    to = next((user for user in departures.managers() if str(user.public_id) == request.POST.get("to", "")), None)
    if to is None:
        raise departures.UnableToLeave("choose who looks after it from then on")
    departures.ask_hand_over(client, to, reason=request.POST.get("why_handed", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person."


def _remove(request: HttpRequest, client: Client, now: datetime) -> str:
    by: Any = request.user
    chosen = request.POST.get("person", "")
    person = next((row for row in client.client_users.all() if str(row.user.public_id) == chosen), None)
    if person is None:
        raise departures.UnableToLeave("choose who acts for it no more")
    if departures.remove(person, reason=request.POST.get("why_ended", ""), by=by, now=now) is not None:
        return f"Asked: nobody else would sign for {client}, so a second person agrees to that."
    return f"{person.user} acts for {client} no more."


def _close(request: HttpRequest, client: Client, now: datetime) -> str:
    by: Any = request.user
    prospects.close(client, reason=request.POST.get("why_closed", ""), by=by, now=now)
    return "Closed: it stands in the pipeline no more."


def _reopen(request: HttpRequest, client: Client, now: datetime) -> str:
    by: Any = request.user
    if prospects.reopen(client, reason=request.POST.get("why_reopened", ""), by=by, now=now) is not None:
        return "Asked: it could borrow at once, so a second person agrees to that."
    return "Taken up again."


class Grants(Lines):
    model = RoleGrant
    fk_name = "user"
    fields = readonly_fields = ("role", "granted_by", "granted_at", "revoked_by", "revoked_at")


@admin.register(User)
class UserAdmin(Table):
    seen_by = frozenset({Role.RISK_HEAD, Role.DESK_HEAD, Role.OPERATIONS, Role.COMPLIANCE, Role.AUDITOR})
    list_display = ("email", "name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    fields = ("email", "name", "is_staff", "is_active", "last_login", "public_id")
    inlines = (Grants,)
    change_form_template = "admin/user.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the address of the button before those of the table."""
        guard = self.admin_site.admin_view
        return [path("<int:pk>/end-role/", guard(self.end_role), name="lending_user_end_role"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a person, with the roles that can be ended."""
        shown = self.get_object(request, object_id)
        ends = shown is not None and roles(request) & departures.ENDERS
        held = list(shown.role_grants.filter(revoked_at=None).order_by("role")) if shown is not None and ends else []
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "held": held})

    def end_role(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End a role of a person."""
        again = acts.on_its_page(self.change_view)
        return acts.perform(request, self.get_queryset(request), pk, _end_role, refusals=_REFUSALS, again=again)


def _end_role(request: HttpRequest, person: User, now: datetime) -> str:
    by: Any = request.user
    held = person.role_grants.filter(revoked_at=None, role=request.POST.get("role", "")).first()
    if held is None:
        raise departures.UnableToLeave("choose a role that they hold")
    departures.end_role(held, reason=request.POST.get("reason", ""), by=by, now=now)
    return f"{person} is not {held.get_role_display().lower()} any more."
