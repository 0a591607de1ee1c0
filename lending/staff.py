"""The admin site: for people with a role of the desk, behind the one sign-in page, with pages that are no model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any

from csp.constants import UNSAFE_EVAL
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, URLPattern, URLResolver, path, reverse
from unfold.sites import UnfoldAdminSite

from lending import access, clock, panels
from lending.models import Client, Role


def roles(request: HttpRequest) -> frozenset[Role]:
    """Return the roles of whoever asks, looked up once per request."""
    held: frozenset[Role] | None = getattr(request, "roles", None)
    if held is None:
        held = access.roles_of(request.user)
        request.roles = held  # type: ignore[attr-defined]
    return held


def clients(request: HttpRequest) -> QuerySet[Client]:
    """Return the clients whom the reader may see, their roles looked up once per request."""
    seen: QuerySet[Client] | None = getattr(request, "clients", None)
    if seen is None:
        seen = access.clients_for(request.user, roles(request))
        request.clients = seen  # type: ignore[attr-defined]
    return seen


def now(request: HttpRequest) -> datetime:
    """Return platform time as it was when the page was asked for, read once per request."""
    reading: clock.Reading | None = getattr(request, "reading", None)
    if reading is None:
        reading = clock.reading()
        request.reading = reading  # type: ignore[attr-defined]
    return reading.now


@dataclass(frozen=True)
class Page:
    """A page of the admin that stands for no table; without a title the index does not list it."""

    route: str
    name: str
    view: Callable[..., HttpResponse]
    roles: frozenset[Role]
    app_label: str
    title: str = ""


@dataclass(frozen=True)
class Link:
    """A line of the menu: the name of a page's address, and the words and the sign for it."""

    name: str
    title: str
    icon: str


class Site(UnfoldAdminSite):
    site_header = "Plimsoll"
    site_title = "Plimsoll"
    index_title = "Today"
    site_url = "/"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self._pages: list[Page] = []

    def add_page(self, page: Page) -> None:
        """Add a page; apps do so while their admin modules load."""
        self._pages.append(page)

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register a table that says which roles see it; others, such as Django's groups, have no place here."""
        if getattr(admin_class, "seen_by", None) is not None:
            super().register(model_or_iterable, admin_class, **options)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what every page knows: also whether requests about no client are shown to its reader."""
        every = bool(roles(request) & access.SEES_EVERY_CLIENT)
        return {**super().each_context(request), "sees_every_client": every}

    def has_permission(self, request: HttpRequest) -> bool:
        """Let in whoever holds a role of the desk."""
        return bool(roles(request) & access.STAFF_ROLES)

    def admin_view(self, view: Callable[..., HttpResponse], cacheable: bool = False) -> Callable[..., HttpResponse]:
        """Guard a page, and allow it the one thing that the lists' scripts need: to evaluate their own attributes."""
        guarded = super().admin_view(view, cacheable)

        @wraps(guarded)
        def scripted(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            answer: HttpResponse = guarded(request, *args, **kwargs)
            answer._csp_update = {"script-src": [UNSAFE_EVAL]}  # type: ignore[attr-defined]
            return answer

        return scripted

    def menu(self, request: HttpRequest, groups: Sequence[tuple[str, Sequence[Link]]]) -> list[dict[str, Any]]:
        """Return the groups of the menu with the pages that the reader may open; a group without one is left out."""
        shown = []
        for title, links in groups:
            items = [self._menu_item(request, link) for link in links if self._may_open(request, link.name)]
            if items:
                shown.append({"title": title, "items": items, "active": any(item["active"] for item in items)})
        return shown

    def _menu_item(self, request: HttpRequest, link: Link) -> dict[str, Any]:
        address = reverse(f"admin:{link.name}")
        here = request.path == address or (link.name.endswith("_changelist") and request.path.startswith(address))
        return {"title": link.title, "icon": link.icon, "link": address, "active": here}

    def _may_open(self, request: HttpRequest, name: str) -> bool:
        for page in self._pages:
            if page.name == name:
                return bool(roles(request) & page.roles)
        for model, table in self._registry.items():
            if f"{model._meta.app_label}_{model._meta.model_name}_changelist" == name:
                return bool(table.has_view_permission(request))
        return name == "index"

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send strangers to the one sign-in page, and tell a borrower that this door is not theirs."""
        if self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.GET.get("next", reverse("admin:index")), settings.LOGIN_URL)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Return the pages' addresses before those of the tables."""
        pages = [path(page.route, self._guarded(page), name=page.name) for page in self._pages]
        return [*pages, *super().get_urls()]

    def _guarded(self, page: Page) -> Callable[..., HttpResponse]:
        @wraps(page.view)
        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not roles(request) & page.roles:
                raise PermissionDenied
            return page.view(request, *args, **kwargs)

        return self.admin_view(view)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show what the reader came for: the parts that apps put on the home page."""
        shown = panels.render("admin.home", request, request.user, now=now(request))
        return super().index(request, {**(extra_context or {}), "panels": shown})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return what the reader may open, the pages first."""
        apps: list[Any] = super().get_app_list(request, app_label)
        for page in reversed(self._pages):
            if page.title and roles(request) & page.roles and app_label in {None, page.app_label}:
                _section(apps, page.app_label)["models"].insert(0, _link(page))
        return apps


def _section(apps: list[Any], label: str) -> dict[str, Any]:
    for app in apps:
        if app["app_label"] == label:
            found: dict[str, Any] = app
            return found
    try:
        url = reverse("admin:app_list", kwargs={"app_label": label})
    except NoReverseMatch:
        url = ""
    section = {"name": label.title(), "app_label": label, "app_url": url, "has_module_perms": True, "models": []}
    apps.append(section)
    return section


def _link(page: Page) -> dict[str, Any]:
    return {
        "name": page.title,
        "object_name": page.name,
        "perms": {"view": True},
        "admin_url": reverse(f"admin:{page.name}"),
        "add_url": None,
        "view_only": True,
    }
