"""A warm book over several transactions: what changed stands beside what did not, and both are screened as one."""

import pytest

from lending.models import MarginAccount
from risk import book as books
from risk import exposures, prices
from tests.factories.risk import Desk
from tests.integration.risk.test_book import assert_same

ALL = range(MarginAccount.SHARDS)


@pytest.fixture
def desk(real_db) -> Desk:
    """Commit what is done: all of one transaction's work would count as changed for as long as it is open."""
    return Desk()


def test_a_book_of_two_parts_finds_what_a_cold_one_would(desk):
    """Round after round: levels crossed both ways, an account that changed, one that is new, one that is repaid."""
    loans = [desk.loan("20000", BTC="1"), desk.loan("9000", ETH="10", LINK="100"), desk.loan("1000", LINK="90")]
    warm = settled(books.load(ALL, now=desk.now), desk)
    for number, price in enumerate(("31500", "30500", "30490", "28500", "28480", "31000", "40000", "39990")):
        desk.round(BTC=price)
        if number == 2:
            desk.top_up(loans[0], "BTC", "0.05")
        if number == 3:
            loans.append(desk.loan("3000", asset="USDC", ETH="4", BTC="0.1"))
        if number == 5:
            desk.pay(loans[2], "500")
        warm = books.refresh(warm, now=desk.now)
        marks = prices.current(now=desk.now)
        found = books.candidates(warm, marks, now=desk.now)
        facts = exposures.load([loan.margin_account_id for loan in loans], now=desk.now)
        rungs = {key: exposures.judge(known, marks).rung for key, known in facts.items()}
        was = {}
        for part in (warm.base, warm.late):
            was |= dict(zip(part.rows.account.tolist(), part.rungs().tolist(), strict=True))
        assert {key for key, rung in rungs.items() if was[key] != rung} <= set(found)
        books.note(warm, {key: (rungs[key], False) for key in found})
    assert len(warm.late.rows.account) == 3


def settled(book: books.Book, desk) -> books.Book:
    """Return a book whose accounts have all been decided once."""
    marks = prices.current(now=desk.now)
    keys = books.candidates(book, marks, now=desk.now)
    facts = exposures.load(keys, now=desk.now)
    books.note(book, {key: (exposures.judge(facts[key], marks).rung, False) for key in keys})
    return book


def test_many_changes_are_laid_out_as_one_again(desk, monkeypatch):
    monkeypatch.setattr(books, "LATE_FEW", 1)
    loans = [desk.loan("20000", BTC="1"), desk.loan("9000", ETH="10"), desk.loan("1000", LINK="90")]
    at = desk.now
    book = books.load(ALL, now=at)
    desk.round()
    desk.top_up(loans[0], "BTC", "0.5")
    book = books.refresh(book, now=desk.now)
    assert loans[0].margin_account_id in book.late.rows.account
    desk.top_up(loans[1], "ETH", "1")
    assert_same(books.refresh(book, now=desk.now), books.load(ALL, now=at))
