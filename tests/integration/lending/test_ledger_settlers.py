"""Many settlers at once: nothing lost, nothing twice, and the balances still equal the postings."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Sum

from lending import ledger
from lending.engine import accounts, entries
from lending.engine.entries import Heading
from lending.models import Entry, LedgerAccount, LedgerBalance, Posting
from tests.factories.lending import AT, AssetFactory, BookFactory, ClientFactory

D = Decimal
SETTLERS = 8


def at_once(*jobs: object) -> list[object]:
    """Run jobs in threads that start together, each on a connection of its own; return results or exceptions."""
    gate = threading.Barrier(len(jobs))

    def run(job: object) -> object:
        try:
            gate.wait(timeout=30)
            return job()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - a test counts the refusals
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def balances_equal_postings() -> bool:
    sums = dict(Posting.objects.values_list("account").annotate(Sum("amount")))
    return all(sums.get(b.account_id, 0) == b.amount for b in LedgerBalance.objects.all())


def test_settlers_share_house_accounts_and_lose_nothing(real_db: str) -> None:
    book, asset = BookFactory(), AssetFactory(code="BTC").code
    clients = [ClientFactory().pk for _ in range(4)]

    def settler(n: int) -> object:
        def job() -> int:
            for i in range(25):
                # Everybody meets on the house's custody, and two settlers on every client.
                heading = Heading(key=f"d:{n}:{i}", effective_at=AT, book_id=book.pk, client_id=clients[(n + i) % 4])
                ledger.post(entries.deposit(heading, asset=asset, quantity=D(1), custodian="paper"), now=AT)
            return 25

        return job

    assert at_once(*(settler(n) for n in range(SETTLERS))) == [25] * SETTLERS
    assert ledger.balance(accounts.custody("BTC", "paper")) == 25 * SETTLERS
    assert sum(ledger.balance(accounts.client_free("BTC", client)) for client in clients) == -25 * SETTLERS
    assert LedgerAccount.objects.count() == 4 + 4
    assert balances_equal_postings()


def test_one_key_posted_by_many_is_one_entry(real_db: str) -> None:
    AssetFactory(code="BTC")
    heading = Heading(key="same", effective_at=AT, book_id=BookFactory().pk, client_id=ClientFactory().pk)
    draft = entries.deposit(heading, asset="BTC", quantity=D(1), custodian="paper")
    posted = at_once(*[lambda: ledger.post(draft, now=AT).pk] * SETTLERS)
    assert set(posted) == {Entry.objects.get().pk}
    assert Posting.objects.count() == 2


def test_two_contents_under_one_key_leave_one_entry(real_db: str) -> None:
    AssetFactory(code="BTC")
    heading = Heading(key="same", effective_at=AT, book_id=BookFactory().pk, client_id=ClientFactory().pk)
    drafts = [entries.deposit(heading, asset="BTC", quantity=D(n + 1), custodian="paper") for n in range(SETTLERS)]
    results = at_once(*(lambda draft=draft: ledger.post(draft, now=AT) for draft in drafts))
    assert sum(isinstance(result, ledger.UnableToPost) for result in results) == SETTLERS - 1
    assert Entry.objects.count() == 1


def test_withdrawals_at_once_never_overdraw(real_db: str) -> None:
    AssetFactory(code="BTC")
    heading = Heading(key="deposit", effective_at=AT, book_id=BookFactory().pk, client_id=ClientFactory().pk)
    ledger.post(entries.deposit(heading, asset="BTC", quantity=D(5), custodian="paper"), now=AT)

    def withdraw(n: int) -> object:
        draft = entries.withdrawal_request(replace(heading, key=f"w{n}"), asset="BTC", quantity=D(2))
        return lambda: ledger.post(draft, now=AT)

    results = at_once(*(withdraw(n) for n in range(SETTLERS)))
    assert sum(isinstance(result, Entry) for result in results) == 2
    assert all("balance_within_guard" in str(result) for result in results if isinstance(result, ledger.UnableToPost))
    assert ledger.balance(accounts.client_free("BTC", heading.client_id or 0)) == D(-1)
    assert balances_equal_postings()


def test_batches_at_once_with_overlapping_keys(real_db: str) -> None:
    """Catch-up after an outage may run twice: each entry lands once, and nobody waits for ever."""
    AssetFactory(code="BTC")
    book, client = BookFactory().pk, ClientFactory().pk

    def batch(first: int) -> object:
        headings = [
            Heading(key=f"k{n:03}", effective_at=AT, book_id=book, client_id=client) for n in range(first, first + 60)
        ]
        drafts = [entries.deposit(heading, asset="BTC", quantity=D(1), custodian="paper") for heading in headings]
        if first % 40:
            drafts.reverse()

        def job() -> int:
            with transaction.atomic():
                return len(ledger.post_many(drafts, now=AT))

        return job

    assert at_once(*(batch(20 * n) for n in range(4))) == [60] * 4
    assert Entry.objects.count() == 120
    assert balances_equal_postings()
