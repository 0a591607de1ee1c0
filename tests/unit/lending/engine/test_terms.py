"""The text of a term sheet: what is written is read back as it was, and what could not be is refused."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from lending.engine import terms
from lending.engine.terms import Term, UnableToWrite, Unit


def term(unit: Unit) -> Term:
    return Term("loan", "figure", "Figure", unit)


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.AMOUNT, Decimal("1234567.890000000000000001"), "1234567.890000000000000001"),
        (Unit.AMOUNT, Decimal("1E+3"), "1000"),
        (Unit.USD, Decimal("0.00"), "0"),
        (Unit.RATIO, Decimal("0.071300000001"), "0.071300000001"),
        (Unit.RATIO, "0.03", "0.03"),
        (Unit.SPAN, 86_400, 86_400),
        (Unit.COUNT, 0, 0),
        (Unit.DATE, date(2024, 2, 29), "2024-02-29"),
        (Unit.INSTANT, datetime(2021, 5, 19, 8, 0, 0, 5, tzinfo=UTC), "2021-05-19T08:00:00.000005+00:00"),
        (
            Unit.INSTANT,
            datetime(2021, 5, 19, 10, tzinfo=timezone(timedelta(hours=2))),
            "2021-05-19T08:00:00.000000+00:00",
        ),
        (Unit.WORDS, "", ""),
        (Unit.WORDS, 'wire "GB29"; é', 'wire "GB29"; é'),
    ],
)
def test_a_figure_is_written_in_full_and_read_back(unit: Unit, value: object, text: object) -> None:
    assert terms.write(term(unit), value) == text
    given = Decimal(value) if unit is Unit.RATIO else value
    assert terms.read(term(unit), text) == given  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unit", "value", "says"),
    [
        (Unit.RATIO, Decimal("0.0713000000001"), "at most 12 decimals, not 0.0713000000001"),
        (Unit.AMOUNT, Decimal("1E-19"), "at most 18 decimals"),
        (Unit.AMOUNT, Decimal("NaN"), "not NaN"),
        (Unit.AMOUNT, Decimal("Infinity"), "not Infinity"),
        (Unit.RATIO, 0.5, "a figure of at most 12 decimals"),
        (Unit.RATIO, "half", "not half"),
        (Unit.AMOUNT, None, "not None"),
        (Unit.SPAN, 1.5, "a whole number from 0 on"),
        (Unit.SPAN, -1, "a whole number from 0 on"),
        (Unit.SPAN, True, "a whole number from 0 on"),
        (Unit.COUNT, "3", "a whole number from 0 on"),
    ],
)
def test_a_figure_that_nothing_could_run_by_exactly_is_refused(unit: Unit, value: object, says: str) -> None:
    with pytest.raises(UnableToWrite, match=says):
        terms.write(term(unit), value)


def test_a_part_names_every_term_and_no_other() -> None:
    rules = {
        "interest_decimals": 2, "default_after_s": 86_400, "prepayment_notice_s": 432_000,
        "margin_account": "this loan alone", "reuse": "never",
    }  # fmt: skip
    assert terms.written("rules", rules) == rules
    with pytest.raises(UnableToWrite, match="misses or does not know: default_after_s"):
        terms.written("rules", {name: value for name, value in rules.items() if name != "default_after_s"})
    with pytest.raises(UnableToWrite, match="misses or does not know: mood"):
        terms.written("rules", {**rules, "mood": "fair"})


def test_no_two_terms_are_called_alike() -> None:
    """So that a reader of the paper finds each of them once."""
    assert len({row.label for row in terms.TERMS}) == len(terms.TERMS)
    assert len({(row.part, row.name) for row in terms.TERMS}) == len(terms.TERMS)


def test_the_canonical_text_does_not_depend_on_how_it_was_put_together() -> None:
    one = terms.canonical({"b": {"y": "é", "x": 1}, "a": ["2", "1"]})
    assert one == '{"a":["2","1"],"b":{"x":1,"y":"é"}}'
    assert terms.canonical({"a": ["2", "1"], "b": {"x": 1, "y": "é"}}) == one
    assert terms.fingerprint(one).hex() == (
        "82af02df8152db6635b72daeb4aec4713579b47b6c4b8ecd1ef46fb543aa81f8"  # sha256sum of the same text
    )
