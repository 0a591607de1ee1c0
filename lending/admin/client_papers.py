"""Papers of clients in the admin: taken in line by line of the checklist, handed out as files and never shown."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from lending import documents, kyc, staff
from lending.admin.base import SEE_CLIENTS
from lending.admin.onboarding import FORM, again, done, page, path_of, worked_on
from lending.admin.onboarding_forms import PaperForm
from lending.checklists import Line
from lending.models import ChecklistItem, Document
from lending.onboarding import Path
from lending.staff import Page
from lending.typed import key_of


@FORM
def papers(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Show a client's checklist, and take in a paper or the answers to its questions."""
    path = path_of(request, public_id)
    act = request.POST.get("act", "")
    posted: Line | None = None
    form: PaperForm | None = None
    if act == "paper":
        posted = line = _line(path, request)
        form = given = PaperForm(request.POST, request.FILES, expires=line.item.expires)
        if form.is_valid() and done(request, form, lambda: _taken_in(request, path, line, given)):
            return again(path, "documents")
    elif act == "answers" and done(request, None, lambda: _answered(request, path)):
        return again(path, "documents")
    elif act == "withdraw":
        done(request, None, lambda: _withdrawn(request, path))
        return again(path, "documents")
    asked = [line for line in path.checklist.lines if line.item.kind == ChecklistItem.Kind.DOCUMENT]
    context = {
        "paper_lines": [
            (line, form if line is posted else PaperForm(expires=line.item.expires), line is posted) for line in asked
        ],
        "fact_lines": [line for line in path.checklist.lines if line.item.kind == ChecklistItem.Kind.FACT],
        "typed": request.POST if act == "answers" else {},
        "form": form,
        "others": _others(path),
    }
    return page(request, path, "documents", f"Papers of {path.client}", context)


def _line(path: Path, request: HttpRequest) -> Line:
    """Return the line of the checklist that was posted."""
    asked = request.POST.get("item", ""), request.POST.get("person", "")
    for line in path.checklist.lines:
        if (str(line.item.pk), str(line.person or "")) == asked:
            return line
    raise Http404("no such line")


def _taken_in(request: HttpRequest, path: Path, line: Line, form: PaperForm) -> str:
    asked, by = form.cleaned_data, request.user
    row = documents.add(
        path.client, asked["paper"], kind=line.item.code, name=asked["paper"].name, person=line.person,
        expires_date=asked.get("expires_date"), by=by, now=staff.now(request),  # type: ignore[arg-type]
    )  # fmt: skip
    return f"{row.name} is kept."


def _answered(request: HttpRequest, path: Path) -> str:
    case, now = worked_on(path), staff.now(request)
    by: Any = request.user
    for line in path.checklist.lines:
        name = f"fact-{line.item.code}-{line.person or ''}"
        if line.item.kind == ChecklistItem.Kind.FACT and name in request.POST:
            kyc.answer(case, line.item.code, request.POST[name], person=line.person, by=by, now=now)
    return "Written down."


def _withdrawn(request: HttpRequest, path: Path) -> str:
    mine = Document.objects.filter(client=path.client).exclude(agreement__isnull=False)
    paper = get_object_or_404(mine.select_related("client"), pk=key_of(request.POST.get("row", "")))
    by: Any = request.user
    documents.withdraw(paper, by=by, now=staff.now(request))
    return "Withdrawn: the file stays, and nothing rests on it any more."


def _others(path: Path) -> list[Document]:
    """Return the papers in use that no line of the checklist shows: older ones, and those that nobody asked for."""
    shown = {line.document.pk for line in path.checklist.lines if line.document}
    return [paper for paper in documents.in_use(path.client) if paper.pk not in shown]


@require_safe
def download(request: HttpRequest, public_id: UUID) -> HttpResponse:
    """Hand a paper out as a file: a browser neither shows nor runs any of it."""
    mine = Document.objects.filter(client__in=staff.clients(request)).select_related("client", "file")
    paper = get_object_or_404(mine, public_id=public_id)
    by: Any = request.user
    answer = HttpResponse(
        documents.open_for(paper, by=by, now=staff.now(request)), content_type="application/octet-stream"
    )
    answer["Content-Disposition"] = f'attachment; filename="{paper.name.encode("ascii", "replace").decode()}"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer["Cache-Control"] = "private, no-store"
    return answer


_site: Any = admin.site
_site.add_page(Page("onboarding/<uuid:public_id>/documents/", "lending_path_documents", papers, SEE_CLIENTS, "lending"))
_site.add_page(Page("documents/<uuid:public_id>/", "lending_document", download, SEE_CLIENTS, "lending"))
