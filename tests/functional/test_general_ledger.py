"""The journal of a month ties to the balances that the database keeps, and is the same for ever by its seal."""

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import access, general_ledger, ledger, repayments
from lending.engine.cells import safe
from lending.engine.chart import AccountKind
from lending.general_ledger import UnableToExport
from lending.models import Asset, AuditRecord, GlCode, Loan
from tests import stories
from tests.cast import NOW, Cast, assemble

MAY = date(2021, 5, 1)
LATER = NOW + timedelta(hours=6)
PAGE = "/admin/general-ledger/"


@pytest.fixture(autouse=True)
def _evening() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def cast(real_db: str) -> Cast:
    """Everybody, committed: what is not committed can not be sealed."""
    return assemble()


@pytest.fixture
def loan(cast: Cast) -> Loan:
    loan = stories.running(cast)
    for number, kind in enumerate(AccountKind, start=1000):
        general_ledger.set_code(kind, None, code=str(number), name=f"our {kind}", by=cast.olga, now=NOW)
    return loan


def pay(loan: Loan, amount: str) -> None:
    repayments.record(loan, Decimal(amount), key=f"paid:{amount}", received_at=LATER, now=LATER)


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_journal_balances_ties_out_and_stays_the_same_by_its_seal(loan: Loan) -> None:
    ledger.seal(now=NOW)
    upto = general_ledger.last_seal()
    first = general_ledger.to_csv(MAY, upto=upto)
    for asset in ("USD", "BTC"):
        rows = [row for row in lines(first) if row["asset"] == asset]
        assert rows
        debit, credit = (sum(Decimal(row[side] or 0) for row in rows) for side in ("debit", "credit"))
        assert debit == credit > 0
    assert all(row.unsealed == 0 for row in general_ledger.totals(MAY, upto=upto))

    pay(loan, "50000")
    moved = {(row.name, row.asset): row for row in general_ledger.totals(MAY, upto=upto)}
    principal = moved["our loan_principal", "USD"]
    assert (principal.debit, principal.credit, principal.closing) == (600_000, 0, 600_000 + principal.unsealed)
    assert -50_000 <= principal.unsealed < 0
    ledger.seal(now=LATER)
    assert general_ledger.to_csv(MAY, upto=upto) == first
    assert len(lines(general_ledger.to_csv(MAY, upto=general_ledger.last_seal()))) > len(lines(first))
    assert all(row.unsealed == 0 for row in general_ledger.totals(MAY, upto=general_ledger.last_seal()))


def test_one_month_opens_where_the_one_before_closed(loan: Loan) -> None:
    ledger.seal(now=NOW)
    upto = general_ledger.last_seal()
    may = {(row.code, row.asset): row.closing for row in general_ledger.totals(MAY, upto=upto) if row.closing}
    june = {(row.code, row.asset): row for row in general_ledger.totals(date(2021, 6, 1), upto=upto)}
    assert {of: row.opening for of, row in june.items()} == may
    assert not any(row.debit or row.credit for row in june.values())
    april = general_ledger.totals(date(2021, 4, 1), upto=upto)
    assert april == []


def test_an_asset_of_its_own_code_and_an_account_without_one(cast: Cast, loan: Loan) -> None:
    ledger.seal(now=NOW)
    bitcoin = Asset.objects.get(code="BTC")
    general_ledger.set_code("custody", bitcoin, code="1101", name="Bitcoin at the custodian", by=cast.dirk, now=NOW)
    codes = {row["gl_code"] for row in lines(general_ledger.to_csv(MAY, upto=99)) if row["account"] == "custody"}
    assert "1101" in codes
    assert AuditRecord.objects.filter(action="gl_code_set", actor=cast.dirk).count() == 1


def test_the_page_shows_hands_out_and_sets(cast: Cast, loan: Loan, client: Browser) -> None:
    ledger.seal(now=NOW)
    client.force_login(cast.olga)
    page = client.get(PAGE, {"month": "2021-05"}).content.decode()
    assert "our loan_principal" in page
    assert "600,000.00" in page
    answer = client.get(PAGE, {"month": "2021-05", "format": "csv"})
    assert answer["Content-Disposition"] == (
        f'attachment; filename="journal-2021-05-seal-{general_ledger.last_seal()}.csv"'
    )
    assert lines(answer.content.decode())[0]["seal"] == "1"
    said = {"kind": "custody", "asset": "BTC", "code": "1101", "name": "Bitcoin"}
    assert "1101 Bitcoin" in client.post(PAGE, said, follow=True).content.decode()
    client.force_login(cast.rhea)
    assert "Set a code" not in client.get(PAGE).content.decode()
    assert client.post(PAGE, said).status_code == 403


ASKED_BADLY = {
    "no month": ({"month": "May"}, "A month looks like 2021-05."),
    "an empty month": ({"month": ""}, "Which month?"),
    "a month without a year": ({"month": "0000-05"}, "A month looks like 2021-05."),
    "a seal below nothing": ({"month": "2021-05", "seal": "-1"}, "greater than or equal to 0"),
    "a seal that is no number": ({"month": "2021-05", "seal": "newest"}, "Enter a whole number"),
    "a seal past all numbers": ({"month": "2021-05", "seal": "9" * 30}, "less than or equal to"),
}


@pytest.mark.parametrize("case", ASKED_BADLY, ids=str)
def test_what_can_not_be_shown_says_so(case: str, cast: Cast, client: Browser) -> None:
    asked, says = ASKED_BADLY[case]
    client.force_login(cast.olga)
    for more in ({}, {"format": "csv"}):
        answer = client.get(PAGE, {**asked, **more})
        assert answer.status_code == 422
        assert says in answer.content.decode()


def test_a_file_that_can_not_be_written_says_why(cast: Cast, client: Browser) -> None:
    stories.running(cast)
    ledger.seal(now=NOW)
    client.force_login(cast.olga)
    answer = client.get(PAGE, {"month": "2021-05", "format": "csv"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "has no GL code: set one first" in page
    assert "no code" in page


CODES = {
    "no code": ({"code": " "}, "This field is required"),
    "two words": ({"code": "12 00"}, "a GL code is one word"),
    "too long": ({"code": "1" * 21}, "at most 20 characters"),
    "no name": ({"name": ""}, "This field is required"),
    "a kind that is none": ({"kind": "cash"}, "Select a valid choice"),
    "an asset that is none": ({"asset": "DOGE"}, "Select a valid choice"),
}


@pytest.mark.parametrize("case", CODES, ids=str)
def test_a_code_that_can_not_be_set_says_why_and_stays_typed(case: str, cast: Cast, client: Browser) -> None:
    changes, says = CODES[case]
    client.force_login(cast.olga)
    said = {"kind": "custody", "asset": "", "code": "1100", "name": "Coins & cash", **changes}
    answer = client.post(PAGE, said)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert says in page
    if "name" not in changes:
        assert 'value="Coins &amp; cash"' in page
    assert not GlCode.objects.exists()


def test_who_may_not_set_a_code(cast: Cast) -> None:
    with pytest.raises(access.UnableToAccess):
        general_ledger.set_code("custody", None, code="1100", name="Coins", by=cast.rhea, now=NOW)
    with pytest.raises(UnableToExport, match="no kind of account"):
        general_ledger.set_code("cash", None, code="1100", name="Coins", by=cast.olga, now=NOW)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@cmd", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert safe(text) == f"'{text}"
