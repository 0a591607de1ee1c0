"""
Loading the margin book from PostgreSQL: against what the server needs to hand out the positions at all.

The yardstick is psql's COPY of the same positions to /dev/null, on the same server. What is timed against it: reading
accounts, pledges and debts into arrays; a cold book ready to be marked; a warm one after one account in a thousand has
changed, with these beside the others, and with all of them laid out as one again.
"""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from django.db import connection

from deploy import databases
from deploy.benches.compare import Result, UnableToBench, machine
from lending import clock
from lending.models import Asset, Book, Client, LadderTerms, MarginAccount, Product, User
from risk import book as books
from risk import rows

ASSETS = 200
CHANGED_OF = 1000
BATCH = 100_000
SHARDS = tuple(range(MarginAccount.SHARDS))

# 1 to 4 pledges an account, 2.4 on average, spread over the assets.
_PLEDGED = """
    INSERT INTO lending_pledge (client_id, margin_account_id, asset_id, quantity, held_quantity, haircut)
    SELECT %(client)s, a.id, %(first_asset)s + (a.id * 7 + n * 31) %% %(assets)s,
           round((1 + (a.id * 37 %% 1000))::numeric / 7, 8), 0, (n %% 3) * 0.1
      FROM lending_marginaccount a, generate_series(1, (ARRAY[1, 2, 2, 3, 4])[1 + a.id %% 5]) n
     WHERE a.id BETWEEN %(low)s AND %(high)s
"""
_ACCOUNTS = """
    INSERT INTO lending_marginaccount
           (public_id, client_id, kind, terms_id, shard, version, touched_xid, frozen, created_at)
    SELECT gen_random_uuid(), %(client)s, 'ring_fenced', %(terms)s, 0, 0, 0, false, %(now)s
      FROM generate_series(1, %(count)s)
"""
_LOANS = """
    INSERT INTO lending_loan
           (public_id, client_id, margin_account_id, product_id, book_id, asset_id, principal, annual_rate,
            default_rate, day_count, origination_fee, start_at, maturity_date, state, principal_outstanding,
            interest_due, fees_due, interest_posted, accrued_at, quoted_until, payout_address, made_by_id)
    SELECT gen_random_uuid(), %(client)s, a.id, %(product)s, %(book)s, %(usd)s, 50000, 0.1, 0.15, 'ACT/360', 0,
           %(now)s, %(now)s::date + 180, 'quoted', 50000, 12.34, 0, 12.34, %(now)s, %(now)s, '', %(person)s
      FROM lending_marginaccount a WHERE a.id BETWEEN %(low)s AND %(high)s
"""
_POSITIONS = "SELECT margin_account_id, asset_id, quantity, held_quantity, haircut FROM lending_pledge"


def run(*, loans: int = 1_000_000, rounds: int = 5) -> list[Result]:
    """Return how long a book takes to load, cold and warm, against psql's COPY of its positions to /dev/null."""
    with databases.scratch():
        _fill(loans)
        now = clock.wall_now()
        asset_ids = np.array(list(Asset.objects.order_by("pk").values_list("pk", flat=True)), dtype=np.int64)
        warm = books.load(SHARDS, now=now)
        changed = warm.base.rows.account[:: max(1, min(CHANGED_OF, loans // 10))]
        sides: tuple[Callable[[], object], ...] = (
            _copy,
            lambda: rows.read(SHARDS, None, asset_ids, reference=now),
            lambda: books.load(SHARDS, now=now),
            lambda: books.reread(warm, changed, xmin=warm.xmin),
            lambda: books.merged(books.reread(warm, changed, xmin=warm.xmin)),
        )
        taken = [[_timed(side) for side in sides] for _ in range(rounds)]
        positions = len(warm.base.rows.pledge_account)
    copy_s, read_s, cold_s, warm_s, merged_s = (statistics.median(seconds) for seconds in zip(*taken, strict=True))
    compared = (
        ("load", f"{positions} positions, their accounts and debts into arrays", read_s, "<= 2"),
        ("load cold", "the same, laid out for the kernel", cold_s, "<= 5"),
        ("load warm", f"the book again after {len(changed)} accounts have changed", warm_s, "<= 0.5"),
        ("load merged", "the same, laid out as one", merged_s, "reported"),
    )
    return [
        Result(
            bench=name,
            loans=loans,
            rounds=rounds,
            a=what,
            b=f"psql's COPY of {positions} positions to /dev/null",
            a_s=seconds,
            b_s=copy_s,
            ratio=seconds / copy_s,
            target=target,
            machine=machine(),
        )
        for name, what, seconds, target in compared
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _copy() -> None:
    """Have psql copy the positions, in binary, to where nothing is kept."""
    path = os.pathsep.join([os.environ.get("PSQL_DIR", ""), os.environ.get("PATH", os.defpath)])
    program = shutil.which("psql", path=path)
    if not program:
        raise UnableToBench("psql is not on PATH; the embedded PostgreSQL brings it")
    config = connection.settings_dict
    where = ["--host", str(config["HOST"] or "localhost"), "--username", str(config["USER"] or "app")]
    port = ["--port", str(config["PORT"])] if config["PORT"] else []
    command = f"\\copy ({_POSITIONS}) to '/dev/null' (format binary)"
    done = subprocess.run(  # noqa: S603
        [program, *where, *port, "--no-psqlrc", "--quiet", "--command", command, str(config["NAME"])],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UnableToBench(done.stderr[-1000:])


def _fill(loans: int) -> None:
    """Fill a scratch database with accounts, a debt each, and their pledges."""
    now = clock.wall_now()
    person = User.objects.create(email="bench@plimsoll.example", name="Bench")
    client = Client.objects.create(
        name="Bench", kind=Client.Kind.ENTITY, jurisdiction="CH", relationship_manager=person, created_at=now
    )
    usd, _ = Asset.objects.get_or_create(code="USD", defaults={"name": "USD", "kind": Asset.Kind.FIAT, "decimals": 2})
    pledged = [
        Asset.objects.create(code=f"BENCH{n:03d}", name=f"Asset {n}", kind=Asset.Kind.CRYPTO, decimals=8)
        for n in range(ASSETS)
    ]
    ratios = {"initial_ltv": "0.5", "warning_ltv": "0.65", "margin_call_ltv": "0.7", "accelerated_ltv": "0.75"}
    ratios |= {"liquidation_ltv": "0.8", "cure_to": "0.6", "liquidate_to": "0.6", "clear_ltv": "0.65"}
    ratios |= {"release_trigger": "0.4", "release_to": "0.5"}
    terms = LadderTerms.objects.create(name="bench", cure_period_s=86_400, accelerated_cure_period_s=14_400, **ratios)
    book, _ = Book.objects.get_or_create(code="bench", defaults={"name": "bench"})
    product = Product.objects.create(code="bench", name="bench", asset=usd, day_count="ACT/360", terms=terms, book=book)
    values: dict[str, Any] = {
        "now": now,
        "client": client.pk,
        "terms": terms.pk,
        "product": product.pk,
        "book": book.pk,
        "usd": usd.pk,
        "person": person.pk,
        "first_asset": pledged[0].pk,
        "assets": ASSETS,
    }
    with connection.cursor() as cursor:
        for start in range(0, loans, BATCH):
            cursor.execute(_ACCOUNTS, {**values, "count": min(BATCH, loans - start)})
        first, last = MarginAccount.objects.earliest("pk").pk, MarginAccount.objects.latest("pk").pk
        for low in range(first, last + 1, BATCH):
            span = {"low": low, "high": low + BATCH - 1}
            cursor.execute(_LOANS, {**values, **span})
            cursor.execute(_PLEDGED, {**values, **span})
        cursor.execute("ANALYZE lending_marginaccount, lending_loan, lending_pledge")
