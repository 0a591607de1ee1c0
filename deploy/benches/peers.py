"""
The full mark against other ways to find the accounts whose margin state has changed at new prices.

Each peer has the same book of the same database: PostgreSQL in one statement of exact numerics, DuckDB and Polars on
columns that are in memory already, and Django's ORM as it is usually written, an account at a time. All must name the
same accounts. DuckDB and Polars come with the development requirements.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
from django.db import connection

from deploy import databases
from deploy.benches import desk as desks
from deploy.benches.compare import Result, UnableToBench, against
from lending import clock
from lending.models import MarginAccount
from risk import book as books
from risk.engine import kernel
from risk.engine.arrays import FloatArray
from risk.models import MarginState, MarginStatus

ORM_LOANS = 10_000
MOVE = 0.00015
LTVS = (0.2, 0.68)  # some beyond the warning, so that a tick moves accounts both ways over a level
LEVELS = ("warning_ltv", "margin_call_ltv", "accelerated_ltv", "liquidation_ltv")
STATES = (MarginState.HEALTHY, MarginState.WARNING, MarginState.CALL, MarginState.ACCELERATED, MarginState.LIQUIDATE)

Prices = dict[int, Decimal]  # by the asset's key
Peer = Callable[[Prices], Sequence[int]]

_NUMERIC = """
    WITH price AS (SELECT * FROM unnest(%s::bigint[], %s::numeric[]) AS p(asset_id, usd)),
         worth AS (SELECT p.margin_account_id AS id,
                          sum((p.quantity + p.held_quantity) * price.usd * (1 - p.haircut)) AS usd
                     FROM lending_pledge p JOIN price USING (asset_id) GROUP BY 1),
         owed AS (SELECT l.margin_account_id AS id,
                         sum((l.principal_outstanding + l.interest_due + l.fees_due) * price.usd) AS usd
                    FROM lending_loan l JOIN price USING (asset_id) GROUP BY 1)
    SELECT array_agg(a.id ORDER BY a.id)
      FROM lending_marginaccount a JOIN lending_ladderterms t ON t.id = a.terms_id
      JOIN risk_marginstatus s ON s.margin_account_id = a.id JOIN worth ON worth.id = a.id JOIN owed ON owed.id = a.id
     WHERE s.state <> CASE WHEN owed.usd > t.liquidation_ltv * worth.usd THEN 'liquidate'
                           WHEN owed.usd > t.accelerated_ltv * worth.usd THEN 'accelerated'
                           WHEN owed.usd > t.margin_call_ltv * worth.usd THEN 'call'
                           WHEN owed.usd > t.warning_ltv * worth.usd THEN 'warning' ELSE 'healthy' END
"""
_DUCKDB = """
    SELECT a.id FROM account a
      JOIN (SELECT id, sum(quantity * price.usd) AS usd FROM pledge JOIN price USING (asset) GROUP BY id) w USING (id)
      JOIN (SELECT id, sum(amount * price.usd) AS usd FROM debt JOIN price USING (asset) GROUP BY id) o USING (id)
     WHERE a.rung <> (o.usd > a.l0 * w.usd)::int + (o.usd > a.l1 * w.usd)::int + (o.usd > a.l2 * w.usd)::int
                     + (o.usd > a.l3 * w.usd)::int
     ORDER BY a.id
"""


def run(*, loans: int = 1_000_000, rounds: int = 5, seed: int = 7) -> list[Result]:
    """
    Return how much longer than our full mark each peer takes to find the accounts that a tick has moved.

    Raises
    ------
    UnableToBench
        If a peer is not installed, or does not name the accounts that PostgreSQL names.
    """
    rng = np.random.default_rng(seed)
    with databases.scratch():
        now = clock.wall_now()
        desk = desks.fill(loans, now=now, ltvs=LTVS)
        book = books.load(desks.SHARDS, now=now)
        start = {
            int(key): desk.price.get(code, Decimal(1)) for key, code in zip(book.asset_ids, book.codes, strict=True)
        }
        columns = _columns(book)
        kernel.decided(book.base.warm, np.arange(loans), columns["rung"].astype(np.int8))
        peers: dict[str, Peer] = {"SQL": _sql, "DuckDB": _duckdb(columns), "Polars": _polars(columns)}
        ours: list[float] = []
        taken: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(rounds + 1):
            factor = np.exp(rng.normal(0.0, MOVE, len(start)))
            price = {key: usd * Decimal(f"{factor[n]:.9f}") for n, (key, usd) in enumerate(start.items())}
            vector = np.array([float(usd) for usd in price.values()])
            ours.append(_timed(partial(kernel.screen, book.base.warm, vector))[0])
            found = set(book.base.rows.account[kernel.screen(book.base.warm, vector)].tolist())
            moved = {name: _timed(partial(peer, price)) for name, peer in peers.items()}
            for name, (seconds, named) in moved.items():
                taken[name].append(seconds)
                _agree(name, named, moved["SQL"][1], found)
        few = min(ORM_LOANS, loans)
        orm_s, _named = _timed(partial(_orm, price, few))
    ours_s = statistics.median(ours[1:])  # the first round is everybody's warm-up
    said = {
        "SQL": ("one SQL statement of numerics in PostgreSQL", ">= 150"),
        "DuckDB": ("DuckDB, columns in memory", ">= 15"),
        "Polars": ("Polars, columns in memory", ">= 15"),
    }
    sides = [(f"peers {name}", what, statistics.median(taken[name][1:]), aim) for name, (what, aim) in said.items()]
    loop = f"Django ORM, an account at a time: EXTRAPOLATED from {few} accounts in {orm_s:.1f} s"
    sides.append(("peers ORM", loop, orm_s * loans / few, ">= 50000"))
    ours_mark = f"our full mark of {len(book.base.rows.pledge_account)} positions"
    return against(ours_mark, ours_s, sides, loans=loans, rounds=rounds)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = work()
    return time.perf_counter() - began, answer


def _agree(name: str, named: Sequence[int], exact: Sequence[int], ours: set[int]) -> None:
    if list(named) != list(exact):
        raise UnableToBench(f"{name} names {len(named)} accounts, PostgreSQL {len(exact)}, not the same ones")
    if not set(named) <= ours:
        raise UnableToBench(f"{name} names {len(set(named) - ours)} accounts that our mark has not found")


def _columns(book: books.Book) -> dict[str, FloatArray | np.ndarray[Any, Any]]:
    """Return the book as plain columns: what the peers in memory start from."""
    rows = book.base.rows
    terms = MarginAccount.objects.order_by("pk").values_list(*(f"terms__{level}" for level in LEVELS))
    state = MarginStatus.objects.order_by("pk").values_list("state", flat=True)
    levels = np.array(list(terms), dtype=np.float64)
    return {
        "id": rows.account,
        "rung": np.array([STATES.index(MarginState(name)) for name in state], dtype=np.int64),
        **{f"l{n}": np.ascontiguousarray(levels[:, n]) for n in range(len(LEVELS))},
        "pledge_id": rows.pledge_account,
        "pledge_asset": book.asset_ids[rows.pledge_asset],
        "pledge_quantity": rows.pledge_quantity * rows.pledge_weight,
        "debt_id": rows.debt_account,
        "debt_asset": book.asset_ids[rows.debt_asset],
        "debt_amount": rows.debt_amount,
    }


def _sql(price: Prices) -> Sequence[int]:
    with connection.cursor() as cursor:
        cursor.execute(_NUMERIC, [list(price), list(price.values())])
        return list(cursor.fetchone()[0] or [])


def _duckdb(columns: dict[str, Any]) -> Peer:
    try:
        import duckdb  # a base install is without the peers
    except ImportError:
        raise UnableToBench("DuckDB is not installed: make dev") from None
    engine = duckdb.connect()
    for table, names in _tables().items():
        frame = {short: columns[name] for short, name in names.items()}
        engine.register("given", frame)
        engine.execute(f"CREATE TABLE {table} AS SELECT * FROM given")  # noqa: S608 # of the names below
        engine.unregister("given")

    def peer(price: Prices) -> Sequence[int]:
        given = {"asset": np.array(list(price)), "usd": np.array([float(usd) for usd in price.values()])}
        engine.register("price", given)
        return engine.execute(_DUCKDB).fetchnumpy()["id"].tolist()

    return peer


def _polars(columns: dict[str, Any]) -> Peer:
    try:
        import polars as pl
    except ImportError:
        raise UnableToBench("Polars is not installed: make dev") from None
    frames = {
        table: pl.DataFrame({short: columns[name] for short, name in names.items()})
        for table, names in _tables().items()
    }

    def peer(price: Prices) -> Sequence[int]:
        prices = pl.LazyFrame({"asset": list(price), "usd": [float(usd) for usd in price.values()]})
        worth, owed = (
            frames[table]
            .lazy()
            .join(prices, on="asset")
            .group_by("id")
            .agg((pl.col(amount) * pl.col("usd")).sum().alias(table))
            for table, amount in (("pledge", "quantity"), ("debt", "amount"))
        )
        exceeded = sum(
            ((pl.col("debt") > pl.col(f"l{n}") * pl.col("pledge")).cast(pl.Int64) for n in range(len(LEVELS))),
            start=pl.lit(0),
        )
        moved = frames["account"].lazy().join(worth, on="id").join(owed, on="id").filter(pl.col("rung") != exceeded)
        return moved.select("id").sort("id").collect()["id"].to_list()

    return peer


def _tables() -> dict[str, dict[str, str]]:
    """Return which columns make up each of the peers' tables, by the names that they have there."""
    return {
        "account": {name: name for name in ("id", "rung", *(f"l{n}" for n in range(len(LEVELS))))},
        "pledge": {"id": "pledge_id", "asset": "pledge_asset", "quantity": "pledge_quantity"},
        "debt": {"id": "debt_id", "asset": "debt_asset", "amount": "debt_amount"},
    }


def _orm(price: Prices, accounts: int) -> list[int]:
    """Return the accounts whose state has changed, looked at one by one."""
    moved = []
    listed = MarginAccount.objects.select_related("terms", "margin_status").order_by("pk")
    for account in itertools.islice(listed.iterator(), accounts):
        worth = sum(
            (pledge.quantity + pledge.held_quantity) * price[pledge.asset_id] * (1 - pledge.haircut)
            for pledge in account.pledges.all()
        )
        owed = sum(
            (loan.principal_outstanding + loan.interest_due + loan.fees_due) * price[loan.asset_id]
            for loan in account.loans.all()
        )
        rung = sum(owed > getattr(account.terms, level) * worth for level in LEVELS)
        if STATES[rung] != account.margin_status.state:
            moved.append(account.pk)
    return moved
