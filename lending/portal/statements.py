"""Statements of account in the portal: on the page, as PDF, as CSV."""

from datetime import date, timedelta
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from lending import statements
from lending.models import Client
from lending.portal import statement_pdf
from lending.portal.doors import SignedIn, borrower_only, clients_of

_FORMATS = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}
_FIRST_DAYS = 31


class StatementForm(forms.Form):
    """Whose statement, for which days, as known up to which seal; sent by GET, so that it can be asked for again."""

    client = forms.ChoiceField(required=False)
    start = forms.DateField(label="From", widget=forms.DateInput(attrs={"type": "date"}))
    end = forms.DateField(label="To, included", widget=forms.DateInput(attrs={"type": "date"}))
    seal = forms.IntegerField(label="As known at seal (empty: by now)", min_value=0, required=False)

    def __init__(self, *args: Any, clients: list[Client], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["client"].choices = [(str(row.public_id), row.name) for row in clients]  # type: ignore[attr-defined]
        if len(clients) == 1:
            self.fields["client"].widget = forms.HiddenInput()


@require_safe
@borrower_only
def statement(request: SignedIn) -> HttpResponse:
    """Show a statement, or hand it out as a file when the address says so."""
    clients = clients_of(request)
    today = request.reading.now.date()
    asked = dict(request.GET.items()) if "start" in request.GET else _usual(clients[0], today)
    form = StatementForm(asked, clients=clients)
    drawn = None
    if form.is_valid():
        try:
            drawn = _drawn(form, clients)
        except statements.UnableToDraw as refusal:
            form.add_error(None, f"{str(refusal).capitalize()}.")
    wanted = request.GET.get("format", "")
    if drawn is not None and wanted in _FORMATS:
        return _file(drawn, wanted)
    context = {"now": request.reading.now, "page": "statements", "form": form, "statement": drawn}
    return render(request, "portal/statement.html", context, status=200 if form.is_valid() else 422)


def _usual(client: Client, today: date) -> dict[str, Any]:
    return {"client": str(client.public_id), "start": today - timedelta(days=_FIRST_DAYS - 1), "end": today}


def _drawn(form: StatementForm, clients: list[Client]) -> statements.Statement:
    """Draw what a valid form asks for; the form knows no client but the reader's own."""
    asked = form.cleaned_data
    whose = next((row for row in clients if str(row.public_id) == asked["client"]), clients[0])
    rests_on = statements.basis(seq=asked["seal"])
    return statements.draw(whose, from_date=asked["start"], to_date=asked["end"], rests_on=rests_on)


def _file(drawn: statements.Statement, wanted: str) -> HttpResponse:
    content = statement_pdf.render(drawn) if wanted == "pdf" else statements.as_csv(drawn)
    answer = HttpResponse(content, content_type=_FORMATS[wanted])
    name = f"statement-{drawn.from_date}-{drawn.to_date}-seal-{drawn.basis.seq}.{wanted}"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
