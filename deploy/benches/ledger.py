"""
Posting against PostgreSQL's own yardstick, pgbench's TPC-B: entries with postings, guards and balances kept.

Both sides do the same number of transactions on the same server with the same number of clients and commit to disk in
the same way. pgbench runs its built-in script with prepared statements, which is its fastest form.
"""

import multiprocessing
import os
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from django.db import connection, connections, transaction

from deploy import databases
from deploy.benches import programs
from deploy.benches.compare import Result, UnableToBench, machine
from deploy.benches.programs import SCALE
from lending import clock, ledger
from lending.engine import entries
from lending.engine.entries import Draft, Heading
from lending.models import Asset, Book, Client, LadderTerms, Loan, MarginAccount, Product, User

CLIENTS = 2
SINGLES = 1500  # transactions of each client and round
BATCH = 1000
BATCHES = 8  # of each client and round

_serial = count(1)


def run(*, loans: int = 1000, rounds: int = 3) -> list[Result]:
    """Return how much faster than pgbench's transactions entries are posted, one by one and in batches."""
    yardstick = databases.clone()
    try:
        programs.run("pgbench", yardstick, "--initialize", "--quiet", "--scale", str(SCALE))
        with databases.scratch():
            headings = _headings(loans)
            _open_accounts(headings)
            sides = (
                lambda: _tpcb(yardstick),
                lambda: _clients(_post_singles, headings, SINGLES),
                lambda: _clients(_post_batches, headings, BATCHES),
            )
            taken = [[side() for side in sides] for _ in range(rounds)]
            connections.close_all()
    finally:
        databases.drop(yardstick)
    tpcb_s, single_s, batches_s = (statistics.median(seconds) for seconds in zip(*taken, strict=True))
    done, batched = CLIENTS * SINGLES, CLIENTS * BATCHES * BATCH
    shared: dict[str, Any] = {
        "a": f"pgbench TPC-B, prepared, scale {SCALE}, {CLIENTS} clients: {done / tpcb_s:.0f} transactions/s",
        "a_s": tpcb_s,
        "loans": loans,
        "rounds": rounds,
        "machine": machine(),
    }
    single = f"ledger.post with balances, a transaction each, {CLIENTS} clients: {done / single_s:.0f} entries/s"
    batch_s = batches_s * done / batched
    batch = f"the same entries by ledger.post_many, {BATCH} a transaction: {batched / batches_s:.0f} entries/s"
    return [
        Result(bench="ledger single", b=single, b_s=single_s, ratio=tpcb_s / single_s, target=">= 1", **shared),
        Result(bench="ledger batch", b=batch, b_s=batch_s, ratio=tpcb_s / batch_s, target=">= 12", **shared),
    ]


def _open_accounts(headings: list[Heading]) -> None:
    """Post once on every loan: what is measured is a ledger in use, not the opening of its accounts."""
    drafts = [_draft(headings[n : n + 1] * CLIENTS, 0, 0) for n in range(len(headings))]
    for start in range(0, len(drafts), BATCH):
        with transaction.atomic():
            ledger.post_many(drafts[start : start + BATCH], now=clock.wall_now())


def _post_singles(headings: list[Heading], client: int, number: int) -> None:
    now = clock.wall_now()
    for n in range(number):
        ledger.post(_draft(headings, client, n), now=now)


def _post_batches(headings: list[Heading], client: int, number: int) -> None:
    now = clock.wall_now()
    for batch in range(number):
        drafts = [_draft(headings, client, batch * BATCH + n) for n in range(BATCH)]
        with transaction.atomic():
            ledger.post_many(drafts, now=now)


def _draft(headings: list[Heading], client: int, n: int) -> Draft:
    """Return a day's interest of one loan: a receivable of its own, and the income of the house."""
    mine = headings[client::CLIENTS]
    return entries.accrual(
        replace(mine[n % len(mine)], key=f"accrual:{next(_serial)}:{client}:{os.getpid()}"),
        asset="USD",
        amount=Decimal("27.78"),
    )


def _clients(work: Callable[[list[Heading], int, int], None], headings: list[Heading], number: int) -> float:
    """Let every client work in a process of its own from one starting shot, and return how long the last one took."""
    connections.close_all()
    fork: Any = multiprocessing.get_context("fork")
    gate, taken = fork.Barrier(CLIENTS), fork.Queue()
    processes = [
        fork.Process(target=_client, args=(work, headings, client, number, gate, taken)) for client in range(CLIENTS)
    ]
    for process in processes:
        process.start()
    seconds = [taken.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    if None in seconds:
        raise UnableToBench("a client of the ledger failed; its trace stands above")
    return max(seconds)


def _client(work: Any, headings: list[Heading], client: int, number: int, gate: Any, taken: Any) -> None:
    seconds = None
    try:
        # The first entry opens accounts, the connection and the plan; it is not timed.
        _post_singles(headings, client, 20)
        gate.wait(60)
        began = clock.wall_now()
        work(headings, client, number)
        seconds = (clock.wall_now() - began) / timedelta(seconds=1)
    finally:
        connection.close()
        taken.put(seconds)


def _tpcb(database: str) -> float:
    said = programs.run(
        "pgbench",
        database,
        *("--no-vacuum", "--protocol=prepared", "--transactions", str(SINGLES)),
        *("--client", str(CLIENTS), "--jobs", str(CLIENTS)),
    )
    found = re.search(r"tps = ([0-9.]+)", said)
    if not found:
        raise UnableToBench(f"pgbench said: {said[-500:]}")
    return CLIENTS * SINGLES / float(found[1])


def _headings(loans: int) -> list[Heading]:
    """Fill a scratch database with loans, and return what an entry on each of them is headed with."""
    now = clock.wall_now()
    person = User.objects.create_user("bench@plimsoll.example", name="Bench")
    usd, _ = Asset.objects.get_or_create(code="USD", defaults={"name": "USD", "kind": Asset.Kind.FIAT, "decimals": 2})
    book, _ = Book.objects.get_or_create(code="bench", defaults={"name": "bench"})
    ladder = {"initial": "0.5", "warning": "0.65", "margin_call": "0.7", "accelerated": "0.75", "liquidation": "0.8"}
    terms = LadderTerms.objects.create(
        name="bench",
        **{f"{level}_ltv": Decimal(value) for level, value in ladder.items()},
        **dict.fromkeys(("cure_to", "liquidate_to", "clear_ltv"), Decimal("0.6")),
        **dict.fromkeys(("release_trigger", "release_to"), Decimal("0.4")),
        **dict.fromkeys(("cure_period_s", "accelerated_cure_period_s"), 3600),
    )
    product = Product.objects.create(code="bench", name="bench", asset=usd, day_count="ACT/360", terms=terms, book=book)
    client = Client.objects.create(
        name="bench", kind=Client.Kind.ENTITY, jurisdiction="CH", relationship_manager=person, created_at=now
    )
    accounts = MarginAccount.objects.bulk_create(
        [MarginAccount(client=client, terms=terms, shard=0, created_at=now) for _ in range(loans)]
    )
    made = Loan.objects.bulk_create(
        Loan(
            client=client,
            margin_account=account,
            product=product,
            book=book,
            asset=usd,
            principal=Decimal(100_000),
            annual_rate=Decimal("0.1"),
            default_rate=Decimal("0.2"),
            day_count="ACT/360",
            maturity_date=now.date(),
            quoted_until=now,
            made_by=person,
        )
        for account in accounts
    )
    return [Heading(key="", effective_at=now, book_id=book.pk, client_id=client.pk, loan_id=loan.pk) for loan in made]
