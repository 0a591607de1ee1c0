"""Form fields that take what people type as they read it elsewhere on the page."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS

from lending import csv_tables
from lending.engine import countries, names
from lending.models import WithdrawalAddress

FIRST_YEAR, LAST_YEAR = 1900, 2200  # of what is typed: with any other year the calendar itself could end
_MOST_DIGITS = 18  # of a key: all of them are bigints, and Python reads no number of thousands of digits
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")


class Figure(forms.DecimalField):
    """A number, with or without the commas between thousands with which every page writes it; 0,125 is no number."""

    def to_python(self, value: Any) -> Decimal | None:  # type: ignore[override]
        """Return the number; commas that stand anywhere but between thousands are an error."""
        if isinstance(value, str) and _GROUPED.fullmatch(value.strip()):
            value = value.replace(",", "")
        return super().to_python(value)


class _InTime(forms.Field):
    def validate(self, value: Any) -> None:
        """Refuse what lies so far off that it can only be a slip."""
        super().validate(value)
        if value and not FIRST_YEAR <= value.year <= LAST_YEAR:
            raise forms.ValidationError(f"The year {value.year} is a slip: it is from {FIRST_YEAR} to {LAST_YEAR}.")


class Day(_InTime, forms.DateField):
    """A day, chosen by the browser's own calendar."""

    widget = forms.DateInput(attrs={"type": "date"})


class Instant(_InTime, forms.DateTimeField):
    """An instant, as whoever types it has its clock."""


class PersonalName(forms.CharField):
    """The name of a person or firm, as it can be held against a list of names."""

    def clean(self, value: Any) -> str:
        """Return the name; what could not be compared is an error that says what to do."""
        typed = str(super().clean(value))
        if typed and (wrong := names.problem(typed)):
            raise forms.ValidationError(f"{wrong[:1].upper()}{wrong[1:]}.")
        return typed


class Country(forms.CharField):
    """A country, by its ISO 3166 code or its English name."""

    def __init__(self, **options: Any) -> None:
        words = options.pop("help_text", "Its name, or its ISO 3166 code: Switzerland, CH.")
        super().__init__(max_length=60, help_text=words, **options)

    def clean(self, value: Any) -> str:
        """Return the code; nothing where none is asked for and none was typed."""
        typed = str(super().clean(value))
        if not typed:
            return ""
        found = countries.code_of(typed)
        if found is None:
            raise forms.ValidationError(
                f"No country is called {typed}. Type its name, or its ISO 3166 code: DE, GB, CH."
            )
        return found


class AddressChoice(forms.ChoiceField):
    """
    One of a client's allowed addresses, each under the asset that may go there; none stands chosen.

    What a browser chooses by itself is the first, often an address of another asset than the one that is sent.
    """

    def offer(self, rows: Iterable[WithdrawalAddress]) -> None:
        """Offer these addresses; without any there is no choice at all."""
        found: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            found.setdefault(row.asset.code, []).append((row.address, f"{row.asset.code} {row.address}"))
        self.choices = [("", "choose an address"), *found.items()] if found else []


class TableForm(forms.Form):
    """A form with a CSV `file`, or the `table` itself: what was read from the file stands there to be mended."""

    def clean(self) -> dict[str, Any]:
        """Return the table, from the file where one was chosen."""
        given: dict[str, Any] = super().clean() or {}
        try:
            if given.get("file") is not None:
                given["table"] = csv_tables.text_of(given["file"].read(csv_tables.SIZE + 1))
            if not self.errors and not given.get("table", "").strip():
                raise forms.ValidationError("Choose a file, or write the table down.")
        except csv_tables.UnableToRead as refusal:
            raise forms.ValidationError(f"The file can not be read: {refusal}.") from refusal
        return given


def key_of(text: str) -> int:
    """Return the key that a text names: 0, which no row has, where it is none, however long it is."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0


def first_error(form: forms.Form) -> str:
    """Return the first thing that is wrong with a form, for one line: the field as its page calls it, and the words."""
    name, errors = next(iter(form.errors.items()))
    words = " ".join(map(str, errors)).rstrip(".")
    return words if name == NON_FIELD_ERRORS else f"{form[name].label}: {words}"
