"""Hints to the desk: read the clock, take one step. Rows hold the truth; a lost hint costs only latency."""

from celery import shared_task
from django.db import connection

from lending import clock
from otc import fills, quotes, rfqs, settlement

_ONE_AT_A_TIME = 0x07C0


@shared_task
def trade() -> int:
    """
    Net waiting orders, ask for quotes, accept the best, record fills, and settle: all at one instant.

    Two at once would do no harm, but get in each other's way at the dealers; the second leaves the round to the first.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_ONE_AT_A_TIME])
        if not cursor.fetchone()[0]:
            return 0
    try:
        now = clock.now()
        return (
            rfqs.open_due(now=now)
            + quotes.collect_due(now=now)
            + quotes.accept_due(now=now)
            + fills.poll_due(now=now)
            + settlement.settle_due(now=now)
        )
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ONE_AT_A_TIME])
