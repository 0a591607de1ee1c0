"""A statement is the sealed ledger as a client may read it: it adds up, and asked for again it is the same for ever."""

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser
from pypdf import PdfReader

from lending import approvals, corrections, ledger, repayments, statements
from lending.engine.chart import AccountKind
from lending.engine.drafts import AccountKey
from lending.models import Loan
from lending.papers import statement as paper_of
from lending.statements import LABELS, Section, Statement, UnableToDraw
from tests import stories
from tests.cast import NOW, Cast, assemble

DAY = NOW.date()
LATER = NOW + timedelta(hours=6)


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
    pay(loan, "50000", at=NOW + timedelta(hours=3))
    ledger.seal(now=LATER)
    return loan


def pay(loan: Loan, amount: str, *, at, key: str = "first") -> None:
    repayments.record(loan, Decimal(amount), key=f"paid:{key}", received_at=at, now=at)
    loan.refresh_from_db()


def drawn(loan: Loan, *, seal: int | None = None, start: date = DAY, end: date = DAY) -> Statement:
    return statements.draw(loan.client, from_date=start, to_date=end, rests_on=statements.basis(seq=seal))


def section(statement: Statement, kind: AccountKind) -> Section:
    """Return what a statement says of the client's USD account of a kind."""
    return next(part for part in statement.sections if (part.label, part.asset) == (LABELS[kind], "USD"))


def test_every_account_closes_at_its_balance_in_the_ledger(loan: Loan) -> None:
    statement = drawn(loan)
    owed, free = section(statement, AccountKind.LOAN_PRINCIPAL), section(statement, AccountKind.CLIENT_FREE)
    assert owed.closing == loan.principal_outstanding
    key = AccountKey(AccountKind.CLIENT_FREE, "USD", client_id=loan.client_id)
    assert free.closing == ledger.owed(key) == Decimal(550_000)
    for part in statement.sections:
        assert part.opening + sum(row.change for row in part.rows) == part.closing
        assert [row.balance for row in part.rows][-1:] in ([], [part.closing])


def test_one_period_opens_where_the_one_before_closed(loan: Loan) -> None:
    after = drawn(loan, start=DAY + timedelta(days=1), end=DAY + timedelta(days=1))
    closed = {(part.label, part.asset): part.closing for part in drawn(loan).sections if part.closing}
    assert {(part.label, part.asset): part.opening for part in after.sections} == closed
    assert all(not part.rows for part in after.sections)


def test_what_is_booked_later_does_not_change_what_was_drawn(loan: Loan) -> None:
    first = drawn(loan)
    pay(loan, "1000", at=NOW + timedelta(hours=4), key="dated back")
    ledger.seal(now=LATER)
    again = drawn(loan, seal=first.basis.seq)
    assert statements.as_csv(again) == statements.as_csv(first)
    assert paper_of.render(again) == paper_of.render(first)
    newest = drawn(loan)
    assert newest.fingerprint != first.fingerprint
    paid = section(newest, AccountKind.LOAN_PRINCIPAL).closing
    assert paid < section(first, AccountKind.LOAN_PRINCIPAL).closing


def test_a_payment_dated_back_changes_the_statement_of_today_and_not_the_one_as_known_before(
    loan: Loan, cast: Cast, client: Browser
) -> None:
    """Both through the doors: by the instant at which it was known, as a client and as their manager ask for it."""
    later = LATER + timedelta(days=2)
    asked = {"client": str(loan.client.public_id), "start": DAY, "end": DAY, "format": "csv"}
    before = {**asked, "known_at": LATER.strftime("%Y-%m-%dT%H:%M:%S")}
    doors = ((cast.bob, "/portal/statements/"), (cast.robin, "/admin/statements/"))

    def read(question: dict[str, object]) -> set[str]:
        found = set()
        for who, address in doors:
            client.force_login(who)
            found.add(client.get(address, question).content.decode())
        assert len(found) == 1
        return found

    first = read(asked)
    repayments.record(loan, Decimal(1000), key="paid:dated back", received_at=NOW + timedelta(hours=4), now=later)
    ledger.seal(now=later)
    with time_machine.travel(later, tick=False):
        assert read(before) == first
        assert read(asked) != first
        assert "549,000" not in "".join(first)


def test_it_says_what_collateral_is_worth_and_how_old_its_mark_is(loan: Loan) -> None:
    stories.market("40000", at=NOW + timedelta(minutes=30))
    ledger.seal(now=LATER)
    (held,) = drawn(loan).held
    at = drawn(loan).valued_at
    assert at == statements.basis().sealed_at
    assert (held.asset, held.quantity, held.price, held.quality) == ("BTC", 25, 40_000, "good")
    assert (held.value, held.age_s) == (1_000_000, (at - (NOW + timedelta(minutes=30))).total_seconds())
    text = "".join(leaf.extract_text() for leaf in PdfReader(io.BytesIO(paper_of.render(drawn(loan)))).pages)
    for words in ("Collateral held at", "1,000,000.00 USD", "good, 5 h 30 min old", "Interest earned", "ACT/360"):
        assert words in text
    stories.market("50000", at=LATER + timedelta(minutes=5))
    assert drawn(loan).held == (held,)


def test_without_a_mark_no_value_is_made_up(loan: Loan) -> None:
    (held,) = drawn(loan).held
    assert (held.quantity, held.price, held.value, held.age_s) == (25, None, None, None)
    assert "no mark" in statements.as_csv(drawn(loan))


def test_interest_earned_is_what_was_booked_by_the_loans_day_count(loan: Loan) -> None:
    (earned,) = drawn(loan).earned
    # 3 hours of 600,000 at 10 % ACT/360, rounded up: booked when it was paid
    assert (earned.day_count, earned.days, earned.interest) == ("ACT/360", 1, Decimal("20.84"))


def test_what_is_not_sealed_yet_is_not_in_it(loan: Loan) -> None:
    first = drawn(loan)
    pay(loan, "1000", at=NOW + timedelta(hours=4), key="a moment ago")
    assert drawn(loan) == first


def test_a_basis_is_found_by_the_instant_it_was_known(loan: Loan) -> None:
    newest = statements.basis()
    assert statements.basis(known_at=LATER) == newest
    assert statements.basis(known_at=NOW).seq == 0
    assert statements.basis(seq=newest.seq) == newest


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (DAY, DAY - timedelta(days=1), "ends before it begins"),
        (DAY - timedelta(days=400), DAY, "at most 366 days"),
    ],
)
def test_an_impossible_period_is_refused_in_words(loan: Loan, start: date, end: date, says: str) -> None:
    with pytest.raises(UnableToDraw, match=says):
        drawn(loan, start=start, end=end)


def test_an_unknown_seal_is_refused(loan: Loan) -> None:
    with pytest.raises(UnableToDraw, match="nothing is sealed under the number 999999"):
        statements.basis(seq=999_999)


def test_the_portal_hands_out_page_csv_and_pdf_of_the_same(loan: Loan, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    statement = drawn(loan)
    asked = {"client": str(loan.client.public_id), "start": DAY, "end": DAY, "seal": statement.basis.seq}
    page = client.get("/portal/statements/", asked).content.decode()
    assert "549,958.34" not in page  # interest was paid first: 50,000 less 20.84
    assert "550,020.84" in page
    table = client.get("/portal/statements/", {**asked, "format": "csv"})
    assert table["Content-Disposition"].startswith("attachment; filename=")
    assert table.content.decode() == statements.as_csv(statement)
    rows = list(csv.DictReader(io.StringIO(table.content.decode())))
    assert {row["account"] for row in rows} >= {"Free balance", "Collateral pledged", "Principal owed"}
    paper = client.get("/portal/statements/", {**asked, "format": "pdf"})
    assert paper.content == paper_of.render(statement)
    text = "".join(leaf.extract_text() for leaf in PdfReader(io.BytesIO(paper.content)).pages)
    for words in ("Harbourside Trading", "550,020.84", statement.fingerprint, "Page 1"):
        assert words in text


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"start": "2021-05-20", "end": "2021-05-19"}, "ends before it begins"),
        ({"start": "someday", "end": "2021-05-19"}, "Enter a valid date"),
        ({"start": "2021-05-19", "end": "2021-05-19", "seal": "77777"}, "nothing is sealed under the number 77777"),
        ({"start": "2021-05-19", "end": "2021-05-19", "seal": "-1"}, "greater than or equal to 0"),
        ({"start": "2021-05-19", "end": "2021-05-19", "known_at": "yesterday"}, "Enter a valid date/time"),
    ],
)
def test_a_bad_question_is_answered_in_words(
    loan: Loan, cast: Cast, client: Browser, question: dict[str, str], says: str
) -> None:
    client.force_login(cast.bob)
    answer = client.get("/portal/statements/", {"client": str(loan.client.public_id), **question})
    assert answer.status_code == 422
    assert says.lower() in answer.content.decode().lower()


def test_another_clients_statement_is_not_to_be_had(loan: Loan, cast: Cast, client: Browser) -> None:
    client.force_login(cast.charlie)
    for kind in ("", "csv", "pdf"):
        asked = {"client": str(loan.client.public_id), "start": DAY, "end": DAY, "format": kind}
        answer = client.get("/portal/statements/", asked)
        assert answer.status_code == 422
        assert "Harbourside" not in answer.content.decode()
        assert "550,020.84" not in answer.content.decode()


def test_a_payment_that_was_taken_back_shows_and_a_statement_of_before_stays_as_it_was(loan: Loan, cast: Cast) -> None:
    """50,000 at 15:00 were another client's: the day is told anew, and what was known at 18:00 can still be read."""
    before = statements.basis()
    known = drawn(loan)
    payment = loan.repayments.get()
    corrected_at = LATER + timedelta(hours=1)
    asked = corrections.ask_reversal(payment, cause="wrong", reason="Quayside's", maker=cast.olga, now=corrected_at)
    approvals.decide(asked, checker=cast.rhea, approve=True, now=corrected_at)
    ledger.seal(now=corrected_at)
    owed = section(drawn(loan), AccountKind.LOAN_PRINCIPAL)
    rows = [(row.what, row.effective_at, row.recorded_at) for row in owed.rows]
    at = NOW + timedelta(hours=3)
    assert rows == [("Disbursement", NOW, NOW), ("Repayment", at, at), ("Reversal", at, corrected_at)]
    assert owed.closing == 600_000
    # As known an instant before the correction it is the statement of before; from its seal on it is the new one.
    assert statements.basis(known_at=corrected_at - timedelta(seconds=1)).seq == before.seq
    assert statements.basis(known_at=corrected_at).seq > before.seq
    assert drawn(loan, seal=before.seq).fingerprint == known.fingerprint
    assert section(known, AccountKind.LOAN_PRINCIPAL).closing == Decimal("550020.84")
