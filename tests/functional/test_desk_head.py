"""The desk head's page: day, month and year explained, down to the postings; what is held, sold, and how it goes."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connection, transaction
from django.test import Client as Browser

from lending import interest
from lending.models import Book
from otc import figures
from otc.admin import sparkline, waterfall
from risk.models import CallState, MarginCall
from tests import stories
from tests.cast import NOW, Cast

LATER = NOW + timedelta(days=13, minutes=10)  # 1 June: a new month
D = Decimal


@pytest.fixture(autouse=True)
def _later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def earned(cast: Cast) -> None:
    """A loan of 600,000 at 10 % ACT/360 from 19 May at noon, accrued to the end of May."""
    stories.running(cast)
    stories.market("40000", at=NOW + timedelta(minutes=1))
    interest.accrue_due(now=LATER)


def page(browser: Browser, user: object, **asked: str) -> str:
    browser.force_login(user)  # type: ignore[arg-type]
    answer = browser.get("/admin/pnl/", asked)
    assert answer.status_code == 200
    return answer.content.decode()


def total(html: str) -> str:
    found = re.search(r'data-line="total".*?<td class="num"><span class="amount">([^ ]+)', html, re.DOTALL)
    assert found
    return found[1]


def test_day_month_and_year_stand_beside_each_other(cast: Cast, client: Browser, earned: None) -> None:
    """166.6667 a day: 166.67 on 31 May, 12.5 days of May, as much for the year."""
    html = page(client, cast.dirk, day="2021-05-31")
    assert "31 May 2021" in html
    assert "May so far" in html
    assert total(html) == "166.67"
    assert total(page(client, cast.dirk, day="2021-05-31", period="month")) == "2,083.34"
    assert total(page(client, cast.dirk, day="2021-05-31", period="year")) == "2,083.34"


def test_a_new_month_starts_from_nothing(cast: Cast, client: Browser, earned: None) -> None:
    assert total(page(client, cast.dirk, day="2021-06-01", period="month")) == "0.00"
    assert total(page(client, cast.dirk, day="2021-06-01", period="year")) == "2,083.34"


def test_a_line_of_a_month_leads_to_all_its_postings(cast: Cast, client: Browser, earned: None) -> None:
    html = page(client, cast.dirk, day="2021-05-31", period="month")
    found = re.search(r'data-line="interest".*?href="([^"]+)"', html, re.DOTALL)
    assert found
    behind = client.get(found[1].replace("&amp;", "&")).content.decode()
    assert "13 postings" in behind
    assert "01 May 2021 to 31 May 2021" in behind


def test_a_book_is_shown_beside_the_others_and_by_itself(cast: Cast, client: Browser, earned: None) -> None:
    html = page(client, cast.dirk, day="2021-05-31")
    book = Book.objects.get(code="lending")
    assert book.name in html
    alone = page(client, cast.dirk, day="2021-05-31", book="lending")
    assert total(alone) == total(html)
    assert "By book" not in alone


def test_what_no_line_explains_is_never_hidden(cast: Cast, client: Browser, earned: None) -> None:
    assert 'id="residual"' in page(client, cast.dirk, day="2021-05-31")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lending_entry (idempotency_key, kind, effective_at, recorded_at, content_hash, txid)"
            " VALUES ('planted', 'planted', %s, %s, '\\x00', 0) RETURNING id",
            [LATER - timedelta(days=1)] * 2,
        )
        entry = cursor.fetchone()[0]
        cursor.execute(
            "INSERT INTO lending_posting"
            " (entry_id, account_id, asset_id, client_id, loan_id, amount, book_id, category, cause)"
            " SELECT %s, a.id, a.asset_id, a.client_id, a.loan_id, v.amount,"
            " (SELECT id FROM lending_book WHERE code = 'lending'), v.category, ''"
            " FROM (VALUES ('loan_principal', 7::numeric, 'balance_sheet'),"
            " ('interest_income', -7::numeric, 'mystery')) AS v(kind, amount, category)"
            " JOIN LATERAL (SELECT * FROM lending_ledgeraccount WHERE key LIKE v.kind || '/USD%%' LIMIT 1) a ON true",
            [entry],
        )
        assert cursor.rowcount == 2
    html = page(client, cast.dirk, day="2021-05-31")
    assert "unexplained" in html
    assert "postings that no line knows" in html
    assert re.search(r'id="residual".*?7\.00', html, re.DOTALL)


@pytest.mark.parametrize("asked", [{"period": "century"}, {"period": ""}])
def test_a_period_that_is_none_is_the_day(cast: Cast, client: Browser, earned: None, asked: dict[str, str]) -> None:
    assert total(page(client, cast.dirk, day="2021-05-31", **asked)) == "166.67"


def test_a_period_that_ends_before_it_starts_is_not_there(cast: Cast, client: Browser, earned: None) -> None:
    client.force_login(cast.dirk)
    asked = {"day": "2021-05-31", "since": "2021-06-01", "line": "interest"}
    assert client.get("/admin/pnl/postings/", asked).status_code == 404


def test_the_page_holds_its_queries(cast: Cast, client: Browser, earned: None, django_assert_max_num_queries) -> None:
    client.force_login(cast.dirk)
    for address in ("/admin/pnl/?day=2021-05-31", "/admin/pnl/?day=2021-05-31&book=lending", "/admin/pnl/figures/"):
        with django_assert_max_num_queries(12):
            assert client.get(address).status_code == 200


def test_key_figures_show_with_their_trend(cast: Cast, client: Browser, earned: None) -> None:
    client.force_login(cast.dirk)
    part = client.get("/admin/pnl/figures/", headers={"HX-Request": "true"}).content.decode()
    for name in ("Book size", "Average LTV", "Open calls", "Cure rate", "Slippage", "Order to settled"):
        assert f'data-figure="{name}"' in part
    assert "600,000.00" in part
    assert "LTV rests on marks of quality" in part
    assert "<html" not in part
    assert "<html" in client.get("/admin/pnl/figures/").content.decode()


def by_name(now) -> dict[str, figures.Series]:
    return {series.name: series for series in figures.hourly(now=now)}


def test_the_book_is_counted_from_the_hour_it_was_lent(cast: Cast) -> None:
    stories.running(cast)
    stories.market("40000", at=NOW + timedelta(minutes=1))
    found = by_name(NOW + timedelta(hours=2))
    # lent at noon, 22 hours after the first of the hours
    assert found["Book size"].points[21:] == (None, None, 600_000, 600_000)  # at noon itself it was not yet lent
    # 600,000 over 25 x 40,000
    assert found["Average LTV"].points[21:] == (None, None, D("0.6"), D("0.6"))
    assert (found["Book size"].change, found["Book size"].hours) == (0, 1)


def test_calls_are_counted_while_they_were_open(cast: Cast) -> None:
    call = stories.called(cast)
    MarginCall.objects.filter(pk=call.pk).update(closed_at=NOW + timedelta(hours=2, minutes=30), state=CallState.CURED)
    found = by_name(NOW + timedelta(hours=4))
    assert [int(point or 0) for point in found["Open calls"].points[-5:]] == [0, 1, 1, 0, 0]
    assert found["Cure rate"].points[-3:] == (None, D(1), D(1))


def test_the_bars_of_a_waterfall_follow_each_other() -> None:
    rows = waterfall.bars({"interest": D(100), "credit_loss": D(-40)}, D(0), D(60), lambda line: f"?{line}")
    assert [(row.name, row.amount, row.x, row.width) for row in rows] == [
        ("interest", D(100), 0, 1000),
        ("credit_loss", D(-40), 600, 400),
        ("residual", D(0), 600, 0),
        ("total", D(60), 0, 600),
    ]
    below = waterfall.bars({"credit_loss": D(-10)}, D(5), D(-5), lambda line: line)
    assert [(row.name, row.x, row.width, row.zero) for row in below] == [
        ("credit_loss", 0, 1000, 1000),
        ("residual", 0, 500, 1000),
        ("total", 500, 500, 1000),
    ]


def test_a_day_without_anything_has_bars_of_no_width() -> None:
    rows = waterfall.bars({"interest": D(0)}, D(0), D(0), lambda line: line)
    assert {(row.x, row.width, row.zero) for row in rows} == {(0, 0, 0)}


def test_a_line_is_drawn_from_two_points_on() -> None:
    assert sparkline.points([None, D(1)]) == ""
    assert sparkline.points([D(1), D(3), D(2)]) == "2,26 60,2 118,14"
    assert sparkline.points([D(2), None, D(2)]) == "2,14 118,14"
