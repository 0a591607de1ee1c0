"""Operations take a bank statement in, see what nobody has accounted for, and say what it is."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser

from lending import bank_files
from lending.models import Approval, BankLine, BankStatement, Entry, Repayment
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.bank import BankAccountFactory, camt, line

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _days_later() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(days=3), tick=False):
        yield


def upload(browser: Browser, data: bytes, name: str = "may.xml"):
    return browser.post("/admin/bank/", {"file": SimpleUploadedFile(name, data)}, follow=True)


def test_a_statement_is_taken_in_and_an_old_line_stands_on_the_home_page(cast: Cast, client: Browser) -> None:
    BankAccountFactory()
    client.force_login(cast.olga)
    assert "No statement yet" in client.get("/admin/bank/").content.decode()
    page = upload(client, camt(line("900", "B-1", "for Bob", "Bob's bakery"))).content.decode()
    assert "statement 1 of 2021-05-19: 1 new line, 0 known already" in page
    assert "Bob&#x27;s bakery" in page
    assert "Lines still open" in page
    home = client.get("/admin/").content.decode()
    assert "Bank lines that nobody has accounted for" in home
    again = upload(client, camt(line("900", "B-1", "for Bob", "Bob's bakery"))).content.decode()
    assert "0 new lines, 1 known already" in again
    client.force_login(cast.rolf)
    assert "Bank lines that nobody" not in client.get("/admin/").content.decode()


BAD = {
    "nothing": (None, "Choose a file."),
    "empty": (b"", "The file is empty."),
    "a word": (b"hello", "Nothing was taken: this is neither camt.053 (XML) nor MT940"),
    "another account": (camt(line("1"), account="DE1"), "Nothing was taken: the account DE1 of statement 1 is none of"),
    "another currency": (camt(line("1"), currency="EUR"), "is in EUR; the account Alpine Bank, dollars is kept in USD"),
    "does not add up": (camt(line("1"), closing="5"), "opening 0 and lines of 1 make 1, but it closes at 5"),
    "too large": (b"<" * (bank_files.SIZE + 1), "The file has 5,000,001 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_words(cast: Cast, client: Browser, case: str) -> None:
    BankAccountFactory()
    client.force_login(cast.olga)
    data, says = BAD[case]
    answer = client.post("/admin/bank/") if data is None else upload(client, data)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert not BankStatement.objects.exists()


def test_a_reader_takes_nothing_in(cast: Cast, client: Browser) -> None:
    BankAccountFactory()
    client.force_login(cast.rhea)
    assert "Take a statement in" not in client.get("/admin/bank/").content.decode()
    assert upload(client, camt(line("1"))).status_code == 403


def test_a_line_is_given_to_a_loan_by_one_person_or_by_two(cast: Cast, client: Browser) -> None:
    loan = stories.running(cast)
    BankAccountFactory()
    client.force_login(cast.olga)
    upload(client, camt(line("900", "B-1"), line("5000", "B-2")))
    small, large = BankLine.objects.order_by("amount")
    address = f"/admin/lending/bankline/{small.pk}/"
    page = client.get(f"{address}change/").content.decode()
    assert "Nothing in the books accounts for it" in page
    assert "Account for it" in page
    refused = client.post(f"{address}work/", {"what": "loan", "reason": "they wrote so"})
    assert refused.status_code == 422
    assert "Refused: choose the loan that was paid" in refused.content.decode()
    assert 'value="they wrote so"' in refused.content.decode()
    said = {"what": "loan", "loan": loan.pk, "reason": "they wrote so"}
    assert "Accounted for." in client.post(f"{address}work/", said, follow=True).content.decode()
    assert Repayment.objects.get().amount == 900
    address = f"/admin/lending/bankline/{large.pk}/"
    assert "Ask a second person" in client.get(f"{address}change/").content.decode()
    told = client.post(f"{address}work/", said, follow=True).content.decode()
    assert "waits on the page Approvals" in told
    assert "nobody is known to whom it belongs" in told
    client.force_login(cast.rhea)
    asked = Approval.objects.get()
    client.post(f"/admin/lending/approval/{asked.pk}/approve/", {"reason": "seen"})
    assert Repayment.objects.count() == 2


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"what": "loan", "loan": "0", "reason": "x"}, "Refused: Loan that was paid: Select a valid choice"),
        ({"what": "gift", "reason": "x"}, "Refused: It is: Select a valid choice"),
        ({"what": "charge", "reason": "x"}, "Refused: It is: Select a valid choice"),
        ({"what": "not_ours", "reason": " "}, "Refused: How it is known: This field is required"),
        ({}, "Refused: It is: This field is required"),
    ],
)
def test_bad_input_about_a_line_is_refused_in_words(
    cast: Cast, client: Browser, typed: dict[str, str], says: str
) -> None:
    BankAccountFactory()
    client.force_login(cast.olga)
    upload(client, camt(line("900", "B-1")))
    row = BankLine.objects.get()
    answer = client.post(f"/admin/lending/bankline/{row.pk}/work/", typed)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    row.refresh_from_db()
    assert row.state == BankLine.State.OPEN


def test_others_do_not_work_lines(cast: Cast, client: Browser) -> None:
    BankAccountFactory()
    client.force_login(cast.olga)
    upload(client, camt(line("-20", "B-1"), opening="100"))
    row = BankLine.objects.get()
    address = f"/admin/lending/bankline/{row.pk}/"
    for who, code in ((cast.robin, 403), (cast.dana, 403), (cast.rhea, 422)):
        client.force_login(who)
        assert client.post(f"{address}work/", {"what": "not_ours", "reason": "x"}).status_code == code
    assert "Account for it" not in client.get(f"{address}change/").content.decode()
    client.force_login(cast.olga)
    client.post(f"{address}work/", {"what": "charge", "reason": "price list"})
    assert Entry.objects.get(kind="bank_charge").actor == cast.olga


def test_the_head_of_risk_sets_the_limit_and_nobody_else(cast: Cast, client: Browser) -> None:
    account = BankAccountFactory()
    address = f"/admin/lending/bankaccount/{account.pk}/change/"
    typed = {"name": "Alpine", "reported_live": "", "second_person_above": "50"}
    client.force_login(cast.olga)
    assert client.post(address, typed).status_code == 403
    client.force_login(cast.rolf)
    assert client.post(address, {**typed, "second_person_above": "-1"}).status_code == 200
    assert client.post(address, typed).status_code == 302
    account.refresh_from_db()
    assert (account.name, account.second_person_above) == ("Alpine", 50)
    new = {"code": "b", "name": "B", "identifier": "DE2", "asset": account.asset_id, "custodian": "b",
           "second_person_above": "0"}  # fmt: skip
    assert client.post("/admin/lending/bankaccount/add/", new).status_code == 302
