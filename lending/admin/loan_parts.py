"""Parts of a loan's page that are pages of their own, too: to be fetched, sent to, or read alone."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.views.decorators.http import require_http_methods

from lending import staff
from lending.admin import acts
from lending.models import Loan, Role
from lending.staff import Page


@dataclass(frozen=True, kw_only=True)
class LoanPart:
    """
    What a part shows and does.

    Its template finds the loan, `facts`, what was refused and what was typed.

    `alone` is the template of its own page, where that is another; `reads` is what is read together with the loan.
    """

    title: str
    template: str
    facts: Callable[[HttpRequest, Loan, datetime], dict[str, Any]]
    act: acts.Act
    refusals: tuple[type[Exception], ...]
    alone: str = ""
    reads: tuple[str, ...] = ()

    def at(self, address: str, name: str, seen_by: frozenset[Role], area: str) -> None:
        """Open the part's own page at an address of the admin that ends with the loan's key."""
        page = require_http_methods(["GET", "HEAD", "POST"])(self._page)
        site: Any = admin.site
        site.add_page(Page(f"{address}/<int:pk>/", name, page, seen_by, area))

    def button(self, act: acts.Act, refusals: tuple[type[Exception], ...]) -> Callable[..., HttpResponse]:
        """Return the view of another button of the part, which shows the part again where it is refused."""

        def pressed(request: HttpRequest, pk: int) -> HttpResponse:
            return acts.perform(request, self._seen(request), pk, act, refusals=refusals, again=self._shown)

        return pressed

    def _page(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method == "POST":
            return self.button(self.act, self.refusals)(request, pk)
        return self._shown(request, get_object_or_404(self._seen(request), pk=pk))

    def _seen(self, request: HttpRequest) -> QuerySet[Loan]:
        mine = Loan.objects.filter(client__in=staff.clients(request))
        return mine.select_related("client", "asset", *self.reads)

    def _shown(self, request: HttpRequest, loan: Loan, refusal: str = "") -> HttpResponse:
        told = {
            "loan": loan,
            "refusal": refusal,
            "typed": request.POST,
            **self.facts(request, loan, staff.now(request)),
        }
        status = 422 if refusal else 200
        if request.headers.get("HX-Request"):
            return TemplateResponse(request, self.template, told, status=status)
        frame = {**admin.site.each_context(request), "title": self.title, "part": self.alone or self.template, **told}
        return TemplateResponse(request, "admin/loan_part_page.html", frame, status=status)
