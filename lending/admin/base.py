"""What every table in the admin has in common: who may look at it, and that looking is all they may do."""

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import JSONField, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

from lending import access, staff
from lending.models import Role
from lending.models.fields import AmountField, RatioField
from lending.staff import roles
from lending.templatetags.plimsoll import amount, figure, percent, short

# Whoever knows when a client is called could trade ahead of the sale.
SEE_CLIENTS = access.STAFF_ROLES - {Role.DESK_TRADER}
SEE_DESK = access.STAFF_ROLES - {Role.RELATIONSHIP_MANAGER, Role.OPERATIONS}
SEE_BOOKS = access.STAFF_ROLES - {Role.RELATIONSHIP_MANAGER, Role.DESK_TRADER}


class _Looking:
    """
    View permission by role; adding, changing and deleting only where a table says how.

    Amounts stand beside their asset and ratios as percentages. `units` says in what an amount is counted: a lookup
    from the row, or a code after "="; without a word it is the row's own asset. A model that is called by the name of
    another says so in `named_by`, so that a page of rows reads all names in one query.
    """

    model: Any
    admin_site: Any
    seen_by: frozenset[Role] = SEE_CLIENTS
    units: dict[str, str] = {}

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(roles(request) & self.seen_by)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def written(self, names: Sequence[Any], request: HttpRequest) -> list[Any]:
        """
        Return columns with every amount and ratio replaced by how it is written, each always by the same one.

        What would lead to a page that the reader may not open is plain text.
        """
        columns: dict[tuple[str, bool], Any] = self.__dict__.setdefault("columns", {})
        found = []
        for name in names:
            if not isinstance(name, str):
                found.append(name)
                continue
            key = (name, self._leads_nowhere(name, request))
            if key not in columns:
                columns[key] = self._plain(name) if key[1] else self._written(name)
            found.append(columns[key])
        return found

    def read_with(self, shown: Sequence[Any] = ()) -> set[str]:
        """Return the lookups whose rows are read along with a row that shows some columns, without a word all of it."""
        links = [field.name for field in self.model._meta.fields if field.many_to_one or field.one_to_one]
        named = [name for name in links if not shown or name in shown or name == "asset"]
        units = [unit for unit in self.units.values() if not unit.startswith("=")]
        return {step for path in (*named, *units) for step in _steps(self.model, path)}

    def _leads_nowhere(self, name: str, request: HttpRequest) -> bool:
        """Return whether a field links to a table that the reader may not see."""
        try:
            related = self.model._meta.get_field(name).related_model
        except FieldDoesNotExist:
            return False
        table = self.admin_site._registry.get(related)
        return table is not None and not table.has_view_permission(request)

    def _plain(self, name: str) -> Any:
        title = str(self.model._meta.get_field(name).verbose_name)
        return _column(name, title, lambda row: str(getattr(row, name) or "–"))

    def _written(self, name: str) -> Any:
        try:
            field = self.model._meta.get_field(name)
        except FieldDoesNotExist:
            return name
        if name.endswith("_bps"):
            title = str(field.verbose_name).removesuffix(" bps")
            return _column(name, title, lambda row: figure(getattr(row, name), "bps"))
        if isinstance(field, JSONField):
            # Ours, as Unfold's colours are styles that the content policy does not let in.
            return _column(name, str(field.verbose_name), lambda row: _as_json(getattr(row, name)))
        if isinstance(field, RatioField):
            return _column(name, str(field.verbose_name), lambda row: percent(getattr(row, name), 3))
        if isinstance(field, AmountField):
            unit = self.units.get(name, "asset")
            return _column(name, str(field.verbose_name), lambda row: amount(getattr(row, name), _unit(row, unit)))
        return name


def _steps(model: Any, path: str) -> list[str]:
    """Return the lookups that read what a row leads to, and what that is called by."""
    for name in path.split("__"):
        model = model._meta.get_field(name).related_model
    return [path, *(f"{path}__{more}" for more in getattr(model, "named_by", ()))]


def _unit(row: Any, unit: str) -> str:
    if unit.startswith("="):
        return unit[1:]
    for step in unit.split("__"):
        row = getattr(row, step)
    return str(row)


def _as_json(value: Any) -> SafeString:
    text = json.dumps(value, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder)
    return format_html('<pre class="json">{}</pre>', text)


def _column(name: str, title: str, write: Callable[[Any], str]) -> Callable[[Any], str]:
    @admin.display(description=title, ordering=name)
    def column(row: Any) -> str:
        return write(row)

    return column


@admin.display(description="id", ordering="public_id")
def _short_id(row: Any) -> str:
    return short(row.public_id)


class Table(_Looking, ModelAdmin):
    """
    A table to look at.

    `client_path` is the lookup from a row to its client: a relationship manager sees the rows of their own clients, but
    for those `kept_from_managers`, of which nobody who meets the client is to read.
    """

    client_path: str | None = None
    kept_from_managers = Q(pk=None)
    list_reads: tuple[str, ...] = ()  # what a list's own columns read beside the row's links
    list_per_page = 50
    show_full_result_count = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        if self.client_path is None or roles(request) & access.SEES_EVERY_CLIENT:
            return rows
        return rows.exclude(self.kept_from_managers).filter(**{f"{self.client_path}__in": staff.clients(request)})

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        """Return what a list reads along with its rows: no more than it shows, a row of everything is slow to make."""
        return [*self.read_with(self.list_display), *self.list_reads]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row with all that its page names, read at once and once per request; None where there is none."""
        known: dict[Any, Any] = request.__dict__.setdefault("rows_shown", {})
        key = self.model, object_id, from_field
        if key not in known:
            field = self.model._meta.get_field(from_field) if from_field else self.model._meta.pk
            rows = self.get_queryset(request).select_related(*self.read_with())
            with contextlib.suppress(self.model.DoesNotExist, ValidationError, ValueError):
                known[key] = rows.get(**{field.name: field.to_python(object_id)})
        return known.get(key)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Refuse every lookup but those the table offers: a guessed prefix would tell a password's hash."""
        offered = (self.date_hierarchy, *self.list_filter, *self.search_fields)
        return any(name and f"{lookup}__".startswith(f"{name}__") for name in offered)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns of a list; a row's id stands there by its first eight characters, as people say it."""
        columns = {"public_id": _short_id}
        return self.written([columns.get(name, name) for name in super().get_list_display(request)], request)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        every = [field.name for field in self.model._meta.fields if not field.primary_key]
        return self.written(self.fields or every, request)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}


class Lines(_Looking, TabularInline):
    """Rows that belong to the shown one."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True
    hide_title = True  # a row says what it is; those that lead to a page of their own say so

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related(*self.read_with())

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.written(super().get_fields(request, obj), request)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.written(super().get_readonly_fields(request, obj), request)
