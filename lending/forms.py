"""What is asked for a paper over a period: the same questions in the portal and in the admin."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django import forms
from django.http import HttpResponse, QueryDict

from lending import statements, tax_years
from lending.models import Client
from lending.papers import files
from lending.typed import Day, Instant

_FIRST_DAYS = 31
_DATE = {"type": "date"}


class _KnownForm(forms.Form):
    """Whose paper, from which day, as known when; sent by GET, so that it can be asked for again."""

    client = forms.ChoiceField(required=False)
    start = Day(label="From", widget=forms.DateInput(attrs=_DATE))
    known_at = Instant(
        label="As known at, UTC (empty: now)", required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"),
        input_formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"],
    )  # fmt: skip
    seal = forms.IntegerField(label="Or up to seal", min_value=0, required=False)

    def __init__(self, *args: Any, clients: Iterable[Client], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clients = list(clients)
        choices = [(str(row.public_id), row.name) for row in self.clients]
        self.fields["client"].choices = choices  # type: ignore[attr-defined]
        if len(choices) == 1:
            self.fields["client"].widget = forms.HiddenInput()

    def clean_known_at(self) -> datetime | None:
        """Return the instant in UTC, in which it was asked for."""
        at: datetime | None = self.cleaned_data["known_at"]
        return at.replace(tzinfo=UTC) if at else None

    @property
    def whose(self) -> Client:
        """Return the client that was asked for; the form knows none but the reader's own."""
        asked = self.cleaned_data["client"]
        return next((row for row in self.clients if str(row.public_id) == asked), self.clients[0])

    @property
    def rests_on(self) -> statements.Basis:
        """Return the link of the chain that was asked for, by its number or by the instant."""
        asked = self.cleaned_data
        return statements.basis(seq=asked["seal"], known_at=asked["known_at"])


class StatementForm(_KnownForm):
    """A statement of account."""

    end = Day(label="To, included", widget=forms.DateInput(attrs=_DATE))
    field_order = ("client", "start", "end", "known_at", "seal")

    def draw(self) -> statements.Statement:
        """Return what a valid form asks for."""
        asked = self.cleaned_data
        return statements.draw(self.whose, from_date=asked["start"], to_date=asked["end"], rests_on=self.rests_on)


class TaxYearForm(_KnownForm):
    """The summary of a year that begins on any day."""

    def draw(self) -> tax_years.TaxYear:
        """Return what a valid form asks for."""
        return tax_years.draw(self.whose, from_date=self.cleaned_data["start"], rests_on=self.rests_on)


def usual_statement(client: Client | None, today: date) -> dict[str, Any]:
    """Return what a reader most likely wants first: the last days up to today."""
    first = today - timedelta(days=_FIRST_DAYS - 1)
    return {"client": str(client.public_id) if client else "", "start": first, "end": today}


def usual_tax_year(client: Client | None, today: date) -> dict[str, Any]:
    """Return the calendar year of today."""
    return {"client": str(client.public_id) if client else "", "start": today.replace(month=1, day=1)}


def answered(form: StatementForm | TaxYearForm, asked: QueryDict) -> tuple[Any, HttpResponse | None]:
    """Return what a form asks for, and the file where the address wants one; a refusal is the form's own error."""
    if not form.clients:
        form.add_error(None, "There is no client of yours.")
    if not form.is_valid():
        return None, None
    try:
        drawn = form.draw()
    except statements.UnableToDraw as refusal:
        form.add_error(None, f"{str(refusal).capitalize()}.")
        return None, None
    wanted = asked.get("format", "")
    return drawn, files.of_period(drawn, wanted) if wanted in files.TYPES else None
