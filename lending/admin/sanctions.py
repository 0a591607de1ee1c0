"""Sanctions lists: which there are, what they said when, and the door by which compliance brings a new version in."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from lending import sanctions, staff
from lending.admin import acts
from lending.admin.base import Lines, Table
from lending.engine import countries
from lending.list_files import FORMS
from lending.models import (
    Role,
    SanctionsEntry,
    SanctionsList,
    SanctionsName,
    SanctionsUpload,
    SanctionsVersion,
)
from lending.staff import roles
from lending.typed import Day, first_error, key_of

SEE_SCREENING = frozenset({Role.COMPLIANCE, Role.AUDITOR})
_SHOWN = 100  # of what a version changed; the list of entries holds the rest
_VERSIONS = 30


class _Files(forms.ClearableFileInput):
    allow_multiple_selected = True


class _FilesField(forms.FileField):
    """Several files at once."""

    widget = _Files

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        return [super(_FilesField, self).clean(one, initial) for one in (data or [None])]


class ImportForm(forms.Form):
    """The files of a new version; a browser keeps no chosen files, so they alone are chosen again after a refusal."""

    chosen = _FilesField(
        label="Files",
        help_text="OFAC: sdn.csv, alt.csv and add.csv together, or sdn.xml. EU: the full list, CSV or XML 1.1.",
    )
    published_on = Day(
        label="Published on",
        required=False,
        help_text="Needed for OFAC's CSV files, which do not say it.",
    )
    confirmed = forms.BooleanField(
        label="It is meant, even if it is older or much shorter than what stands", required=False
    )


@admin.register(SanctionsList)
class SanctionsListAdmin(Table):
    seen_by = SEE_SCREENING
    list_display = ("name", "code", "stands", "published", "imported", "entries")
    ordering = ("code",)
    change_form_template = "admin/sanctions_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[SanctionsList]:
        """Return the lists, each with the version that stands."""
        rows: QuerySet[SanctionsList] = super().get_queryset(request)
        return rows.prefetch_related("versions")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> SanctionsList | None:
        """Return a list alone: its page reads of the versions what it shows."""
        return SanctionsList.objects.filter(pk=key_of(object_id)).first()

    @admin.display(description="stands")
    def stands(self, row: SanctionsList) -> str:
        version = _newest(row)
        return f"version {version.number}" if version else "nothing yet"

    @admin.display(description="published")
    def published(self, row: SanctionsList) -> Any:
        version = _newest(row)
        return version.published_on if version else None

    @admin.display(description="imported")
    def imported(self, row: SanctionsList) -> Any:
        version = _newest(row)
        return version.imported_at if version else None

    @admin.display(description="entries")
    def entries(self, row: SanctionsList) -> str:
        version = _newest(row)
        return f"{version.entries:,}" if version else "–"

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the button and of the part that follows it before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("<int:pk>/import/", guard(self.bring_in), name="lending_sanctionslist_import"),
            path("<int:pk>/progress/", guard(self.progress), name="lending_sanctionslist_progress"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a list: what is being read, what stands and stood, and the form that brings a new version in."""
        shown, extras = self.get_object(request, object_id), {}
        if shown is not None:
            versions = shown.versions.select_related("imported_by").order_by("-number")
            extras = {
                **_upload(shown),
                "versions": list(versions[:_VERSIONS]),
                "now": staff.now(request),
                "import_form": _form(extra_context) if roles(request) & sanctions.IMPORTERS else None,
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def bring_in(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Keep the files of a new version for the worker."""
        again = acts.on_its_page(self.change_view)
        refusals = (sanctions.UnableToImport,)
        return acts.perform(request, self.get_queryset(request), pk, _bring_in, refusals=refusals, again=again)

    def progress(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show how far the newest upload of a list has come."""
        shown = self.get_object(request, str(pk))
        if shown is None or not self.has_view_permission(request, shown):
            raise Http404("no such list")
        return TemplateResponse(request, "admin/sanctions_upload.html", {"original": shown, **_upload(shown)})


def _newest(row: SanctionsList) -> SanctionsVersion | None:
    """Return the version that stands, out of those read along with the list."""
    return max(row.versions.all(), key=lambda version: version.number, default=None)


def _upload(shown: SanctionsList) -> dict[str, Any]:
    """Return the newest upload of a list, its version if it became one, and how far it was read while it waits."""
    rows = shown.uploads.select_related("uploaded_by", "version").order_by("-uploaded_at", "-pk")
    upload = rows.first()
    waits = upload is not None and upload.state == SanctionsUpload.State.WAITING
    return {
        "upload": upload,
        "form_of_it": FORMS.get(upload.form, "") if upload else "",
        "fraction": Decimal(f"{sanctions.progress(upload):.3f}") if upload and waits else None,
        "taken": getattr(upload, "version", None),
    }


def _form(context: Any) -> ImportForm:
    """Return the form as it was sent, where a refusal is shown, and an empty one otherwise."""
    typed = (context or {}).get("typed")
    return ImportForm(initial={name: typed.get(name) for name in ("published_on", "confirmed")} if typed else None)


def _bring_in(request: HttpRequest, row: SanctionsList, now: datetime) -> str:
    form = ImportForm(request.POST, request.FILES)
    if not form.is_valid():
        raise sanctions.UnableToImport(first_error(form))
    said = form.cleaned_data
    by: Any = request.user
    sanctions.receive(
        row, said["chosen"], published_on=said["published_on"], confirmed=said["confirmed"], by=by, now=now
    )
    return "The files are here and are being read."


@admin.register(SanctionsVersion)
class SanctionsVersionAdmin(Table):
    seen_by = SEE_SCREENING
    list_display = ("watchlist", "number", "published_on", "entries", "added", "changed", "removed", "imported_at")
    list_filter = ("watchlist",)
    ordering = ("-imported_at", "-pk")
    change_form_template = "admin/sanctions_version.html"
    fields = ("watchlist", "number", "sha256", "imported_by", "imported_at")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show what a version changed."""
        shown, extras = self.get_object(request, object_id), {}
        if shown is not None:
            now_says = {row.ref: row for row in shown.opened.order_by("name")[: 2 * _SHOWN]}
            said = list(shown.closed.order_by("name")[: 2 * _SHOWN])
            before = {row.ref for row in SanctionsEntry.objects.filter(closed_by=shown, ref__in=now_says).only("ref")}
            after = {row.ref for row in SanctionsEntry.objects.filter(opened_by=shown, ref__in=[r.ref for r in said])}
            extras = {
                "changes": [
                    ("Added", shown.added, [row for ref, row in now_says.items() if ref not in before][:_SHOWN]),
                    ("Changed", shown.changed, [row for ref, row in now_says.items() if ref in before][:_SHOWN]),
                    ("Removed", shown.removed, [row for row in said if row.ref not in after][:_SHOWN]),
                ],
                "files": list(shown.upload.files.defer("content").order_by("pk")),
                "form_of_it": FORMS.get(shown.upload.form, shown.upload.form),
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})


class Aliases(Lines):
    model = SanctionsName
    fields = readonly_fields = ("name", "kind", "weak")
    verbose_name_plural = "names"
    show_change_link = False


class Standing(admin.SimpleListFilter):
    """Whether an entry stands on its list today; it does where nothing is asked."""

    title = "on the list"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "no longer, or said otherwise now"), ("all", "all")]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        return iter(({**first, "display": "today"}, *others))

    def queryset(self, request: HttpRequest, queryset: QuerySet[SanctionsEntry]) -> QuerySet[SanctionsEntry]:
        if self.value() == "all":
            return queryset
        return queryset.filter(closed_by__isnull=self.value() != "no")


@admin.register(SanctionsEntry)
class SanctionsEntryAdmin(Table):
    seen_by = SEE_SCREENING
    list_display = ("name", "kind", "watchlist", "ref", "of_countries", "since")
    list_filter = (Standing, "watchlist", "kind")
    search_fields = ("aliases__name", "ref")
    list_reads = ("opened_by",)
    ordering = ("name", "pk")
    inlines = (Aliases,)
    fields = (
        "name", "kind", "watchlist", "ref", "born", "of_countries", "of_programs", "remarks", "opened_by", "closed_by",
    )  # fmt: skip
    readonly_fields = ("born", "of_countries", "of_programs")

    @admin.display(description="countries")
    def of_countries(self, row: SanctionsEntry) -> str:
        return ", ".join(countries.NAMES.get(code, code) for code in row.countries) or "–"

    @admin.display(description="born")
    def born(self, row: SanctionsEntry) -> str:
        return "; ".join(text for text, _first, _last in row.births) or "–"

    @admin.display(description="programs")
    def of_programs(self, row: SanctionsEntry) -> str:
        return ", ".join(row.programs) or "–"

    @admin.display(description="since")
    def since(self, row: SanctionsEntry) -> str:
        return f"version {row.opened_by.number}, {row.opened_by.published_on}"
