"""What people type is taken as they read it, and a price shows what moves: commas, countries, coins near a dollar."""

from decimal import Decimal

import pytest
from django import forms

from lending.templatetags.plimsoll import price
from lending.typed import Country, Day, Figure, Instant, PersonalName, key_of


@pytest.mark.parametrize(
    ("typed", "read"),
    [("500,000", "500000"), ("1,250.50", "1250.50"), (" 1,000,000 ", "1000000"), ("-2,500", "-2500"), ("12.5", "12.5")],
)
def test_a_number_is_read_with_or_without_commas(typed: str, read: str) -> None:
    assert Figure().clean(typed) == Decimal(read)


@pytest.mark.parametrize(
    "typed", ["1,5", "1,50.00", "12,34,567", "1.000,50", ",500", "0,125", "0,985", "NaN", "1e5,000", "five"]
)
def test_a_comma_anywhere_else_is_refused(typed: str) -> None:
    with pytest.raises(forms.ValidationError, match="Enter a number"):
        Figure().clean(typed)


@pytest.mark.parametrize("typed", ["9999-12-31", "0001-01-01", "2201-01-01", "1899-12-31"])
def test_a_year_that_can_only_be_a_slip_is_refused(typed: str) -> None:
    for field, at in ((Day(), typed), (Instant(), f"{typed} 23:59")):
        with pytest.raises(forms.ValidationError, match=r"The year \d+ is a slip: it is from 1900 to 2200"):
            field.clean(at)
    assert Day(required=False).clean("") is None


@pytest.mark.parametrize(("typed", "code"), [("ch", "CH"), ("United Kingdom", "GB"), (" GB ", "GB"), ("Türkiye", "TR")])
def test_a_country_is_read_by_its_code_or_its_name(typed: str, code: str) -> None:
    assert Country().clean(typed) == code


@pytest.mark.parametrize("typed", ["UN", "XX", "Atlantis", "United"])
def test_what_is_no_country_is_refused(typed: str) -> None:
    with pytest.raises(forms.ValidationError, match=f"No country is called {typed}"):
        Country().clean(typed)


@pytest.mark.parametrize("typed", ["Aurelio Pasco", "José Ødegård-Łukasz", "Владимир Крылов", "O’Brien & Sons, Ltd."])
def test_a_name_that_can_be_compared_is_taken_as_it_is(typed: str) -> None:
    assert PersonalName().clean(typed) == typed


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("Vladi\u200bmir Krylov", "signs that can not be seen"),
        ("Vladi\u00admir Krylov", "signs that can not be seen"),
        ("Vladimir \u0420rylov", "mixes letters of two alphabets"),  # a Cyrillic Р
        ("弗拉基米尔", "Write it in Latin letters"),
        ("123", "Write it in Latin letters"),
        ("A " * 17, "at most 16 words"),
    ],
)
def test_a_name_that_can_not_be_compared_is_refused(typed: str, says: str) -> None:
    with pytest.raises(forms.ValidationError, match=says):
        PersonalName().clean(typed)


@pytest.mark.parametrize(
    ("value", "written"),
    [("35281.48", "35,281.48"), ("10", "10.00"), ("1.000343", "1.000343"), ("0.9", "0.900000"), (None, "–")],
)
def test_a_price_near_a_dollar_shows_what_moves_in_it(value: str | None, written: str) -> None:
    assert written in price(value and Decimal(value))


@pytest.mark.parametrize(
    ("text", "key"), [("12", 12), ("", 0), ("-1", 0), ("1.5", 0), ("²", 0), ("9" * 18, 10**18 - 1), ("9" * 5000, 0)]
)
def test_a_key_is_a_number_that_a_row_can_have(text: str, key: int) -> None:
    assert key_of(text) == key
