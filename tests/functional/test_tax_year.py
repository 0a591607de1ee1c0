"""A tax year: the interest that was paid in it and the collateral that was sold, the same for ever as it was known."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser
from pypdf import PdfReader

from lending import capitalisations, collateral, interest, ledger, repayments, replays, statements, tax_years
from lending.engine import entries
from lending.models import Asset, Entry, Loan
from lending.papers import statement as statement_paper
from lending.papers import tax_year as paper_of
from tests import stories
from tests.cast import NOW, Cast, assemble
from tests.factories.lending import ProductFactory

LATER = NOW + timedelta(days=3)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _days_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def cast(real_db: str) -> Cast:
    """Everybody, committed: what is not committed can not be sealed."""
    return assemble()


@pytest.fixture
def loan(cast: Cast) -> Loan:
    """A loan of which interest was paid, and two bitcoin of whose collateral were sold."""
    loan = stories.running(cast)
    repayments.record(loan, Decimal(50_000), key="paid:1", received_at=NOW + 3 * HOUR, now=NOW + 3 * HOUR)
    loan.refresh_from_db()
    sell(loan)
    ledger.seal(now=LATER)
    return loan


def sell(loan: Loan) -> Entry:
    bitcoin = Asset.objects.get(code="BTC")
    at = NOW + 5 * HOUR
    collateral.hold(loan.margin_account, bitcoin, Decimal(2), key="hold:1", now=at)
    heading = entries.Heading(key="fill:1", effective_at=at, book_id=loan.book_id, client_id=loan.client_id)
    sale = entries.sale(
        heading, asset="BTC", quantity=Decimal(2), proceeds_asset="USD", proceeds=Decimal("70000.50"),
        margin_account_id=loan.margin_account_id, dealer="harbour", liquidation_fee=Decimal("700.01"),
    )  # fmt: skip
    return ledger.post(sale, now=at)


def drawn(loan: Loan, *, start: date = date(2021, 1, 1), seal: int | None = None) -> tax_years.TaxYear:
    return tax_years.draw(loan.client, from_date=start, rests_on=statements.basis(seq=seal))


def test_it_lists_interest_that_was_paid_and_what_was_sold(loan: Loan) -> None:
    year = drawn(loan)
    assert (year.from_date, year.to_date) == (date(2021, 1, 1), date(2021, 12, 31))
    # three hours of 600,000 at 10 % ACT/360, rounded up
    assert [(row.what, row.amount) for row in year.paid] == [("payment", Decimal("20.84"))]
    assert year.totals == [("USD", Decimal("20.84"))]
    (sale,) = year.disposals
    assert (sale.asset, sale.quantity, sale.cash) == ("BTC", 2, "USD")
    assert (sale.proceeds, sale.fee) == (Decimal("70000.50"), Decimal("700.01"))
    assert sale.at == NOW + 5 * HOUR


@pytest.mark.parametrize(
    ("start", "found"), [("2020-05-19", 0), ("2020-05-20", 1), ("2021-05-19", 1), ("2021-05-20", 0)]
)
def test_a_year_may_begin_on_any_day(loan: Loan, start: str, found: int) -> None:
    year = drawn(loan, start=date.fromisoformat(start))
    assert (len(year.paid), len(year.disposals)) == (found, found)


def test_a_sale_that_is_taken_back_is_a_line_of_its_own_and_the_year_as_known_before_stays(loan: Loan) -> None:
    before = drawn(loan)
    entry = Entry.objects.get(kind="sale")
    ledger.reverse(entry, key="reversal:fill:1", now=LATER, cause="broken", effective_at=NOW + 6 * HOUR)
    ledger.seal(now=LATER)
    sold, back = drawn(loan).disposals
    assert (back.quantity, back.proceeds, back.fee) == (-sold.quantity, -sold.proceeds, -sold.fee)
    again = drawn(loan, seal=before.basis.seq)
    assert again == before
    assert paper_of.render(again) == paper_of.render(before)


def test_a_payment_that_is_recorded_late_leaves_less_interest_for_the_one_after_it(loan: Loan) -> None:
    before = drawn(loan)
    repayments.record(loan, Decimal(30_000), key="paid:0", received_at=NOW + HOUR, now=LATER)
    ledger.seal(now=LATER)
    year = drawn(loan)
    # An hour of 600,000 at 10 % ACT/360, then two hours of what it left, instead of three hours of all.
    assert [(row.what, row.amount) for row in year.paid] == [
        ("payment", Decimal("6.95")),
        ("payment", Decimal("20.84")),
        ("payment, counted anew", Decimal("-7.65")),
    ]
    paid = sum(part.interest for part in replays.parts_now(loan.repayments.all()).values())
    assert year.totals == [("USD", paid)]
    assert drawn(loan, seal=before.basis.seq) == before


def test_interest_that_became_principal_is_named_and_is_not_paid(cast: Cast, client: Browser) -> None:
    ProductFactory(code="term-usd", schedule_kind="capitalised", origination_fee=Decimal(0))
    loan = stories.running(cast, principal=Decimal(360_000), maturity_date=date(2021, 8, 19))
    # To the midnight before 19 June: 30.5 days of 100.00
    at = datetime(2021, 6, 19, tzinfo=UTC)
    interest.accrue_due(now=at)
    ledger.seal(now=at)
    before = drawn(loan)
    assert capitalisations.work_due(now=at) == 1
    ledger.seal(now=at + HOUR)
    year = drawn(loan)
    assert (year.paid, [(row.at, row.amount) for row in year.grown]) == ((), [(at, Decimal(3050))])
    assert (year.totals, year.grown_totals) == ([], [("USD", Decimal(3050))])
    assert drawn(loan, seal=before.basis.seq) == before
    assert not before.grown
    of_june = statements.draw(
        loan.client, from_date=date(2021, 6, 19), to_date=date(2021, 6, 19), rests_on=statements.basis()
    )
    assert {row.what for part in of_june.sections for row in part.rows} == {"Interest became principal"}
    # What was earned before is no interest of that day, and became principal on it.
    assert [(row.interest, row.grown) for row in of_june.earned] == [(0, Decimal(3050))]
    client.force_login(cast.bob)
    for words, tables, paper, address, more in (
        ("at the end of its period", tax_years.as_csv(year), paper_of.render(year), "tax-years", {}),
        (
            "in the period",
            statements.as_csv(of_june),
            statement_paper.render(of_june),
            "statements",
            {"end": "2021-06-19"},
        ),
    ):
        (row,) = [row for row in csv.DictReader(io.StringIO(tables)) if words in row["what"]]
        assert "3050" in row.values()
        assert "nterest that became principal" in tables
        text = " ".join(leaf.extract_text() for leaf in PdfReader(io.BytesIO(paper)).pages)
        assert "became principal" in " ".join(text.split()).lower()
        assert "3,050.00 USD" in text
        asked = {"client": str(loan.client.public_id), "start": "2021-06-19", **more}
        page = client.get(f"/portal/{address}/", asked).content.decode()
        assert "ecame principal" in page
        assert "3,050.00" in page


@pytest.mark.parametrize("start", [date(2024, 2, 29), date(9999, 1, 1)])
def test_a_year_that_has_no_last_day_is_refused_in_words(start: date) -> None:
    with pytest.raises(statements.UnableToDraw, match="can not begin on 29 February, nor end after the calendar"):
        tax_years.last_day(start)


def test_client_and_manager_read_the_same_paper(loan: Loan, cast: Cast, client: Browser) -> None:
    year = drawn(loan)
    asked = {"client": str(loan.client.public_id), "start": "2021-01-01", "seal": year.basis.seq}
    for who, address in ((cast.bob, "/portal/tax-years/"), (cast.robin, "/admin/tax-years/")):
        client.force_login(who)
        page = client.get(address, asked).content.decode()
        assert "70,000.50" in page
        assert client.get(address, {**asked, "format": "pdf"}).content == paper_of.render(year)
        table = client.get(address, {**asked, "format": "csv"}).content.decode()
        assert table == tax_years.as_csv(year)
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["what"] for row in rows] == ["interest by payment", "disposal"]
    assert [(row["quantity"], row["cash"], row["amount"], row["fee"]) for row in rows][1] == (
        "2", "USD", "70000.5", "700.01",
    )  # fmt: skip
    assert datetime.fromisoformat(rows[1]["at"]) == (NOW + 5 * HOUR).astimezone(UTC)
    text = "".join(leaf.extract_text() for leaf in PdfReader(io.BytesIO(paper_of.render(year))).pages)
    for words in ("Harbourside Trading", "20.84 USD", "2 BTC", "70,000.50 USD", "700.01 USD", year.fingerprint):
        assert words in text


@pytest.mark.parametrize(
    ("start", "says"), [("2024-02-29", "29 february"), ("soon", "enter a valid date"), ("", "this field is required")]
)
def test_a_bad_question_is_answered_in_words(loan: Loan, cast: Cast, client: Browser, start: str, says: str) -> None:
    for who, address in ((cast.bob, "/portal/tax-years/"), (cast.robin, "/admin/tax-years/")):
        client.force_login(who)
        answer = client.get(address, {"client": str(loan.client.public_id), "start": start})
        assert answer.status_code == 422
        assert says in answer.content.decode().lower()


def test_another_clients_year_is_not_to_be_had(loan: Loan, cast: Cast, client: Browser) -> None:
    rita = cast.quayside.relationship_manager
    for who, address in ((cast.charlie, "/portal/tax-years/"), (rita, "/admin/tax-years/")):
        client.force_login(who)
        for kind in ("", "csv", "pdf"):
            asked = {"client": str(loan.client.public_id), "start": "2021-01-01", "format": kind}
            answer = client.get(address, asked)
            assert answer.status_code == 422
            assert "70,000.50" not in answer.content.decode()
