"""A seeded walk over the ledger beside a naive model: same balances, same refusals, invariants along the way."""

import random
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import connection, transaction

from lending import invariants, ledger
from lending.engine import entries
from lending.engine.chart import GUARDS
from lending.engine.entries import AccountKey, Draft, Heading
from lending.models import Entry
from tests.factories.lending import AT, AssetFactory, BookFactory, MarginAccountFactory

D = Decimal
BALANCES = {"I1", "I2"}


class Naive:
    """Balances in a dictionary, signs checked by hand."""

    def __init__(self) -> None:
        self.amounts: defaultdict[AccountKey, Decimal] = defaultdict(Decimal)

    def accepts(self, draft: Draft) -> bool:
        after = self.amounts.copy()
        for line in draft.lines:
            after[line.account] += line.amount
        if any(GUARDS.get(key.kind, 0) * amount < 0 for key, amount in after.items()):
            return False
        self.amounts = after
        return True


def step(rng: random.Random, n: int, owners: list[tuple[int, int]], book: int) -> Draft:
    """Return one random entry; about half of them ask for more than there is."""
    client, account = rng.choice(owners)
    heading = Heading(key=f"step:{n}", effective_at=AT, book_id=book, client_id=client)
    asset = rng.choice(["BTC", "ETH"])
    quantity = D(rng.randrange(1, 10**21)).scaleb(-18)
    held = {"asset": asset, "quantity": quantity, "margin_account_id": account}
    return rng.choice(
        [
            lambda: entries.deposit(heading, asset=asset, quantity=quantity, custodian="paper"),
            lambda: entries.pledge(heading, **held),
            lambda: entries.release(heading, **held),
            lambda: entries.hold(heading, **held),
            lambda: entries.unhold(heading, **held),
            lambda: entries.withdrawal_request(heading, asset=asset, quantity=quantity),
            lambda: entries.withdrawal(heading, asset=asset, quantity=quantity, custodian="paper"),
            lambda: entries.sale(
                heading,
                asset=asset,
                quantity=quantity,
                proceeds_asset="USD",
                proceeds=quantity * 2,
                margin_account_id=account,
                dealer="harbour",
            ),
        ]
    )()


@pytest.mark.django_db
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_walk_agrees_with_a_naive_ledger(seed: int) -> None:
    rng = random.Random(seed)
    for code in ("BTC", "ETH", "USD"):
        AssetFactory(code=code)
    accounts = [MarginAccountFactory() for _ in range(3)]
    owners = [(account.client_id, account.pk) for account in accounts]
    book = BookFactory().pk
    naive, posted, refused = Naive(), [], 0
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for n in range(150):
        draft = step(rng, n, owners, book)
        try:
            with transaction.atomic():
                ledger.post(draft, now=AT)
            assert naive.accepts(draft), f"{draft} was posted"
            posted.append(draft)
        except ledger.UnableToPost:
            assert not naive.accepts(draft), f"{draft} was refused"
            refused += 1
        if posted and rng.random() < 0.2:
            ledger.post(rng.choice(posted), now=AT)  # an attempt repeated: nothing moves
        if n % 30 == 29:
            assert not BALANCES & {violation.code for violation in invariants.check()}
    assert Entry.objects.count() == len(posted) > 20
    assert refused > 20
    assert ledger.balances(naive.amounts) == dict(naive.amounts)


@pytest.mark.django_db
def test_a_batch_says_what_single_entries_say() -> None:
    rng = random.Random(5)
    for code in ("BTC", "ETH", "USD"):
        AssetFactory(code=code)
    account, book = MarginAccountFactory(), BookFactory().pk
    drafts = [
        entries.deposit(
            Heading(f"d{n}", AT, book, client_id=account.client_id),
            asset=rng.choice(["BTC", "ETH"]),
            quantity=D(n + 1),
            custodian="paper",
        )
        for n in range(50)
    ]
    with transaction.atomic():
        ledger.post_many(drafts, now=AT)
        in_batch = ledger.ledger_hash()
        transaction.set_rollback(True)
    assert not Entry.objects.exists()
    for draft in reversed(drafts):
        ledger.post(draft, now=AT)
    assert ledger.ledger_hash() == in_batch
    changed = replace(drafts[0], heading=replace(drafts[0].heading, key="d50"))
    ledger.post(changed, now=AT)
    assert ledger.ledger_hash() != in_batch
