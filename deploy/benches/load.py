"""
Loading the margin book from PostgreSQL: against what the server needs to hand out the positions at all.

The yardstick is psql's COPY of the same positions to /dev/null, on the same server. What is timed against it: reading
accounts, pledges and debts into arrays; a cold book ready to be marked; a warm one after one account in a thousand has
changed, with these beside the others, and with all of them laid out as one again.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
from django.db import connection

from deploy import databases
from deploy.benches import desk, programs
from deploy.benches.compare import Result, against
from deploy.benches.desk import SHARDS
from lending import clock
from lending.models import Asset
from risk import book as books
from risk import rows

CHANGED_OF = 1000

_POSITIONS = "SELECT margin_account_id, asset_id, quantity, held_quantity, haircut FROM lending_pledge"


def run(*, loans: int = 1_000_000, rounds: int = 5) -> list[Result]:
    """Return how long a book takes to load, cold and warm, against psql's COPY of its positions to /dev/null."""
    with databases.scratch():
        now = clock.wall_now()
        desk.fill(loans, now=now)
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
    return against(f"psql's COPY of {positions} positions to /dev/null", copy_s, compared, loans=loans, rounds=rounds)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _copy() -> None:
    """Have psql copy the positions, in binary, to where nothing is kept."""
    copy = f"\\copy ({_POSITIONS}) to '/dev/null' (format binary)"
    database = str(connection.settings_dict["NAME"])
    programs.run("psql", database, "--no-psqlrc", "--quiet", "--command", copy, role="app")
